"""A client's connection that also keeps what is sent to it."""

from __future__ import annotations

from collections.abc import Callable

from penstock.gateway.cache.room import Space
from penstock.gateway.dialects import events
from penstock.gateway.metering.account import Account
from penstock.http.responder import Responder
from penstock.journal.records import Outcome


class Recorder:
    """
    Stands in for the responder of one exchange whose answer is to be kept.

    Args:
        account: of the exchange; only what is settled as answered is complete and good.
        most: bytes that are kept.
        keep: takes the answer, just before the last of it is sent; or None, as soon as it is too large, or there is no
            room for it.
        part: of what is too large `most` bytes are kept, from its beginning, and `keep` takes these in the end.
        space: what is kept takes that, where it is bounded; to be given back when the exchange has ended.
    """

    __slots__ = ("_account", "_keep", "_left", "_part", "_pieces", "_responder", "_space")

    def __init__(
        self,
        responder: Responder | Recorder,
        account: Account,
        most: int,
        keep: Callable[[bytes | None], None],
        *,
        part: bool = False,
        space: Space | None = None,
    ) -> None:
        self._responder = responder
        self._account = account
        self._left = most
        self._pieces: list[bytes] | None = []
        self._keep: Callable[[bytes | None], None] | None = keep
        self._part = part
        self._space = space

    @property
    def started(self) -> bool:
        """A status line was written."""
        return self._responder.started

    @property
    def ended(self) -> bool:
        """The answer is complete."""
        return self._responder.ended

    @property
    def gone(self) -> bool:
        """The client has left."""
        return self._responder.gone

    @property
    def slow(self) -> bool:
        """The client has much to take yet."""
        return self._responder.slow

    async def send(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a complete answer, and keep it."""
        self._add(body)
        self._complete()
        await self._responder.send(status, headers, body)

    def start(self, status: int, headers: bytes) -> None:
        """Begin an answer of unknown length."""
        self._responder.start(status, headers)

    async def write(self, data: bytes) -> None:
        """Send a piece, and keep it; waits while the client is slow."""
        self._add(data)
        await self._responder.write(data)

    def put(self, data: bytes) -> None:
        """Send a piece without waiting, and keep it, unless it only breaks a silence."""
        if data is not events.KEEP_ALIVE:
            self._add(data)
        self._responder.put(data)

    async def end(self) -> None:
        """The answer is complete."""
        self._complete()
        await self._responder.end()

    def _add(self, data: bytes) -> None:
        if self._pieces is None:
            return
        if self._part:
            data = data[: self._left]
            if not data:
                return
        self._left -= len(data)
        if self._left < 0 or (self._space is not None and not self._space.take(len(data))):
            self._pieces = None
            if self._space is not None:
                self._space.free()
            self._tell(None)
        else:
            self._pieces.append(data)

    def _complete(self) -> None:
        if self._pieces is not None and self._account.outcome is Outcome.ANSWERED:
            self._tell(b"".join(self._pieces))

    def _tell(self, answer: bytes | None) -> None:
        # Forgotten at once: it knows the exchange, which knows this, and rings are left for the garbage collector.
        keep, self._keep = self._keep, None
        if keep is not None:
            keep(answer)
