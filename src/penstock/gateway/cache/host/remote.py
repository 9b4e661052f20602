"""Equal requests of a host over sockets: the worker's end, and the node's for all its workers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import msgspec

from penstock.counters import doors
from penstock.counters.wire import Frames
from penstock.gateway.cache.host.pilot import TIMEOUT_S, Pilot
from penstock.gateway.cache.host.tower import Tower
from penstock.gateway.cache.host.wire import Answers, Questions

_MOST = 512 * 1024  # bytes of a worker's frame; what is passed on of it, others always take

_decode = msgspec.msgpack.Decoder(Questions).decode


class _Seat(Frames):
    """The worker's end."""

    def __init__(self, clock: Callable[[], float], timeout_s: float, on_gone: Callable[[], None] | None) -> None:
        super().__init__()
        self._decode = msgspec.msgpack.Decoder(Answers).decode
        self._on_gone = on_gone
        self.pilot = Pilot(self, clock, timeout_s)

    def received(self, frame: bytes) -> None:
        self.pilot.heard(self._decode(frame))

    def connection_lost(self, _error: Exception | None) -> None:
        """The node has gone, and nobody is waited for."""
        if self._on_gone is not None:
            self._on_gone()
        self.pilot.lost()


async def remote(
    sock: socket.socket,
    clock: Callable[[], float],
    timeout_s: float = TIMEOUT_S,
    on_gone: Callable[[], None] | None = None,
) -> Pilot:
    """
    Return a worker's end of the equal requests that meet at the other end of a socket, and take over that socket.

    Args:
        clock: seconds, monotonic.
        timeout_s: how long an answer is waited for.
        on_gone: called when the other end has gone; there is no way back.
    """
    loop = asyncio.get_running_loop()
    _, seat = await loop.connect_accepted_socket(lambda: _Seat(clock, timeout_s, on_gone), sock)
    return seat.pilot


class Doors(doors.Doors[Questions]):
    """Lets any number of workers speak to one tower; the end of a worker's socket hands on what it led."""

    def __init__(self, tower: Tower) -> None:
        super().__init__(tower, tower.enter, _read)


def _read(frame: bytes) -> Questions:
    if len(frame) > _MOST:
        raise msgspec.DecodeError("too large")
    return _decode(frame)
