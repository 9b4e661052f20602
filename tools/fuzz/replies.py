"""
Replies: bytes from an upstream into its connection.

Status, headers, body and end are the same however the bytes are cut, and the same as h11 reads where it accepts them;
what waits for a slow reader is bounded; nothing but an `UpstreamError` comes out, and silence ends in a time-out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tools.fuzz import reading, seams
from tools.fuzz.target import Check, Input, Target, cut, demand, linear, seed, take_apart
from tools.fuzz.wire import Faults, Wire, held

_EOF, _HEAD = 1, 2  # flags: the upstream closes at the end; the requests are HEAD
_NEXT = b"\xff\xff"  # between the replies of one connection: what follows comes once another request is sent
_MOST = 4  # replies of one connection
_FLOOD_BYTES = 16 * 1024
_LARGEST = 16 * 1024  # bytes delivered at once while flooding
_HELD = 4 * 64 * 1024  # a head, its lines, and a body that nobody takes


@dataclass
class _Outcome:
    """What became of a reply."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    end: str = "waiting"  # complete, failed, stale
    reusable: bool = False


class _Case:
    """One connection."""

    def __init__(self, flags: int, loop: asyncio.AbstractEventLoop) -> None:
        self.flags = flags
        self.clock = seams.Clock()
        self.connection = seams.connected(self.clock)
        self.wire = Wire(loop, self.connection)
        self.connection.connection_made(self.wire)

    async def run(
        self, replies: list[Iterable[bytes]], bound: int | None = None, taking: bool = True
    ) -> list[_Outcome]:
        """Deliver replies, each to a request of its own, as long as the connection is kept."""
        outcomes: list[_Outcome] = []
        for pieces in replies:
            if outcomes:
                if not outcomes[-1].reusable:
                    break
                self.connection.rest()
            outcomes.append(await self._exchange(pieces, bound, taking, last=len(outcomes) == len(replies) - 1))
        self.wire.abort()
        await asyncio.sleep(0)
        return outcomes

    async def _exchange(self, pieces: Iterable[bytes], bound: int | None, taking: bool, last: bool) -> _Outcome:
        wire, connection, outcome = self.wire, self.connection, _Outcome()
        sending = asyncio.ensure_future(seams.ask(connection, self.clock(), no_body=bool(self.flags & _HEAD)))
        await asyncio.sleep(0)
        for piece in pieces:
            if wire.closing or not wire.reading:
                break
            connection.data_received(piece)
            if bound is not None:
                size = held(connection)
                demand(size <= bound + 2 * len(piece), "what is held is bounded", size, bound)
            if not sending.done():
                await asyncio.sleep(0)
            if taking:
                self._take(sending, outcome)
        if last and self.flags & _EOF and not wire.closing:
            connection.eof_received()
            wire.lose()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self._take(sending, outcome)
        if outcome.end == "waiting":
            self.clock.now += seams.LONG_S
            connection.expire(self.clock.now)
            await asyncio.sleep(0)
            late = _Outcome()
            self._take(sending, late)
            demand(late.end == "failed", "silence ends in a time-out", outcome, late)
        demand(sending.done(), "an exchange ends when its time is up")
        outcome.reusable = outcome.end == "complete" and connection.reusable
        return outcome

    def _take(self, sending: asyncio.Future[bool], outcome: _Outcome) -> None:
        """Take what is there."""
        if not sending.done() or outcome.end != "waiting":
            return
        try:
            if not sending.result():
                outcome.end = "stale"
                return
            outcome.status, headers = self.connection.head
            outcome.headers = dict(headers)
            while data := self.connection.take():
                outcome.body += data
        except seams.UpstreamError:
            outcome.end = "failed"
            return
        if data is not None:
            outcome.end = "complete"


def _second_reading(payload: bytes, eof: bool, head: bool, outcome: _Outcome) -> None:
    theirs = reading.reply(payload, eof, "HEAD" if head else "GET")
    if outcome.end == "waiting":
        demand(not isinstance(theirs, reading.Reply), "what is complete to others is complete", outcome, theirs)
    if outcome.end != "complete" or theirs == "refused":
        return
    demand(isinstance(theirs, reading.Reply), "what is complete is complete to others", outcome, theirs)
    assert isinstance(theirs, reading.Reply)
    demand(outcome.status == theirs.status, "the status is the same to others", outcome, theirs)
    demand(reading.same(outcome.headers, theirs.headers), "headers are the same to others", outcome, theirs)
    demand(outcome.body == theirs.body, "bodies are the same to others", outcome, theirs)
    if outcome.reusable and not payload.startswith(b"HTTP/1.0"):  # h11 keeps no connection of HTTP/1.0
        demand(theirs.reusable, "a connection that is kept is kept by others", outcome, theirs)


