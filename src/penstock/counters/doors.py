"""The node's end of a service: any number of workers, each over a socket of its own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from penstock.counters.wire import Frames

Heard = TypeVar("Heard")
Heard_contra = TypeVar("Heard_contra", contravariant=True)


class Hall(Protocol[Heard_contra]):
    """What workers speak to. Called from the node's event loop."""

    def heard(self, holder: int, message: Heard_contra) -> None:
        """Take in what a worker says."""

    def gone(self, holder: int) -> None:
        """Take back all that a worker had, for it has ended."""


class Doors(Generic[Heard]):
    """
    Lets any number of workers into one hall. Belongs to the node's event loop.

    A worker's end is noticed by the end of its socket.

    Args:
        enter: welcomes a worker, to whom it can say something over these frames; returns its number in the hall.
        decode: makes a message of a frame; raises msgspec.DecodeError.
    """

    def __init__(self, hall: Hall[Heard], enter: Callable[[Frames], int], decode: Callable[[bytes], Heard]) -> None:
        self._hall = hall
        self._enter = enter
        self._decode = decode
        self._open: set[_Door[Heard]] = set()

    async def serve(self, sock: socket.socket) -> None:
        """Serve the worker at the other end of this socket, from now until it has gone."""
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: _Door(self._hall, self._enter, self._decode, self._open), sock)

    async def aclose(self) -> None:
        """Serve nobody any more."""
        for door in tuple(self._open):
            door.abort()
        while self._open:  # noqa: ASYNC110  # their ends are called in the loop's next turn
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # uvloop closes the descriptors in the one after it


class _Door(Frames, Generic[Heard]):
    """What one worker speaks with."""

    def __init__(
        self,
        hall: Hall[Heard],
        enter: Callable[[Frames], int],
        decode: Callable[[bytes], Heard],
        doors: set[_Door[Heard]],
    ) -> None:
        super().__init__()
        self._hall = hall
        self._enter = enter
        self._decode = decode
        self._doors = doors
        self._holder = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The worker is there."""
        super().connection_made(transport)
        self._doors.add(self)
        self._holder = self._enter(self)

    def received(self, frame: bytes) -> None:
        self._hall.heard(self._holder, self._decode(frame))

    def connection_lost(self, _error: Exception | None) -> None:
        """The worker has gone."""
        self._doors.discard(self)
        self._hall.gone(self._holder)
