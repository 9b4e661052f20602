"""A raw origin server for the pool's tests: each connection is played by a script that reads and writes bytes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvloop

from penstock.http.pool import Pool, Reply, Timeouts
from penstock.types.address import Address


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    line: bytes
    lines: list[bytes]
    body: bytes

    def header(self, name: bytes) -> list[bytes]:
        found = [line.partition(b": ") for line in self.lines]
        return [value for known, _, value in found if known.lower() == name]


class Peer:
    """One connection, from the origin's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> Request | None:
        """The next request, or None when the client has closed."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        line, *lines = head[:-4].split(b"\r\n")
        request = Request(line, lines, b"")
        length = request.header(b"content-length")
        return Request(line, lines, await self.reader.readexactly(int(length[0]))) if length else request

    async def send(self, *parts: bytes) -> None:
        """Send each part so that the client has a chance to see it alone."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await turns()

    async def gone(self) -> None:
        """Wait until the client has closed."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass

    def close(self) -> None:
        self.writer.close()

    def abort(self) -> None:
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class Origin:
    """
    Plays `script` on each connection.

    Attributes:
        connections: how many were accepted.
    """

    def __init__(
        self,
        script: Script,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        unix: Path | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.script = script
        self.connections = 0
        self.port = port
        self._host, self._unix, self._tls = host, unix, tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[BaseException] = []

    @property
    def address(self) -> Address:
        if self._unix is not None:
            return Address(unix=str(self._unix), tls=self._tls is not None)
        return Address(host=self._host, port=self.port, tls=self._tls is not None)

    async def __aenter__(self) -> Self:
        if self._unix is not None:
            self._server = await asyncio.start_unix_server(self._accept, self._unix, ssl=self._tls)
        else:
            self._server = await asyncio.start_server(self._accept, self._host, self.port, ssl=self._tls)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await turns()
        if self._errors and error is None:
            raise self._errors[0]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.get_running_loop().create_task(self._play(Peer(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, peer: Peer) -> None:
        try:
            await self.script(peer)
        except Exception as error:  # noqa: BLE001 - raised in the test's own task when it leaves the origin
            self._errors.append(error)
        finally:
            peer.abort()


def answering(*replies: bytes) -> Script:
    """Answer the n-th request of a connection with the n-th reply, further ones with the last, until it closes."""

    async def script(peer: Peer) -> None:
        count = 0
        while await peer.request() is not None:
            await peer.send(replies[min(count, len(replies) - 1)])
            count += 1

    return script


def reply(body: bytes = b"ok", *lines: bytes, status: bytes = b"200 OK") -> bytes:
    """A reply with a length."""
    head = b"".join(b"%b\r\n" % line for line in (b"content-length: %d" % len(body), *lines))
    return b"HTTP/1.1 %b\r\n%b\r\n%b" % (status, head, body)


async def ask(pool: Pool, body: bytes = b"{}", timeouts: Timeouts | None = None, method: bytes = b"POST") -> Reply:
    """Send a request of no interest."""
    return await pool.request(method, b"/x", b"content-type: application/json\r\n", body, timeouts or Timeouts())


async def fetch(pool: Pool, body: bytes = b"{}", timeouts: Timeouts | None = None) -> bytes:
    """Send a request, read its reply's body, close it."""
    with await ask(pool, body, timeouts) as answer:
        return await answer.read(1 << 30)


async def turns(count: int = 3) -> None:
    """Let the loop go round, so that what is ready in the kernel is read."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Poll until something is true."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a condition of the code under test has no event
            await asyncio.sleep(0.001)


def run(case: Coroutine[Any, Any, None], *, uv: bool = True) -> None:
    """Run a case on the loop that production uses (or on asyncio's own); it must leave no task and no loop error."""
    complaints: list[dict[str, Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        async with asyncio.timeout(60):
            await case
        await turns()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uv else asyncio.new_event_loop) as runner:
        runner.run(main())
    assert not complaints, complaints
