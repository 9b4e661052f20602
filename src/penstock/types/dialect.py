"""The dialects in which calls to models are worded."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from penstock.types.operation import Operation


class Dialect(StrEnum):
    """
    The APIs that clients and upstreams speak; each has its own requests, replies, events and errors.

    Attributes:
        operation: what kind of call is worded in it.
    """

    operation: Operation

    CHAT = "chat", Operation.CHAT  # OpenAI's /v1/chat/completions
    COMPLETIONS = "completions", Operation.COMPLETION  # OpenAI's /v1/completions
    EMBEDDINGS = "embeddings", Operation.EMBEDDINGS  # OpenAI's /v1/embeddings
    RESPONSES = "responses", Operation.CHAT  # OpenAI's /v1/responses
    MESSAGES = "messages", Operation.CHAT  # Anthropic's /v1/messages
    COUNT = "count", Operation.CHAT  # Anthropic's /v1/messages/count_tokens: how long a prompt is, for nothing

    def __new__(cls, word: str, operation: Operation) -> Self:
        """Make a member out of its word, by which it is found again."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.operation = operation
        return member
