"""Seats over a socket: the worker's end of it, and the node's for all its workers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import msgspec

from penstock.counters.seats.house import House
from penstock.counters.seats.usher import TIMEOUT_S, Usher
from penstock.counters.seats.wire import Answered, Asked
from penstock.counters.wire import Frames


class _Aisle(Frames):
    """The worker's end."""

    def __init__(self, clock: Callable[[], float], timeout_s: float, on_gone: Callable[[], None] | None) -> None:
        super().__init__()
        self._decode: Callable[[bytes], Answered] = msgspec.msgpack.Decoder(Answered).decode
        self._on_gone = on_gone
        self.usher = Usher(self.send, clock, timeout_s)

    def received(self, frame: bytes) -> None:
        self.usher.heard(self._decode(frame))

    def connection_lost(self, _error: Exception | None) -> None:
        """The node has gone, and nobody is waited for."""
        if self._on_gone is not None:
            self._on_gone()
        self.usher.lost()


async def remote(
    sock: socket.socket,
    clock: Callable[[], float],
    timeout_s: float = TIMEOUT_S,
    on_gone: Callable[[], None] | None = None,
) -> Usher:
    """
    Return a worker's end of seats that are kept at the other end of a socket, and take over that socket.

    Args:
        clock: seconds, monotonic.
        timeout_s: how long an answer is waited for.
        on_gone: called when the other end has gone; there is no way back.
    """
    loop = asyncio.get_running_loop()
    _, aisle = await loop.connect_accepted_socket(lambda: _Aisle(clock, timeout_s, on_gone), sock)
    return aisle.usher


class Doors:
    """
    Lets any number of workers into one house, each over a socket of its own. Belongs to the node's event loop.

    A worker's end is noticed by the end of its socket, and frees its seats.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._open: set[_Door] = set()

    async def serve(self, sock: socket.socket) -> None:
        """Serve the worker at the other end of this socket, from now until it has gone."""
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: _Door(self._house, self._open), sock)

    async def aclose(self) -> None:
        """Serve nobody any more."""
        for door in tuple(self._open):
            door.abort()
        while self._open:  # noqa: ASYNC110  # their ends are called in the loop's next turn
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # uvloop closes the descriptors in the one after it


class _Door(Frames):
    """What one worker speaks with."""

    def __init__(self, house: House, doors: set[_Door]) -> None:
        super().__init__()
        self._house = house
        self._doors = doors
        self._decode: Callable[[bytes], Asked] = msgspec.msgpack.Decoder(Asked).decode
        self._holder = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The worker is there."""
        super().connection_made(transport)
        self._doors.add(self)
        self._holder = self._house.enter(self.send)

    def received(self, frame: bytes) -> None:
        self._house.heard(self._holder, self._decode(frame))

    def connection_lost(self, _error: Exception | None) -> None:
        """The worker has gone."""
        self._doors.discard(self)
        self._house.gone(self._holder)
