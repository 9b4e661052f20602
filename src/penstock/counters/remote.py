"""The worker's end: a store that is asked over the socket inherited from the node."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

import msgspec

from penstock.counters.counter import Ask, Counter, Grant, Refusal, Return, StoreUnavailable
from penstock.counters.waiting import TIMEOUT_S, Answer, Waiting
from penstock.counters.wire import Frames, Give, Settle, Take

_MAX_UNSENT = 1024 * 1024  # bytes of what is given back


class Remote(Frames):
    """A tally in another process. Made by `open`."""

    def __init__(self, clock: Callable[[], float], timeout_s: float, on_gone: Callable[[], None] | None) -> None:
        super().__init__()
        self._decode = msgspec.msgpack.Decoder(Answer).decode
        self._waiting = Waiting(clock, timeout_s, self.give)
        self._on_gone = on_gone
        self._gone = False

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
        if self._gone:
            raise StoreUnavailable
        return await self._waiting.ask(asks, lambda number: self.send(Take(number, list(asks))))

    def give(self, returns: Sequence[Return]) -> None:
        """Give back, if the node reads at all. What makes limits stricter is sent in any case."""
        stricter = any(each.amount < 0 for each in returns)
        if self.transport is not None and (stricter or self.transport.get_write_buffer_size() < _MAX_UNSENT):
            self.send(Give(list(returns)))

    def settle(self, sums: Sequence[Counter], spent: int, back: int) -> None:
        """Say so in any case, before anything else happens to the exchange."""
        self.send(Settle(tuple(sums), spent, back))

    def close(self) -> None:
        """Send what is not sent yet and close."""
        if self.transport is not None:
            self.transport.close()

    def received(self, frame: bytes) -> None:
        self._waiting.answered(self._decode(frame))

    def connection_lost(self, _error: Exception | None) -> None:
        """The node has gone, and nobody is waited for."""
        self._gone = True
        if self._on_gone is not None:
            self._on_gone()
        self._waiting.lost()
