"""HTTP/1.1 as bytes, right or wrong as ordered. Pure; for answers whose every byte the lab writes itself."""

from __future__ import annotations

from http import HTTPStatus

from penstock.lab.orders import Framing, Order

_PAD = 4096  # bytes of one padding header


def fields(order: Order, kind: bytes, number_header: bytes, number: str) -> bytes:
    """Return the header lines that do not depend on how the body is framed."""
    if order.content_type is not None:
        kind = order.content_type.encode()
    lines = [b"content-type: %b\r\n%b: %b\r\n" % (kind, number_header, number.encode("latin-1", "replace"))]
    if order.retry_after is not None:
        lines.append(b"retry-after: %b\r\n" % order.retry_after.encode())
    if order.gzip:
        lines.append(b"content-encoding: gzip\r\n")
    lines.extend(b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in order.headers.items())
    for index, start in enumerate(range(0, order.big_headers, _PAD)):
        lines.append(b"x-lab-padding-%d: %b\r\n" % (index, b"p" * min(_PAD, order.big_headers - start)))
    return b"".join(lines)


class Framer:
    """
    Frames one answer.

    `length` is the length of its body; it must be known unless the framing is chunked or until the end of the
    connection.
    """

    def __init__(self, order: Order, framing: Framing, length: int | None) -> None:
        self._order = order
        self._framing = framing
        self._length = length
        self._spoiled = False

    def head(self, status: int, lines: bytes) -> bytes:
        """Return the head, with the informational ones before it."""
        order = self._order
        early = b"".join(b"%b\r\n\r\n" % _status_line(code) for code in order.informational)
        first = b"HTP/1,1 okay" if order.broken == "status_line" else _status_line(status)
        if order.broken == "header":
            lines += b"this line has no colon\r\n"
        return b"%b%b\r\n%b%b%b\r\n" % (early, first, lines, self._length_lines(), self._connection_line())

    def chunk(self, payload: bytes, events: int) -> bytes:
        """Frame a piece of the body; `events` content events have gone out before it."""
        if self._framing != "chunked":
            return payload
        size, end = b"%x" % len(payload), b"\r\n"
        if not self._spoiled and events >= self._order.broken_after:
            if self._order.broken == "chunk_size":
                size, self._spoiled = b"zz", True
            elif self._order.broken == "chunk_end":
                end, self._spoiled = b"!!", True
        return b"%b\r\n%b%b" % (size, payload, end)

    def last(self) -> bytes:
        """Return what ends the body."""
        if self._order.broken == "long_body":
            return b"this is more than was promised"
        if self._framing != "chunked" or self._order.broken == "last_chunk":
            return b""
        return b"0\r\n\r\n"

    def _length_lines(self) -> bytes:
        broken = self._order.broken
        chunked = b"transfer-encoding: chunked\r\n"
        if self._framing == "chunked":
            return chunked + b"content-length: 7\r\n" if broken == "length_and_chunked" else chunked
        if self._framing == "close":
            return b""
        length = (self._length or 0) + (10 if broken == "short_body" else 0)
        line = b"content-length: %d\r\n" % length
        if broken == "two_lengths":
            line += b"content-length: %d\r\n" % (length + 1)
        return line

    def _connection_line(self) -> bytes:
        order = self._order
        honest = order.close_idle is None and order.broken is None and order.cut_place is None
        return b"connection: close\r\n" if order.close or self._framing == "close" or honest else b""


def framing_of(order: Order, stream: bool) -> Framing:
    """Return how an answer's body is framed."""
    if order.broken in {"two_lengths", "short_body", "long_body"}:
        return "length"
    if order.broken in {"length_and_chunked", "chunk_size", "chunk_end", "last_chunk"}:
        return "chunked"
    return order.framing or ("chunked" if stream else "length")


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Ordered"
    return b"HTTP/1.1 %d %b" % (status, phrase.encode())
