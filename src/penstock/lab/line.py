"""A connection that the lab writes to itself, after it has taken it over from the server."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import cast

Sleep = Callable[[float], Awaitable[object]]

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER for no time at all: closing sends RST
_SLICE_S = 0.05  # a rate is kept in slices of this length


class Line(asyncio.Protocol):
    """
    Stands between the transport and the server's protocol, which still learns of the end and cancels the handler.

    What the client sends is dropped. Every write returns when the kernel has taken it, so that writes stay apart.
    """

    def __init__(self, transport: asyncio.Transport, sleep: Sleep) -> None:
        self._transport = transport
        self._sleep = sleep
        self._server = cast("asyncio.Protocol", transport.get_protocol())
        self._flushed = asyncio.Event()
        self._flushed.set()
        self._received = 0
        self._slow = False
        transport.set_write_buffer_limits(high=0)
        transport.set_protocol(self)

    # What the event loop calls

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._slow:
            self._transport.pause_reading()

    def eof_received(self) -> bool | None:
        return self._server.eof_received()

    def pause_writing(self) -> None:
        self._flushed.clear()

    def resume_writing(self) -> None:
        self._flushed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._flushed.set()
        self._server.connection_lost(exc)

    # What the lab calls

    def hold(self) -> None:
        """Read nothing any more."""
        self._transport.pause_reading()

    async def read_slowly(self, rate: int, length: int) -> int:
        """
        Read at `rate` bytes per second for as long as a body of `length` bytes takes then; the rest as it comes.

        Returns:
            How many bytes were read, those left out that the server had read before.
        """
        end = length / rate
        spent = 0.0
        self._slow = True
        while spent < end:
            before = self._received
            self._transport.resume_reading()
            await self._sleep(_SLICE_S)  # something arrives, which stops the reading, or nothing does
            pause = max((self._received - before) / rate - _SLICE_S, 0.0)
            if pause:
                await self._sleep(pause)
            spent += _SLICE_S + pause
        self._slow = False
        self._transport.resume_reading()
        return self._received

    async def write(self, data: bytes, size: int | None, pause: float, rate: int | None) -> None:
        """Write in pieces of `size` bytes with pauses between, not faster than `rate` bytes per second."""
        step = size or len(data) or 1
        if rate is not None:
            step = min(step, max(int(rate * _SLICE_S), 1))
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            self._transport.write(piece)
            await self._flushed.wait()
            delay = pause + (len(piece) / rate if rate is not None else 0.0)
            if delay:
                await self._sleep(delay)
            elif size is not None:
                await asyncio.sleep(0)  # a long answer in small writes must not keep the loop from others

    def close(self, *, reset: bool) -> None:
        """End the connection; `reset` with RST instead of FIN."""
        if reset:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()
        else:
            self._transport.close()
