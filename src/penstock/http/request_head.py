"""
A request head, taken apart strictly: whatever two readers could understand differently is refused.

llhttp splits the lines and refuses control characters, bare CR and LF, folded lines and space before a colon. What it
lets through (checked against httptools 0.9) is refused here: loose request lines, targets that are not a path, a
missing Host, repeated headers that must be single, transfer codings other than `chunked`.

The connection hands over whole heads, so nothing depends on how the bytes were split on the way. A client that keeps
its connection sends the same head again and again but for the length of the body and, where it is traced, a valid
`traceparent`; a head that equals the last one byte for byte around those says the same and is not taken apart again.
"""

from __future__ import annotations

import re

import httptools

from penstock.http.limits import Limits
from penstock.http.request import Request
from penstock.types.errors import BodyTooLarge, ExchangeError, HeadersTooLarge, InvalidRequest

_METHODS = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY")
}
_VERSIONS = {b"HTTP/1.1": True, b"HTTP/1.0": False}
_TARGET = re.compile(rb"/[!\"$-~]*")  # visible ASCII without `#`
_HOST = re.compile(rb"[0-9A-Za-z!$%&'()*+,\-.;=_~]*(:[0-9]*)?|\[[0-9A-Fa-f:.]+\](:[0-9]*)?")

_SINGLE = frozenset(
    b"host content-length transfer-encoding authorization content-type expect x-api-key api-key".split()
)

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_TRACE = b"\r\ntraceparent: "
_TRACE_LINE = re.compile(rb"\r\ntraceparent: ([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})(?=\r\n)")
_DIGITS = 19  # more cannot be the length of anything
_REMEMBERED = 4096  # bytes of a head that is kept for comparison with the next

# What no head may contain: seen early, a client that speaks something else is told at once.
_FOREIGN = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?!\n|\Z)|\n[ \t]")


class ExpectationFailed(InvalidRequest):
    """The client expects something other than `100-continue`: 417."""


def check_part(head: bytearray, start: int) -> None:
    """
    Look at a head that is not complete; what lies before `start` has been looked at.

    Raises:
        InvalidRequest: it cannot become a valid one.
    """
    if _FOREIGN.search(head, max(0, start - 1)):
        raise InvalidRequest("This is not a valid HTTP/1.1 request head: it has stray control characters or line ends.")


