"""The worker's end: a store that is asked over the socket inherited from the node."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

import msgspec

from penstock.counters.counter import Ask, Grant, Refusal, Return, StoreUnavailable
from penstock.counters.wire import Answer, Frames, Give, Take

TIMEOUT_S = 0.05
_AWAY_S = 1.0  # how long nobody asks after a time-out, unless an answer comes late
_MAX_UNSENT = 1024 * 1024  # bytes of what is given back
_MAX_WAITING = 10_000


class Remote(Frames):
    """
    A tally in another process. A question costs at most `timeout_s`; after one that was not answered in time the
    store is away for a second, or until an answer comes: nobody waits for it meanwhile.

    Made by `open`.
    """

    def __init__(self, clock: Callable[[], float], timeout_s: float, on_gone: Callable[[], None] | None) -> None:
        super().__init__()
        self._clock = clock
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._decode = msgspec.msgpack.Decoder(Answer).decode
        self._number = 0
        self._waiting: dict[int, tuple[asyncio.Future[Answer], Sequence[Ask]]] = {}
        self._away_until = 0.0
        self._on_gone = on_gone

    @classmethod
    async def open(
        cls,
        sock: socket.socket,
        clock: Callable[[], float],
        timeout_s: float = TIMEOUT_S,
        on_gone: Callable[[], None] | None = None,
    ) -> Remote:
        """
        Take over a connected socket.

        Args:
            clock: seconds, monotonic.
            on_gone: called when the other end has gone; there is no way back.
        """
        loop = asyncio.get_running_loop()
        _, store = await loop.connect_accepted_socket(lambda: cls(clock, timeout_s, on_gone), sock)
        return store

    async def take(self, asks: Sequence[Ask]) -> Sequence[Grant] | Refusal:
        """Ask, and wait for the answer. What is granted to somebody who does not wait any more is given back."""
        now = self._clock()
        if now < self._away_until or len(self._waiting) >= _MAX_WAITING:
            raise StoreUnavailable
        if self._away_until:  # this one finds out for all
            self._away_until = now + self._timeout_s
        self._number = number = self._number + 1
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[number] = future, asks
        timer = self._loop.call_later(self._timeout_s, self._too_late, future)
        try:
            self.send(Take(number, list(asks)))
            answer = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:  # it came at the same moment
                self._give_back(asks, future.result())
            raise
        finally:
            timer.cancel()
        if not answer.known:
            raise StoreUnavailable
        return answer.grants if answer.refusal is None else answer.refusal

    def give(self, returns: Sequence[Return]) -> None:
        """Give back, if the node reads at all. What makes limits stricter is sent in any case."""
        stricter = any(each.spent or each.amount < 0 for each in returns)
        if self.transport is not None and (stricter or self.transport.get_write_buffer_size() < _MAX_UNSENT):
            self.send(Give(list(returns)))

    def close(self) -> None:
        """Send what is not sent yet and close."""
        if self.transport is not None:
            self.transport.close()

    def received(self, frame: bytes) -> None:
        answer = self._decode(frame)
        self._away_until = 0.0
        future, asks = self._waiting.pop(answer.number, (None, ()))
        if future is not None and not future.done():
            future.set_result(answer)
        else:
            self._give_back(asks, answer)

    def _give_back(self, asks: Sequence[Ask], answer: Answer) -> None:
        """Give back what was granted to somebody who does not wait any more."""
        if answer.grants:
            pairs = zip(asks, answer.grants, strict=True)
            self.give([Return(ask.counter, grant.amount, grant.slot) for ask, grant in pairs])

    def connection_lost(self, _error: Exception | None) -> None:
        """The node has gone, and nobody is waited for."""
        self._away_until = float("inf")
        if self._on_gone is not None:
            self._on_gone()
        waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            if not future.done():
                future.set_exception(StoreUnavailable())

    def _too_late(self, future: asyncio.Future[Answer]) -> None:
        if not future.done():
            self._away_until = self._clock() + _AWAY_S
            future.set_exception(StoreUnavailable())
