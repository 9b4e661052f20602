"""What a request asks for, in terms every later step understands."""

from __future__ import annotations

import msgspec

from penstock.gateway.dialects.document import Document
from penstock.types.operation import Operation

OUTPUT_BOUND = 4096  # tokens per choice that are reserved where the client sets no cap


_EMBEDDINGS = Operation.EMBEDDINGS
_PROMPTS = {Operation.CHAT: "messages", Operation.COMPLETION: "prompt", Operation.EMBEDDINGS: "input"}


class Call(msgspec.Struct, frozen=True):
    """
    One call to a model, checked.

    Attributes:
        model: the name the client asked for.
        stream: the client wants events.
        usage_wanted: the client asked for usage in the stream itself.
        max_output: the client's cap on output tokens, if it set one.
        choices: how many answers are asked for.
        document: the request's body, as received.
    """

    operation: Operation
    model: str
    stream: bool
    usage_wanted: bool
    max_output: int | None
    choices: int
    document: Document

    @property
    def prompt_bytes(self) -> int:
        """Size of the part of the body that is the prompt, as JSON."""
        return len(self.document.fields[_PROMPTS[self.operation]])

    @property
    def most_input(self) -> int:
        """Tokens that the prompt can have: bytes bound them."""
        return len(self.document.body)

    @property
    def most_output(self) -> int:
        """Tokens that all answers are to have at the most."""
        return 0 if self.operation is _EMBEDDINGS else (self.max_output or OUTPUT_BOUND) * self.choices
