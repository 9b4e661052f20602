"""Clients that speak OpenAI's Responses in front of Anthropic's Messages, by way of chat completions."""

from __future__ import annotations

from penstock.gateway.translation.chain import Chain
from penstock.gateway.translation.chat_to_messages import ChatToMessages
from penstock.gateway.translation.responses_to_chat import CLIENTS_NAMES, ResponsesToChat


class ResponsesToMessages(Chain):
    """See `Translation`."""

    near = ResponsesToChat
    far = ChatToMessages
    names = CLIENTS_NAMES
