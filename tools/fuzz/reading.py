"""A second reading of HTTP, by h11, which shares no code with what is tested."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import h11

STRICTER = re.compile(rb"[ \t];")
"""Where h11 refuses what RFC 9112, 7.1.1, allows: white space between a chunk's size and its extensions."""

_MOST = 1 << 20  # h11's own bound of a head, above every one of ours


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request."""

    method: str
    target: str
    headers: dict[bytes, bytes]
    body: bytes
    keep_alive: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply; `reusable`: the connection may carry another."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    reusable: bool


def requests(data: bytes) -> tuple[list[Request], bool]:
    """Read whole requests, one behind the other. The flag: it went wrong, rather than that more is awaited."""
    found: list[Request] = []
    while True:
        data = data.removeprefix(b"\r\n")  # one empty line before a request is forgiven (RFC 9112, 2.2)
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST)
        connection.receive_data(data)
        try:
            request = connection.next_event()
            if not isinstance(request, h11.Request):
                return found, False
            body = _body(connection)
        except h11.RemoteProtocolError:
            return found, True
        if body is None:
            return found, False
        keep_alive = connection.their_state is not h11.MUST_CLOSE and not _closes(request)
        found.append(
            Request(request.method.decode(), request.target.decode(), joined(request.headers), body, keep_alive)
        )
        if not keep_alive:
            return found, False
        data = connection.trailing_data[0]


def reply(data: bytes, eof: bool, method: str) -> Reply | str:
    """Read one reply, interim ones before it; `refused` or `waiting` where there is none."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST)
    connection.send(h11.Request(method=method, target="/", headers=[("host", "h")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    if eof and data:
        connection.receive_data(b"")
    try:
        while isinstance(event := connection.next_event(), h11.InformationalResponse):
            continue
        if not isinstance(event, h11.Response):
            return "refused" if eof else "waiting"
        body = _body(connection)
    except h11.RemoteProtocolError:
        return "refused"
    if body is None:
        return "waiting"
    more = connection.trailing_data[0].strip(b"\r\n")  # empty lines in between are harmless
    reusable = not eof and connection.their_state is h11.DONE and not more
    return Reply(event.status_code, joined(event.headers), body, reusable)


def joined(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers as a mapping; those with the same name are joined."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found[name] = found[name] + b", " + value if name in found else value
    return found


def same(ours: dict[bytes, bytes], theirs: dict[bytes, bytes]) -> bool:
    """
    Compare headers. h11 lowers the case of a transfer coding and makes one length out of several equal ones; where the
    last of repeated headers is empty, white space is left over at the end.
    """
    lowered = {name: value.lower() if name == b"transfer-encoding" else value for name, value in ours.items()}
    if b"content-length" in lowered:
        lowered[b"content-length"] = lowered[b"content-length"].split(b",")[0].strip()
    return {name: value.rstrip() for name, value in lowered.items()} == {
        name: value.rstrip() for name, value in theirs.items()
    }


def _closes(request: h11.Request) -> bool:
    """What h11 does not yet say of a request that offers another protocol."""
    options = joined(request.headers).get(b"connection", b"").lower().split(b",")
    return request.http_version < b"1.1" or b"close" in [option.strip() for option in options]


def _body(connection: h11.Connection) -> bytes | None:
    body = b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Data):
            body += event.data
        else:
            return body if isinstance(event, h11.EndOfMessage) else None
