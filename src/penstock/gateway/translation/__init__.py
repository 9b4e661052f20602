"""From a client's dialect to an upstream's and back. A new pair: a module or package, a line here, a test."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.gateway.translation.chat_to_messages import ChatToMessages
from penstock.gateway.translation.messages_to_chat import MessagesToChat
from penstock.gateway.translation.responses_to_chat import ResponsesToChat
from penstock.gateway.translation.responses_to_messages import ResponsesToMessages
from penstock.gateway.translation.translation import Translation
from penstock.types.dialect import Dialect

TRANSLATIONS: Mapping[tuple[Dialect, Dialect], type[Translation]] = {
    (Dialect.CHAT, Dialect.MESSAGES): ChatToMessages,
    (Dialect.MESSAGES, Dialect.CHAT): MessagesToChat,
    (Dialect.RESPONSES, Dialect.MESSAGES): ResponsesToMessages,
    (Dialect.RESPONSES, Dialect.CHAT): ResponsesToChat,
}
"""By the client's dialect and the upstream's."""
