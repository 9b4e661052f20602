"""What a request asks for, in terms every later step understands."""

from __future__ import annotations

import msgspec

from penstock.gateway.dialects.document import Document
from penstock.types.dialect import Dialect

OUTPUT_BOUND = 4096  # tokens per choice that are reserved where the client sets no cap

_EMBEDDINGS, _COUNT = Dialect.EMBEDDINGS, Dialect.COUNT
_PROMPTS = {
    Dialect.CHAT: ("messages",),
    Dialect.COMPLETIONS: ("prompt",),
    Dialect.EMBEDDINGS: ("input",),
    Dialect.RESPONSES: ("input", "instructions", "tools"),
    Dialect.MESSAGES: ("messages", "system", "tools"),
    Dialect.COUNT: ("messages", "system", "tools"),
}
"""The fields that make up the prompt."""


class Call(msgspec.Struct, frozen=True):
    """
    One call to a model, checked.

    Attributes:
        dialect: what it is worded in.
        model: the name the client asked for.
        stream: the client wants events.
        usage_wanted: the client asked for usage in the stream itself.
        max_output: the client's cap on output tokens, if it set one.
        choices: how many answers are asked for.
        document: the request's body, as received.
    """

    dialect: Dialect
    model: str
    stream: bool
    usage_wanted: bool
    max_output: int | None
    choices: int
    document: Document

    @property
    def prompt_bytes(self) -> int:
        """Size of the part of the body that is the prompt, as JSON."""
        fields = self.document.fields
        return sum(len(fields[name]) for name in _PROMPTS[self.dialect] if name in fields)

    @property
    def most_input(self) -> int:
        """Tokens that the prompt can have: bytes bound them."""
        return 0 if self.dialect is _COUNT else len(self.document.body)

    @property
    def most_output(self) -> int:
        """Tokens that all answers are to have at the most."""
        if self.dialect is _EMBEDDINGS or self.dialect is _COUNT:
            return 0
        return (self.max_output or OUTPUT_BOUND) * self.choices
