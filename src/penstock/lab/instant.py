"""Ready-made answers to requests that were seen before, so that a benchmark measures something else than the lab."""

from __future__ import annotations

import msgspec

from penstock.lab.answer import whole_text
from penstock.lab.asked import Asked
from penstock.lab.orders import DEFAULT
from penstock.lab.payloads import chat_body, identity

_MAX_ANSWERS = 1024
_MAX_BODY = 4096


class Ready(msgspec.Struct, frozen=True):
    """
    A plain answer without its id.

    Attributes:
        model: what was asked for.
        rest: the body behind the id.
    """

    model: str
    prefix: str
    rest: bytes

    def body(self, number: str) -> bytes:
        """Return the body with an id made of `number`."""
        return b'{"id":%b%b' % (msgspec.json.encode(self.prefix + number), self.rest)


class Instant:
    """Keeps ready-made answers by path and request body; forgets them all when there are too many."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, bytes], Ready] = {}

    def get(self, path: str, body: bytes) -> Ready | None:
        """Return the answer to a request that is the same byte for byte."""
        return self._answers.get((path, body))

    def make(self, path: str, body: bytes, asked: Asked) -> Ready:
        """Make the answer to a request that wants a chat or text completion in one piece and has no order."""
        text, finish = whole_text(asked, DEFAULT)
        prefix = identity(asked.kind, "")
        start = len(b'{"id":%b' % msgspec.json.encode(prefix))
        ready = Ready(asked.model, prefix, chat_body(asked, DEFAULT, "", text, finish)[start:])
        if len(body) <= _MAX_BODY:
            if len(self._answers) >= _MAX_ANSWERS:
                self._answers.clear()
            self._answers[path, body] = ready
        return ready
