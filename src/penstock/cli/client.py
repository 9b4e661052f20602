"""
A small synchronous HTTP client for the admin and data ports, over their Unix sockets or TCP.

The standard library is enough here: a command makes one or two requests and ends.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from penstock.types.errors import PenstockError

MAX_ANSWER = 64 * 1024 * 1024
MAX_LINE = 4 * 1024 * 1024

_PIECE = 64 * 1024
_TIMEOUT_S = 15.0
_STREAM_TIMEOUT_S = 180.0  # between two reads; the gateway's own deadlines and keep-alive comments come sooner


class Unreachable(PenstockError):
    """Nothing answers there."""


class Refused(PenstockError):
    """
    The server answered with an error.

    Attributes:
        status: its HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Endpoint(msgspec.Struct, frozen=True):
    """
    Where one of Penstock's ports is.

    Attributes:
        name: what to call it in errors: a path or an address, without any secret.
        unix: path of its Unix socket; then host and port mean nothing.
        key: presented as a bearer token, if set.
    """

    name: str
    unix: str | None = None
    host: str = "localhost"
    port: int = 0
    tls: bool = False
    key: str | None = None

    @classmethod
    def socket(cls, path: Path) -> Endpoint:
        """Return the endpoint behind a Unix socket of this machine."""
        return cls(name=str(path), unix=str(path))

    @classmethod
    def address(cls, url: str, key: str | None) -> Endpoint:
        """
        Return the endpoint at `http://host[:port]` or `https://…`; a trailing `/v1`, as SDKs want it, is accepted.

        Raises:
            ValueError: the text is not such an address, or the key cannot be one.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an address looks like http://127.0.0.1:8080")
        if parts.username is not None or parts.query or parts.fragment or parts.path.rstrip("/") not in ("", "/v1"):
            raise ValueError("an address has a scheme, a host and a port, and nothing else")
        if key is not None and not (key.isascii() and key.isprintable()):
            raise ValueError("a key has no spaces, line ends or letters beyond ASCII")
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        return cls(name=url, host=parts.hostname, port=port, tls=tls, key=key)


class _UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._seconds = timeout

    def connect(self) -> None:
        """Open the socket."""
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(self._seconds)
            sock.connect(self._path)
        except BaseException:
            sock.close()
            raise
        self.sock = sock


def call(endpoint: Endpoint, method: str, path: str, body: object = None) -> Any:
    """
    Make one request and return its decoded JSON answer (None when the answer is empty).

    Raises:
        Unreachable: there is no connection, or no answer in time.
        Refused: the answer is an error, or no JSON.
    """
    return _answered(endpoint, method, path, body, _TIMEOUT_S)[0]


def complete(endpoint: Endpoint, body: object) -> tuple[Any, Message]:
    """Make one chat completion, which may take minutes; return its JSON and its headers. Raises as `call`."""
    return _answered(endpoint, "POST", "/v1/chat/completions", body, _STREAM_TIMEOUT_S)


def _answered(endpoint: Endpoint, method: str, path: str, body: object, timeout: float) -> tuple[Any, Message]:
    """Make one request; return its decoded JSON answer and its headers. Raises as `call`."""
    with _exchange(endpoint, method, path, body, timeout) as response:
        with _translated(endpoint, timeout):
            content = response.read(MAX_ANSWER)
        status, headers = response.status, response.headers
    if not content:
        return None, headers
    try:
        return json.loads(content), headers
    except (ValueError, RecursionError) as error:
        raise Refused(f"{endpoint.name} did not answer with JSON", status) from error


@contextmanager
def stream(endpoint: Endpoint, path: str, body: object) -> Iterator[Iterator[bytes]]:
    """
    Make one POST and yield the lines of its answer as they arrive; leaving the block hangs up.

    Raises:
        Unreachable, Refused: as in `call`; also while reading.
    """
    with _exchange(endpoint, "POST", path, body, _STREAM_TIMEOUT_S) as response:

        def lines() -> Iterator[bytes]:
            rest = b""
            while True:
                with _translated(endpoint, _STREAM_TIMEOUT_S):
                    piece = response.read1(_PIECE)  # readline() takes a torn body for a whole one
                if not piece:
                    break
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    yield line + b"\n"
                if len(rest) > MAX_LINE:
                    raise Refused(f"{endpoint.name} sent a line that is too long", response.status)
            if rest:
                yield rest

        yield lines()


@contextmanager
def download(endpoint: Endpoint, path: str) -> Iterator[Iterator[bytes]]:
    """
    Get a file and yield it in pieces as they arrive.

    Raises:
        Unreachable, Refused: as in `call`; also while reading.
    """
    with _exchange(endpoint, "GET", path, None, _STREAM_TIMEOUT_S) as response:

        def pieces() -> Iterator[bytes]:
            while True:
                with _translated(endpoint, _STREAM_TIMEOUT_S):
                    piece = response.read1(_PIECE)
                if not piece:
                    return
                yield piece

        yield pieces()


@contextmanager
def _exchange(
    endpoint: Endpoint, method: str, path: str, body: object, timeout: float
) -> Iterator[http.client.HTTPResponse]:
    """Send a request and yield the response when it is not an error; the connection is closed at the end."""
    connection = _connection(endpoint, timeout)
    headers = {"Accept": "application/json, text/event-stream"}
    content: bytes | None = None
    if body is not None:
        content = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    try:
        with _translated(endpoint, timeout):
            connection.request(method, path, content, headers)
            response = connection.getresponse()
        with response:
            if response.status >= 400:
                with _translated(endpoint, timeout):
                    raise Refused(_error(endpoint, response), response.status)
            yield response
    finally:
        connection.close()


@contextmanager
def _translated(endpoint: Endpoint, timeout: float) -> Iterator[None]:
    """Turn what goes wrong with a connection into our errors."""
    try:
        yield
    except (FileNotFoundError, ConnectionRefusedError) as error:
        hint = "; is `penstock up` running with this PENSTOCK_HOME?" if endpoint.unix is not None else ""
        raise Unreachable(f"nothing answers at {endpoint.name}{hint}") from error
    except TimeoutError as error:
        raise Unreachable(f"{endpoint.name} did not answer within {timeout:g} s") from error
    except ssl.SSLError as error:
        raise Unreachable(f"no TLS connection to {endpoint.name}: {error.reason or error}") from error
    except (http.client.HTTPException, ConnectionError) as error:
        raise Unreachable(f"{endpoint.name} closed the connection before its answer was whole") from error
    except OSError as error:
        raise Unreachable(f"{endpoint.name} cannot be reached: {error.strerror or error}") from error


def _connection(endpoint: Endpoint, timeout: float) -> http.client.HTTPConnection:
    if endpoint.unix is not None:
        return _UnixConnection(endpoint.unix, timeout)
    if endpoint.tls:
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(endpoint.host, endpoint.port, timeout=timeout, context=context)
    return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout)


def _error(endpoint: Endpoint, response: http.client.HTTPResponse) -> str:
    """Return the sentence inside an error answer, or one made from its status."""
    try:
        message = json.loads(response.read(MAX_LINE))["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        message = None
    if isinstance(message, str) and message:
        return message
    return f"{endpoint.name} answered {response.status} {response.reason}"
