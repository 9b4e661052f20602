"""The wire side of a server connection: its transport, back-pressure both ways, a peer that takes nothing."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import cast

from penstock.http.limits import Limits

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets


class Channel(asyncio.Protocol):
    """
    A protocol that knows how to write, wait and end, but not what the bytes mean.

    Attributes:
        transport: the connection; None before it is made and once it is lost.
        paused: the peer is slow in taking what was written.
        blind: input is held back in the kernel, so that the end of the peer goes unnoticed here; the sweep asks.
    """

    __slots__ = (
        "_blocked",
        "_stalled_since",
        "_taken",
        "_written",
        "blind",
        "limits",
        "loop",
        "paused",
        "transport",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self.loop = loop
        self.limits = limits
        self.transport: asyncio.Transport | None = None
        self.paused = False
        self.blind = False
        self._blocked: asyncio.Future[None] | None = None  # a writer waits for the peer
        self._written = 0
        self._taken = 0  # of what was written, at the last look
        self._stalled_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=self.limits.write_high)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio passes it
        """Called by the event loop."""
        self.transport = None
        self.resume_writing()

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self.paused = True

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self.paused = False
        blocked, self._blocked = self._blocked, None
        if blocked is not None and not blocked.done():
            blocked.set_result(None)

    def write(self, data: bytes) -> None:
        """Queue bytes for the peer; nothing happens when it has left."""
        if self.transport is not None:
            self._written += len(data)
            self.transport.write(data)

    async def writable(self) -> None:
        """Return when the peer has taken enough of what was written, or has left. For one task at a time."""
        while self.paused:
            if self._blocked is None or self._blocked.done():
                self._blocked = self.loop.create_future()
            await self._blocked

    def hold_back(self) -> None:
        """Read no more for now."""
        if not self.blind and self.transport is not None:
            self.blind = True
            self.transport.pause_reading()

    def look_on(self) -> None:
        """Read again."""
        if self.blind and self.transport is not None:
            self.blind = False
            self.transport.resume_reading()

    def abort(self) -> None:
        """Close at once. What the peer has not taken is lost."""
        if self.transport is not None:
            self.transport.abort()

    def reset(self) -> None:
        """Close at once, by a reset, so that the peer does not take it for a regular end."""
        if self.transport is not None:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()

    def finish(self) -> None:
        """Say that nothing more comes, once everything is written. Over TLS the peer learns it at the close."""
        if self.transport is not None and not self.transport.is_closing() and self.transport.can_write_eof():
            self.transport.write_eof()

    def descriptor(self) -> int:
        """The socket's file descriptor; -1 when the connection is lost."""
        return -1 if self.transport is None else cast("int", self.transport.get_extra_info("socket").fileno())

    @property
    def gone(self) -> bool:
        """The connection is lost."""
        return self.transport is None

    @property
    def waiting(self) -> int:
        """How many bytes the peer has still to take."""
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    def stalls(self, now: float) -> bool:
        """Whether the peer has taken nothing of what waits for it for longer than allowed. Called by the sweep."""
        waiting = self.waiting
        if not waiting:
            self._stalled_since = None
            return False
        taken = self._written - waiting
        if self._stalled_since is None or taken > self._taken:
            self._stalled_since = now
        self._taken = taken
        return now - self._stalled_since >= self.limits.write_s
