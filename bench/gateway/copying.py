"""
The least that a gateway in Python does here: uvloop hands the bytes of one socket to another and reads none of them.

Each client's connection has an upstream connection of its own. `python -m bench.gateway.copying PORT UPSTREAM_PORT`
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import cast

import uvloop


class _Side(asyncio.Protocol):
    """One of two connections; what comes in here goes out there."""

    def __init__(self) -> None:
        self.other: asyncio.Transport | None = None
        self.early: list[bytes] = []  # what came before the other side was there

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        else:
            self.other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self.other is not None:
            self.other.close()


class _Client(_Side):
    def __init__(self, upstream_port: int, tasks: set[asyncio.Task[None]]) -> None:
        super().__init__()
        self._upstream_port = upstream_port
        self._tasks = tasks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        task = asyncio.get_running_loop().create_task(self._connect())
        self._tasks.add(task)  # the loop alone does not keep it
        task.add_done_callback(self._tasks.discard)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        upstream, back = await loop.create_connection(_Side, "127.0.0.1", self._upstream_port)
        if self.transport.is_closing():
            upstream.close()
            return
        back.other, self.other = self.transport, upstream
        for data in self.early:
            upstream.write(data)


async def _serve(port: int, upstream_port: int) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()
    server = await loop.create_server(lambda: _Client(upstream_port, tasks), "127.0.0.1", port, backlog=4096)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    async with server:
        await stop.wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
