"""
Penstock bare: the server and the pool of `penstock.http` with only decoding between them; the floor of the stack.

`python -m bench.gateway.bare PORT UPSTREAM_PORT`
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys

import msgspec
import uvloop

from penstock.http.pool import Pool, Timeouts
from penstock.http.server import Refusal, Request, Responder, Server
from penstock.types.address import Address
from penstock.types.errors import ExchangeError

_MAX_REPLY = 64 * 1024 * 1024
_SWEEP_S = 0.1
_CONNECTIONS = 1024
_JSON = b"content-type: application/json\r\n"
_EVENTS = b"content-type: text/event-stream\r\n"


class _Asked(msgspec.Struct):
    model: str
    stream: bool = False
    max_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answered(msgspec.Struct):
    usage: _Usage


_asked = msgspec.json.Decoder(_Asked).decode
_answered = msgspec.json.Decoder(_Answered).decode


class Relay:
    """Hands each request on as it came. Used from one event loop."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._timeouts = Timeouts()

    async def handle(self, request: Request, responder: Responder) -> None:
        """Answer a request with what the upstream answers."""
        body = await request.body()
        asked = _asked(body)
        with await self._pool.request(b"POST", b"/v1/chat/completions", _JSON, body, self._timeouts) as reply:
            if not asked.stream:
                answer = await reply.read(_MAX_REPLY)
                _answered(answer)
                await responder.send(reply.status, _JSON, answer)
                return
            responder.start(reply.status, _EVENTS)
            while data := await reply.chunk():
                await responder.write(data)
            await responder.end()


def _refuse(error: ExchangeError) -> Refusal:
    return Refusal(400, _JSON, msgspec.json.encode({"error": str(error)}))


async def _serve(port: int, upstream_port: int) -> None:
    pool = Pool(Address(host="127.0.0.1", port=upstream_port), max_connections=_CONNECTIONS, max_idle=_CONNECTIONS)
    server = Server(Relay(pool).handle, _refuse)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(4096)
    await server.listen(listener)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    while not stop.is_set():
        pool.sweep()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SWEEP_S):
                await stop.wait()
    await server.drain(0)
    await pool.aclose()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
