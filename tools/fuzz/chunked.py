"""Chunked request bodies: the same out however they are cut, and the same as h11 reads."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from tools.fuzz import reading, seams
from tools.fuzz.target import Check, Input, Target, cut, demand, linear, seed, take_apart
from tools.fuzz.wire import held

_HEAD = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
_FLOOD_BYTES = 32 * 1024
_HELD = 4096  # a line that is not complete, however it is kept

_Outcome = tuple[bytes, int, bool, str]  # the body, how many bytes belonged to it, whether it is complete, the error


def _decode(pieces: Iterable[bytes]) -> _Outcome:
    decoder, body, taken = seams.decoder(), bytearray(), 0
    try:
        for piece in pieces:
            used = decoder.feed(piece, body)
            taken += used
            demand(held(decoder) <= _HELD, "what is held is bounded", held(decoder))
            demand(len(body) <= seams.LIMITS.max_body, "a body is bounded", len(body))
            if decoder.done:
                break
            demand(used == len(piece), "a body that is not complete takes all", used, piece)
    except seams.ExchangeError as error:
        return b"", 0, False, type(error).__name__
    return bytes(body), taken, decoder.done, ""


def _flood(given: Input) -> None:
    def work(size: int) -> None:
        decoder, body = seams.decoder(), bytearray()
        try:
            for piece in cut(given.flooded(size), given.sizes):
                if decoder.done:
                    return
                decoder.feed(piece, body)
        except seams.ExchangeError:
            return

    linear(work, _FLOOD_BYTES)


def check(data: bytes) -> None:
    """Run one input."""
    given = take_apart(data)
    if given.flood:
        return _flood(given)
    once, cuts = _decode([given.payload]), _decode(given.pieces())
    demand(once == cuts, "cuts do not matter", once, cuts)
    body, taken, done, error = once
    if done:
        theirs, refused = reading.requests(_HEAD + given.payload[:taken])
        if refused and reading.STRICTER.search(given.payload):
            return None
        demand(len(theirs) == 1, "what is a whole body here is one to others", body, theirs)
        demand(theirs[0].body == body, "bodies are the same to others", body, theirs[0])
    elif not error:
        theirs, _ = reading.requests(_HEAD + given.payload)
        demand(not theirs, "a whole body is complete here too", given.payload, theirs)
    return None


def _open(loop: asyncio.AbstractEventLoop) -> Check:  # noqa: ARG001  nothing here waits
    return check


def _seeds() -> list[bytes]:
    bodies = [
        b"5\r\nhello\r\n0\r\n\r\n",
        b'5;a=b\r\nhello\r\n000C \t;q="x y"\r\n, and\r\n\r\nbye\r\n0\r\n\r\nGET / HTTP/1.1',
        b"1\r\na\r\n1\r\nb\r\n0;last\r\nA: 1\r\nB:\t2 \r\n\r\n",
        b"0\r\n\r\n0\r\n\r\n",
        b"321\r\n",
        b"ffffffffffffffff\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"-1\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"0\r\n: x\r\n\r\n",
        b"0\r\nA: 1\r\n b\r\n\r\n",
    ]
    floods = [
        (b"1\r\na\r\n", 6),
        (b"0\r\nA: 1\r\n", 6),
        (b"5;a", 1),
        (b"0" * 9, 1),
        (b"1;" + b"a" * 200 + b"\r\nb\r\n", 207),
    ]
    return [
        *(seed(body) for body in bodies),
        *(seed(body, 0, (1,) * 7) for body in bodies),
        *(seed(body, 0xF8, (1, 1, 1, 1, 1, 1, tail)) for body, tail in floods),
    ]


TARGET = Target(
    "chunked",
    "chunked request bodies",
    _open,
    _seeds,
    (b"\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b";a=b", b"\n", b"\r", b"X: 1\r\n", b" ", b"\t", b"00", b"F"),
)
