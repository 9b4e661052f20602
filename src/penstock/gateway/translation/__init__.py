"""From a client's dialect to an upstream's and back, one package per pair. A new pair: a package, and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.gateway.translation.chat_to_messages import ChatToMessages
from penstock.gateway.translation.messages_to_chat import MessagesToChat
from penstock.gateway.translation.translation import Translation
from penstock.types.dialect import Dialect

TRANSLATIONS: Mapping[tuple[Dialect, Dialect], type[Translation]] = {
    (Dialect.CHAT, Dialect.MESSAGES): ChatToMessages,
    (Dialect.MESSAGES, Dialect.CHAT): MessagesToChat,
}
"""By the client's dialect and the upstream's."""
