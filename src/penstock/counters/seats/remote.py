"""Seats over a socket: the worker's end of it, and the node's for all its workers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import msgspec

from penstock.counters import doors
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


class Doors(doors.Doors[Asked]):
    """Lets any number of workers into one house; the end of a worker's socket frees its seats."""

    def __init__(self, house: House) -> None:
        decode: Callable[[bytes], Asked] = msgspec.msgpack.Decoder(Asked).decode
        super().__init__(house, lambda door: house.enter(door.send), decode)
