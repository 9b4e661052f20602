"""The node's end: counts for the workers of its host, each over a socket of its own."""

from __future__ import annotations

import asyncio
import socket

import msgspec

from penstock.counters.counter import Refusal, StoreUnavailable
from penstock.counters.tally import Tally
from penstock.counters.waiting import Answer
from penstock.counters.wire import Frames, Give, Settle, Take


class Desk:
    """
    Serves one tally to any number of workers. Belongs to the node's event loop.

    A worker's end is noticed by the end of its socket, and frees the levels it held.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._holders = 0
        self._windows: set[_Window] = set()

    async def serve(self, sock: socket.socket) -> None:
        """Serve the worker at the other end of this socket, from now until it has gone."""
        self._holders += 1
        holder = self._holders
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: _Window(self._tally, holder, self._windows), sock)

    async def aclose(self) -> None:
        """Serve nobody any more."""
        for window in tuple(self._windows):
            window.abort()
        while self._windows:  # noqa: ASYNC110  # their ends are called in the loop's next turn
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # uvloop closes the descriptors in the one after it


class _Window(Frames):
    """What one worker speaks with."""

    def __init__(self, tally: Tally, holder: int, windows: set[_Window]) -> None:
        super().__init__()
        self._tally = tally
        self._holder = holder
        self._windows = windows
        self._decode = msgspec.msgpack.Decoder(Take | Give | Settle).decode

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The worker is there."""
        super().connection_made(transport)
        self._windows.add(self)

    def received(self, frame: bytes) -> None:
        message = self._decode(frame)
        if isinstance(message, Settle):
            self._tally.settle(self._holder, message.sums, message.spent, message.back)
        elif isinstance(message, Give):
            self._tally.give(self._holder, message.returns)
        elif not self._answer(message, final=False):
            # What another worker gave back before this one asked may still lie in its socket, behind this one's.
            asyncio.get_running_loop().call_soon(self._look_again, message)

    def _look_again(self, take: Take) -> None:
        if self.transport is not None and not self.transport.is_closing():  # else it could not be given back
            self._answer(take, final=True)

    def _answer(self, take: Take, *, final: bool) -> bool:
        try:
            found = self._tally.take(self._holder, take.asks)
        except StoreUnavailable:
            self.send(Answer(take.number, [], known=False))
            return True
        if not isinstance(found, Refusal):
            self.send(Answer(take.number, found))
        elif final:
            self.send(Answer(take.number, [], found))
        return final or not isinstance(found, Refusal)

    def connection_lost(self, _error: Exception | None) -> None:
        """The worker has gone."""
        self._windows.discard(self)
        self._tally.gone(self._holder)
