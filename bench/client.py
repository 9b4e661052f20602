"""A small load client: calls over our own pool, so that the load costs less than what is measured."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from itertools import count
from urllib.parse import urlsplit

from penstock.http.pool import Pool, Timeouts
from penstock.types.address import Address

OK = 200
UNAVAILABLE = 503
CHAT, MESSAGES, RESPONSES = b"/v1/chat/completions", b"/v1/messages", b"/v1/responses"
_SWEEP_S = 0.1


@contextlib.asynccontextmanager
async def pool(url: str, connections: int) -> AsyncIterator[Pool]:
    """Open a pool to `http://host:port` for the time of a block."""
    parts = urlsplit(url)
    client = Pool(
        Address(host=parts.hostname or "", port=parts.port or 80),
        max_connections=connections,
        max_idle=connections,
    )

    async def sweep() -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            client.sweep()

    sweeper = asyncio.create_task(sweep())
    try:
        yield client
    finally:
        sweeper.cancel()
        await client.aclose()


def chat_body(content: str, *, model: str = "chat", stream: bool = False, **fields: object) -> bytes:
    """Return a chat request as JSON."""
    return json.dumps(
        {"model": model, "messages": [{"role": "user", "content": content}], "stream": stream, **fields}
    ).encode()


def response_body(content: str, *, model: str = "chat", stream: bool = False, **fields: object) -> bytes:
    """Return a request of the Responses API as JSON."""
    return json.dumps({"model": model, "input": content, "stream": stream, **fields}).encode()


class Client:
    """One caller with a key. Shared by tasks; each call takes a connection of the pool."""

    def __init__(self, connections: Pool, key: str, timeout_s: float = 60.0) -> None:
        self._pool = connections
        self._headers = b"authorization: Bearer " + key.encode() + b"\r\ncontent-type: application/json\r\n"
        self._timeouts = Timeouts(first_byte_s=timeout_s, idle_s=timeout_s, total_s=timeout_s)

    async def call(self, body: bytes, path: bytes = CHAT) -> tuple[int, str, bytes]:
        """Return status, request id and body of one call."""
        status, headers, content = await self.exchange(body, path)
        return status, headers.get(b"x-request-id", b"").decode(), content

    async def exchange(self, body: bytes, path: bytes = CHAT) -> tuple[int, Mapping[bytes, bytes], bytes]:
        """Return status, headers and body of one call."""
        with await self._pool.request(b"POST", path, self._headers, body, self._timeouts) as reply:
            content = await reply.read(64 * 1024 * 1024)
            return reply.status, reply.headers, content

    async def answer(self, body: bytes) -> bytes:
        """Return the body of one chat completion; RuntimeError when it is not a good one."""
        status, _, content = await self.call(body)
        if status != OK:
            raise RuntimeError(f"status {status}: {content[:200]!r}")
        return content

    async def leave_after(self, body: bytes, chunks: int) -> int:
        """Begin a stream, read some chunks, go away; return how many bytes came."""
        with await self._pool.request(b"POST", CHAT, self._headers, body, self._timeouts) as reply:
            size = 0
            for _ in range(chunks):
                size += len(await reply.chunk())
            return size


async def paced(ask: Callable[[], Awaitable[None]], rate: float, callers: int, seconds: float) -> tuple[int, float]:
    """
    Ask at a fixed rate, whatever the answers take, unless all callers are busy.

    Args:
        rate: calls per second of all callers together.
    Returns:
        how many calls were made, and in how many seconds.
    """
    began = time.monotonic()
    turn = count()
    done = 0

    async def caller() -> None:
        nonlocal done
        while (due := next(turn) / rate) < seconds:
            await asyncio.sleep(max(0.0, began + due - time.monotonic()))
            await ask()
            done += 1

    await asyncio.gather(*(caller() for _ in range(callers)))
    return done, time.monotonic() - began
