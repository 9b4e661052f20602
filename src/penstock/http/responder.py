"""The answer to one request, as its handler gives it."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Protocol

import msgspec

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_BODILESS = frozenset((204, 304))
_ONE_WRITE = 64 * 1024  # larger bodies are written next to their head rather than copied behind it


class Wire(Protocol):
    """The connection as an answer needs it. Writes to a peer that has left do nothing."""

    paused: bool  # the peer is slow; wait for `writable` before writing more

    @property
    def gone(self) -> bool:
        """The peer has left."""

    def write(self, data: bytes) -> None:
        """Queue bytes for the peer."""

    async def writable(self) -> None:
        """Return when the peer has taken enough of what was written, or has left."""

    def closing_lines(self) -> bytes:
        """The Date header, and `connection: close` where this answer is the last; settles which."""

    def cut(self, reset: bool) -> None:
        """Cut the connection. `reset`: by a reset, because an end alone would look like that of the answer."""

    def take_over(self) -> asyncio.Transport:
        """Give the connection away."""


def status_line(status: int) -> bytes:
    """The first line of an answer."""
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


class Responder(msgspec.Struct):
    """
    Answers one request: `send`, or `start`, `write`... and `end`. For one task at a time.

    Header lines are ready-made, `name: value` CRLF each, and go out as they are: whoever puts a value of foreign origin
    into one makes sure that it has no CR, LF or NUL. Content-Length, Transfer-Encoding, Date and Connection are added
    here and must not be among them.

    Attributes:
        wire: the connection's side of it.
        bodiless: the answer has no body, as that to HEAD.
        chunks: the client understands chunked answers; for others the end of the connection ends the answer.
        started: a status line was written.
        ended: the answer is complete, or its connection was given away.
    """

    wire: Wire
    bodiless: bool
    chunks: bool
    started: bool = False
    ended: bool = False

    async def send(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a complete answer. To a HEAD request its body is left out."""
        self._begin()
        self.ended = True
        wire = self.wire
        line = _STATUS_LINES.get(status) or status_line(status)
        if status in _BODILESS:
            wire.write(b"%b%b%b\r\n" % (line, headers, wire.closing_lines()))
        elif self.bodiless or len(body) > _ONE_WRITE:
            wire.write(b"%b%bcontent-length: %d\r\n%b\r\n" % (line, headers, len(body), wire.closing_lines()))
            if not self.bodiless:
                wire.write(body)
        else:
            wire.write(b"%b%bcontent-length: %d\r\n%b\r\n%b" % (line, headers, len(body), wire.closing_lines(), body))
        if wire.paused:
            await wire.writable()

    def start(self, status: int, headers: bytes) -> None:
        """Begin an answer of unknown length: chunked, or for HTTP/1.0 up to the end of the connection."""
        self._begin()
        wire = self.wire
        if status in _BODILESS:
            self.bodiless = True
            coding = b""
        elif self.chunks:
            coding = b"transfer-encoding: chunked\r\n"
        else:
            coding = b""  # of HTTP/1.0, whose connections end with the answer
        wire.write(b"%b%b%b%b\r\n" % (status_line(status), headers, coding, wire.closing_lines()))

    async def write(self, data: bytes) -> None:
        """Send a piece. Waits while the peer is slow; if it leaves meanwhile, the task is cancelled."""
        self.put(data)
        if self.wire.paused:
            await self.wire.writable()

    @property
    def gone(self) -> bool:
        """The peer has left: nothing that is written reaches it."""
        return self.wire.gone

    @property
    def slow(self) -> bool:
        """The peer has much to take yet: `write` would wait."""
        return self.wire.paused

    def put(self, data: bytes) -> None:
        """Send a piece without waiting; for the few bytes that a timer sends."""
        if not self.started or self.ended:
            raise RuntimeError("An answer is written between start and end.")
        if data and not self.bodiless:
            self.wire.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunks else data)

    async def end(self) -> None:
        """The answer is complete."""
        if not self.started or self.ended:
            raise RuntimeError("An answer ends once, after its start.")
        self.ended = True
        if self.chunks and not self.bodiless:
            self.wire.write(b"0\r\n\r\n")
        if self.wire.paused:
            await self.wire.writable()

    def abort(self) -> None:
        """Cut the connection, so that the peer cannot take what it has for a whole answer. The handler goes on."""
        self.started = self.ended = True
        self.wire.cut(not self.chunks)

    def take_over(self) -> asyncio.Transport:
        """
        Give the connection to the caller, who writes to it and closes it from here on.

        The server keeps its count until it has closed and, as long as the caller sets no protocol of its own, cancels
        the handler's task when the peer leaves. Input is dropped, also what came behind this request. No limits are
        enforced any more.

        Raises:
            ConnectionResetError: the peer has left.
        """
        transport = self.wire.take_over()
        self.started = self.ended = True
        return transport

    def _begin(self) -> None:
        if self.started:
            raise RuntimeError("A request is answered once.")
        self.started = True
