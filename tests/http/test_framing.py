"""Replies that follow one another on a connection. Found by `make fuzz`."""

from __future__ import annotations

import pytest

from penstock.http.framing import DONE, Framing

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
_NO_CONTENT = b"HTTP/1.1 204 No Content\r\nContent-Length: %d\r\n\r\n%b"
_INTERIM = b"HTTP/1.1 100 Continue\r\nContent-Length: 38\r\n\r\n"

REPLIES = {
    "the same but for the length": [_OK % (3, b"one"), _OK % (5, b"three"), _OK % (0, b""), _OK % (1, b"x")],
    "another length than is sent": [_OK % (3, b"one"), _OK % (4, b"four!")],
    "no body where one is announced": [_NO_CONTENT % (0, b""), _NO_CONTENT % (5, b"hello")],
    "not modified": [b"HTTP/1.1 304 N\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 304 N\r\nContent-Length: 1\r\n\r\nx"],
    "interim": [_INTERIM + _OK % (0, b""), _INTERIM + _OK % (0, b"")],
    "another behind it": [_OK % (2, b"ok") + b"HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc"],
    "interim, then none": [_INTERIM + _OK % (0, b""), b"HTTP/1.1 100 Continue\r\nContent-Length: 1\r\n\r\nx"],
}


def read(replies: list[bytes], piece: int) -> list[tuple[int, dict[bytes, bytes], bytes, bool, bool]]:
    """What is read from replies that come in pieces of this size, until a connection is not kept."""
    framing, found = Framing(), []
    for reply in replies:
        framing.begin(no_body=False)
        body = b""
        for at in range(0, len(reply), piece):
            if framing.stage == DONE:
                framing.keep_alive = False  # bytes that nobody asked for
                break
            framing.feed(reply[at : at + piece])
            body += framing.take()
        found.append((framing.status, framing.headers, body, framing.stage == DONE, framing.keep_alive))
        if not found[-1][3] or not framing.keep_alive:
            break
    return found


@pytest.mark.parametrize("name", REPLIES)
def test_replies_are_the_same_in_one_piece_and_in_many(name: str) -> None:
    assert read(REPLIES[name], 1 << 20) == read(REPLIES[name], 1) == read(REPLIES[name], 7)
