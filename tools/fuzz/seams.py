"""
Every place where the fuzzers touch Penstock, so that a change of its insides costs an edit here and nowhere else.

Limits are small: what they bound shows within a few thousand bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from penstock.gateway.dialects import document, events, openai, openai_answers
from penstock.gateway.dialects.call import Call
from penstock.http import upstream
from penstock.http.chunked_body import ChunkedDecoder
from penstock.http.connection import Connection
from penstock.http.limits import Limits
from penstock.http.server import Handler, Refusal, Request, Responder, Server
from penstock.types.dialect import Dialect
from penstock.types.errors import ExchangeError, InvalidRequest, UpstreamError

__all__ = [
    "Call",
    "ChunkedDecoder",
    "Connection",
    "Dialect",
    "ExchangeError",
    "InvalidRequest",
    "Request",
    "Responder",
    "Server",
    "UpstreamError",
    "events",
    "openai",
    "openai_answers",
    "upstream",
]

LIMITS = Limits(header_bytes=600, header_count=20, max_body=800, read_ahead=200)
LONG_S = 1_000_000.0  # longer than every limit


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as its handler saw it."""

    method: str
    path: str
    query: str
    headers: dict[bytes, bytes]
    length: int | None
    keep_alive: bool
    modern: bool  # HTTP/1.1


def asked(request: Request) -> Asked:
    """What a handler can see of a request."""
    return Asked(
        request.method,
        request.path,
        request.query,
        dict(request.headers),
        request.length,
        request.keep_alive,
        modern=request.chunks,
    )


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def refuse(error: ExchangeError) -> Refusal:
    """Errors without a body, so that answers are as easy to tell apart for HEAD as for all else."""
    return Refusal(400, f"x-error: {type(error).__name__}\r\n".encode(), b"")


def server(handler: Handler, clock: Clock) -> Server:
    """A server without a listener."""
    return Server(handler, refuse, LIMITS, clock)


def accepted(host: Server, loop: asyncio.AbstractEventLoop) -> Connection:
    """The protocol of a connection that the server has just accepted."""
    return Connection(host, loop, False)


def fields(body: bytes) -> dict[str, bytes]:
    """The top-level fields of a JSON object; refused as a request's body is."""
    return {name: bytes(value) for name, value in document.read(body).fields.items()}


def decoder() -> ChunkedDecoder:
    """A decoder of one chunked body."""
    return ChunkedDecoder(LIMITS.max_body, LIMITS.header_bytes)


def connected(clock: Callable[[], float]) -> upstream.Connection:
    """The protocol of a connection to an upstream, for a running loop."""
    return upstream.Connection("upstream", clock, lambda _: None)


async def ask(connection: upstream.Connection, now: float, *, no_body: bool) -> bool:
    """Send a request and wait for the head of its reply."""
    until = now + 100.0
    head = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    return connection.ask(head, b"", no_body, 10.0, 10.0, until, until) and await connection.answered(b"")
