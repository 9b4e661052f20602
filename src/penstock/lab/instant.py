"""Ready-made answers to requests that were seen before, so that a benchmark measures something else than the lab."""

from __future__ import annotations

import msgspec

from penstock.lab.asked import Asked
from penstock.lab.blocks import say
from penstock.lab.dialect import Dialect
from penstock.lab.orders import DEFAULT

_MAX_ANSWERS = 1024
_MAX_BODY = 4096


class Ready(msgspec.Struct, frozen=True):
    """
    A plain answer without its id.

    Attributes:
        model: what was asked for.
        prefix: what the id begins with.
        rest: the body behind the id.
        number_header: the answer's header with the number.
    """

    model: str
    prefix: str
    rest: bytes
    number_header: bytes

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

    def make(self, path: str, body: bytes, dialect: Dialect, asked: Asked) -> Ready | None:
        """Make the answer to a request that has no order; None if it wants a stream, or the dialect has none ready."""
        prefix = dialect.ready
        if prefix is None or asked.stream:
            return None
        start = len(b'{"id":%b' % msgspec.json.encode(prefix))
        rest = dialect.whole(asked, DEFAULT, "", say(asked, DEFAULT))[start:]
        ready = Ready(asked.model, prefix, rest, dialect.number_header)
        if len(body) <= _MAX_BODY:
            if len(self._answers) >= _MAX_ANSWERS:
                self._answers.clear()
            self._answers[path, body] = ready
        return ready
