"""What a request asks for, in terms every later step understands."""

from __future__ import annotations

import msgspec

from penstock.gateway.dialects.document import Document
from penstock.types.dialect import Dialect

OUTPUT_BOUND = 4096  # tokens per choice that are reserved where the client sets no cap

BYTES_PER_TOKEN = 4
"""A rough average for English text in byte-pair vocabularies; only for estimates marked as such."""

MOST_ID = 512
"""Characters of the name of something that an upstream keeps; no API has such long ones."""

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
        previous: the id of the response that it goes on from, if it does.
        reference: where in the body something else is named that an upstream's account keeps, or nothing.
        sealed: its input may have items that only their owner can open.
        recalled: which items of its input are thoughts by their id alone, for the upstream to look them up.
        stored: an upstream that speaks its dialect keeps the answer.
        unseen: tokens that are read for it at the most and are not in the body.
    """

    dialect: Dialect
    model: str
    stream: bool
    usage_wanted: bool
    max_output: int | None
    choices: int
    document: Document
    previous: str | None = None
    reference: str = ""
    sealed: bool = False
    recalled: frozenset[int] = frozenset()
    stored: bool = False
    unseen: int = 0

    @property
    def names(self) -> str:
        """Where it names something that an account keeps, but for a response, or nothing."""
        return self.reference or (f"input[{min(self.recalled)}]" if self.recalled else "")

    @property
    def prompt_bytes(self) -> int:
        """Size of the part of the body that is the prompt, as JSON."""
        fields = self.document.fields
        return sum(len(fields[name]) for name in _PROMPTS[self.dialect] if name in fields)

    @property
    def prompt_tokens(self) -> int:
        """About how many tokens its prompt has, where no upstream tells; of what is not in the body, all it may be."""
        return -(-self.prompt_bytes // BYTES_PER_TOKEN) + self.unseen

    @property
    def most_input(self) -> int:
        """Tokens that the prompt can have: bytes bound them, and what an upstream adds to them has its own bound."""
        return 0 if self.dialect is _COUNT else len(self.document.body) + self.unseen

    @property
    def most_output(self) -> int:
        """Tokens that all answers are to have at the most."""
        if self.dialect is _EMBEDDINGS or self.dialect is _COUNT:
            return 0
        return (self.max_output or OUTPUT_BOUND) * self.choices