def _open(loop: asyncio.AbstractEventLoop) -> Check:
    faults = Faults(loop)

    def run(
        flags: int, replies: list[Iterable[bytes]], bound: int | None = None, taking: bool = True
    ) -> list[_Outcome]:
        async def case() -> list[_Outcome]:
            return await _Case(flags, loop).run(replies, bound, taking)

        with faults:
            outcomes = loop.run_until_complete(case())
            demand(not faults.found, "no exception is left over", *faults.found)
        return outcomes

    def flood(given: Input) -> None:
        flags = given.flags & 3
        linear(lambda size: run(flags, [cut(given.flooded(size), given.sizes)]), _FLOOD_BYTES)
        flooded = given.flooded(1 << 19)
        run(flags, [cut(flooded, b"\0", _LARGEST)], _HELD, taking=False)
        run(flags, [cut(flooded, b"\0", _LARGEST)], _HELD)

    def compare(flags: int, replies: list[bytes], once: list[_Outcome], cuts: list[_Outcome]) -> None:
        """llhttp takes empty lines behind a reply for the beginning of the next, if it sees them with the reply."""
        at = next((at for at, (one, other) in enumerate(zip(once, cuts, strict=False)) if one != other), 0)
        shorter: list[Iterable[bytes]] = [[each] for each in (*replies[:at], replies[at][:-1])]
        empty = replies[at].endswith((b"\r", b"\n")) and run(flags & ~_EOF, shorter)[at].end == "complete"
        demand(empty and replace(once[at], reusable=False) == cuts[at], "cuts do not matter", once, cuts)

    def check(data: bytes) -> None:
        given = take_apart(data)
        flags = given.flags & 3
        if given.flood:
            return flood(given)
        replies = given.payload.split(_NEXT)[:_MOST]
        once = run(flags, [[each] if each else [] for each in replies])
        cuts = run(flags, [cut(each, given.sizes) for each in replies])
        if once != cuts:
            compare(flags, replies, once, cuts)
        for at, outcome in enumerate(once):
            eof = bool(flags & _EOF) and at == len(replies) - 1
            _second_reading(replies[at], eof, bool(flags & _HEAD), outcome)
        return None

    return check


_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _whole(body: bytes) -> bytes:
    return _OK + b"Content-Type: application/json\r\ncontent-length: %d\r\nX: 1\r\n\r\n%b" % (len(body), body)


def _no_content(body: bytes) -> bytes:
    return b"HTTP/1.1 204 No Content\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _seeds() -> list[bytes]:
    replies = [
        _OK + b'Content-Type: application/json\r\nContent-Length: 13\r\n\r\n{"choices":1}',
        _CHUNKED + b"9\r\ndata: 1\n\n\r\n10;x=y\r\ndata: [DONE]\n\nabc\r\n0\r\nA: 1\r\n\r\n",
        _OK + b"\r\nuntil the end",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        + _OK
        + b"Content-Length: 2\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\nX: 1\r\nx: 2\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc",
        _OK + b"Content-Length: 2\r\n\r\nok" + _OK + b"Content-Length: 2\r\n\r\nno",
        _OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        _OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        _CHUNKED + b"5\r\nhello\r\nzz\r\n",
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        _NEXT.join([_whole(b"one"), _whole(b"and another"), _whole(b"end") + b"!", _whole(b"")]),
        _NEXT.join([_whole(b"one"), _whole(b"three")[:-2], b"ee"]),
        _NEXT.join([_no_content(b""), _no_content(b"hello"), _no_content(b"")]),
        _NEXT.join([b"HTTP/1.1 100 C\r\nContent-Length: 38\r\n\r\n" + _OK + b"Content-Length: 0\r\n\r\n"] * 2),
        _NEXT.join([_whole(b"one"), _CHUNKED + b"2\r\nok\r\n0\r\n\r\n", _whole(b"one"), _whole(b"x")]),
    ]
    floods = [
        (_OK + b"X: a", 1),
        (_CHUNKED + b"1\r\na\r\n", 6),
        (_CHUNKED + b"0\r\nA: 1\r\n", 6),
        (_CHUNKED + b"1;a", 1),
        (_OK + b"\r\nabc", 3),
        (b"HTTP/1.1 100 C\r\n\r\n", 18),
        (_OK + b"A: 1\r\n", 6),
    ]
    return [
        *(seed(reply, flags) for reply in replies for flags in (0, _EOF)),
        *(seed(reply, _EOF, (1,) * 7) for reply in replies),
        *(seed(reply, _HEAD) for reply in replies[:4]),
        *(seed(reply, 0xF8, (200, 1, 1, 1, 1, 1, tail)) for reply, tail in floods),
    ]


TARGET = Target(
    "replies",
    "replies into an upstream's connection",
    _open,
    _seeds,
    (
        _NEXT,
        *b"HTTP/1.1 200 OK\r\n,HTTP/1.0 ,100 Continue\r\n\r\n,\r\n,\r\n\r\n,0\r\n\r\n,chunked,close,keep-alive".split(
            b","
        ),
        *b"Content-Length: 5\r\n,Transfer-Encoding: chunked\r\n,Connection: close\r\n,5;x\r\nhello\r\n,204 ,304 ".split(
            b","
        ),
    ),
)