class HeadParser:
    """Takes request heads apart. One per connection, kept from request to request; `close` breaks its cycle."""

    __slots__ = (
        "_after",
        "_before",
        "_headers",
        "_known",
        "_limits",
        "_local",
        "_max_body",
        "_parser",
        "_peer",
        "_ready",
        "_repeated",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._peer = ""
        self._local = False
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._ready = True  # llhttp expects a head next, not a body
        self._headers: dict[bytes, bytes] = {}
        self._repeated = 0  # header lines beyond the first of their name
        # Clients repeat themselves: the last head that was found valid, around the digits of its Content-Length.
        self._before = b"\x00"
        self._after = b""
        self._known: tuple[tuple[str, str, str, bool], dict[bytes, bytes], bool] = (("", "", "", True), {}, True)
        self._max_body = limits.max_body

    def origin(self, name: object, local: bool) -> None:
        """Where the requests come from: the socket's peer name, of TCP or of a Unix socket, which has no address."""
        if isinstance(name, tuple) and name:
            self._peer = str(name[0]).removeprefix("::ffff:")
        self._local = local

    def close(self) -> None:
        """No more heads come. llhttp's object refers to this one, so it is let go."""
        self._parser = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools for each header line."""
        name = name.lower()
        headers = self._headers
        if name in headers:
            if name in _SINGLE:
                raise InvalidRequest(f"The header {name.decode('latin-1')} is given twice.")
            self._repeated += 1
            headers[name] += b", " + value.rstrip()
        else:
            headers[name] = value.rstrip()

    def parse(self, head: bytes, now: float) -> Request:
        """
        Take a whole head apart, from the request line to the empty line. The body is the caller's business.

        Raises:
            InvalidRequest, HeadersTooLarge, ExpectationFailed: it cannot be served.
            BodyTooLarge: it announces a body over the limit.
        """
        same, trace = _without_trace(head) if _TRACE in head else (head, b"")
        if same.startswith(self._before) and same.endswith(self._after):
            digits = same[len(self._before) : len(same) - len(self._after)]
            if digits.isdigit() and len(digits) < _DIGITS and (size := int(digits)) <= self._max_body:
                start, known, keep_alive = self._known
                if not self._ready:  # llhttp waits for an earlier body, and must not take this one for it
                    self._parser = httptools.HttpRequestParser(self)
                    self._ready = True
                headers = known.copy()
                headers[b"content-length"] = digits
                if trace:
                    headers[b"traceparent"] = trace
                return Request(*start, headers, self._peer, self._local, now, size, keep_alive, False)
        return self._parse_anew(head, now, same, trace)

    def _parse_anew(self, head: bytes, now: float, same: bytes, trace: bytes) -> Request:
        start = _parse_line(head[: head.index(b"\r\n")])
        headers: dict[bytes, bytes] = {}
        self._headers = headers
        self._repeated = 0
        self._split(head)
        if len(headers) + self._repeated > self._limits.header_count:
            raise HeadersTooLarge(f"The request has more than {self._limits.header_count} headers.")
        host = headers.get(b"host")
        if host is None:
            if start[3]:
                raise InvalidRequest("The Host header is missing.")
        elif not _HOST.fullmatch(host):
            raise InvalidRequest("The Host header is malformed.")
        length = self._length(headers, start[3])
        if length != 0:
            self._ready = False
        keep_alive = start[3] and (b"connection" not in headers or _keeps(headers[b"connection"]))
        expects = b"expect" in headers and _expects(headers[b"expect"], start[3])
        if headers.get(b"traceparent", b"") == trace and not expects and len(same) <= _REMEMBERED:
            found = _CONTENT_LENGTH.search(same)
            if found is not None:
                self._before, self._after = same[: found.start(1)], same[found.end(1) :]
                known = {name: value for name, value in headers.items() if name != b"traceparent"}
                self._known = (start, known, keep_alive)
        return Request(*start, headers, self._peer, self._local, now, length, keep_alive, expects)

    def skip(self, body: bytes) -> None:
        """Show llhttp the whole body of the last head, if it saw that; else the next head costs a new parser."""
        if self._ready or self._parser is None:
            return
        try:
            self._parser.feed_data(body)
        except httptools.HttpParserError:
            return
        self._ready = True

    def _split(self, head: bytes) -> None:
        parser = self._parser
        if parser is None or not self._ready:
            parser = self._parser = httptools.HttpRequestParser(self)
        self._ready = False
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            self._parser = None  # served as a plain request; to llhttp what follows it is no body of this one
            return
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, ExchangeError):
                raise error.__context__ from None
            raise InvalidRequest(f"The request head is not valid HTTP/1.1: {error}.") from None
        self._ready = True

    def _length(self, headers: dict[bytes, bytes], chunks: bool) -> int | None:
        """The length of the body that follows, None for a chunked one."""
        announced = headers.get(b"content-length")
        coding = headers.get(b"transfer-encoding")
        if coding is not None:
            if announced is not None:
                raise InvalidRequest("Content-Length and Transfer-Encoding are given together.")
            if not chunks:
                raise InvalidRequest("Transfer-Encoding is not part of HTTP/1.0.")
            if coding.lower() != b"chunked":
                raise InvalidRequest("The only Transfer-Encoding that is understood is chunked.")
            return None
        if announced is None:
            return 0
        if not announced.isdigit():
            raise InvalidRequest("The Content-Length is not a number.")
        length = int(announced) if len(announced) < _DIGITS else self._limits.max_body + 1
        if length > self._limits.max_body:
            raise BodyTooLarge(f"The body is over {self._limits.max_body} bytes.")
        return length


def _without_trace(head: bytes) -> tuple[bytes, bytes]:
    """Return a head without the first `traceparent` that is as it should be, and its value; or the same head."""
    found = _TRACE_LINE.search(head)
    if found is None:
        return head, b""
    return head[: found.start()] + head[found.end() :], found[1]


def _parse_line(line: bytes) -> tuple[str, str, str, bool]:
    """Method, path, query, and whether it is HTTP/1.1."""
    parts = line.split(b" ")
    if len(parts) != 3:
        raise InvalidRequest("The request line is not `METHOD /path HTTP/1.1`.")
    name, target, version = parts
    if version not in _VERSIONS:
        raise InvalidRequest("Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    method = _METHODS.get(name)
    if method is None:
        if name == b"CONNECT":
            raise InvalidRequest("CONNECT is not served: this is not a proxy.")
        raise InvalidRequest("The request method is not known.")
    if not _TARGET.fullmatch(target):
        raise InvalidRequest("The request target must be a path that starts with `/`, without a scheme and host.")
    path, _, query = target.decode("ascii").partition("?")
    return method, path, query, _VERSIONS[version]


def _keeps(connection: bytes) -> bool:
    """Whether this Connection header leaves the connection open."""
    if connection == b"keep-alive":
        return True
    return b"close" not in [token.strip() for token in connection.lower().split(b",")]


def _expects(expect: bytes, chunks: bool) -> bool:
    """Whether the client waits for `100 Continue`. HTTP/1.0 has no expectations."""
    if not chunks:
        return False
    if expect.lower() != b"100-continue":
        raise ExpectationFailed("The only expectation that can be met is 100-continue.")
    return True
