"""
Requests: bytes into a server's connection, however they are cut.

The same requests come out as from the uncut bytes; h11, which reads them independently, finds the same ones; what is
held is bounded; and every input ends in requests, a refusal or waiting, and the waiting in a time-out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from tools.fuzz import reading, seams
from tools.fuzz.target import Check, Input, Target, cut, demand, linear, seed, take_apart
from tools.fuzz.wire import Faults, Wire, held, settle

# What the handler does, by the lower bits of the flags.
_READ, _IGNORE, _WAIT, _FAIL = range(4)
_TURNS = 4  # a flag: the handler comes to its turn between any two pieces
_MEASURED = 256  # bytes delivered between two looks at what is held
_FLOOD_BYTES = 8 * 1024
_LARGEST = 2048  # bytes delivered at once while flooding
_HELD = 6 * seams.LIMITS.header_bytes + 2 * seams.LIMITS.max_body + seams.LIMITS.read_ahead + 2048

_Served = tuple[seams.Asked, bytes | str | None]  # with its body, or the error that came instead, or None: not read


@dataclass
class _Outcome:
    """What became of an input."""

    served: list[_Served] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)  # statuses, in order, without `100 Continue`
    over: bool = False  # the connection ended by itself
    all_read: bool = field(default=True, compare=False)  # as long as the connection was open, it took all input


class _Case:
    """One connection and its handler."""

    def __init__(self, mode: int, loop: asyncio.AbstractEventLoop) -> None:
        self.mode = mode
        self.outcome = _Outcome()
        self.clock = seams.Clock()
        self.server = seams.server(self._handle, self.clock)
        self.connection = seams.accepted(self.server, loop)
        self.wire = Wire(loop, self.connection)
        self._asleep = loop.create_future()

    async def run(self, pieces: Iterable[bytes], bound: int | None = None) -> _Outcome:
        """Deliver the pieces; `bound` is for what the connection may hold at any time."""
        wire, connection, outcome = self.wire, self.connection, self.outcome
        connection.connection_made(wire)
        await asyncio.sleep(0)
        unmeasured = 0
        for piece in pieces:
            await settle(wire.is_reading, 8)
            if wire.closing:
                break
            if not wire.reading:
                outcome.all_read = False
                break
            connection.data_received(piece)
            unmeasured += len(piece)
            if bound is not None and unmeasured > _MEASURED:
                self._measure(bound + unmeasured + len(piece))
                unmeasured = 0
            if self.mode & _TURNS:
                await settle(lambda: False, 3)
        if bound is not None:
            self._measure(bound + unmeasured)
        await self._until_quiet()
        outcome.over = wire.over
        outcome.answers = _statuses(bytes(wire.written))
        await self._end()
        return outcome

    def _measure(self, bound: int) -> None:
        size = held(self.connection, self.server, self.outcome)
        demand(size <= bound, "what is held is bounded", size, bound)

    async def _until_quiet(self) -> None:
        """Wait until neither an answer nor a request comes any more."""
        before = (-1, -1)
        while before != (now := (len(self.wire.written), len(self.outcome.served))):
            before = now
            await settle(lambda: False, 8)

    async def _end(self) -> None:
        """However it stands, the time limits end it, and nothing is left."""
        if not self._asleep.done():
            self._asleep.set_result(None)
        await self._until_quiet()
        for _ in range(4):
            await settle(lambda: self.wire.closing, 4)
            self.clock.now += seams.LONG_S
            self.server.sweep()
        await settle(lambda: not self.server.connections)
        demand(self.wire.closing, "every connection ends when its time is up")
        demand(self.server.connections == 0, "the server forgets a connection that has ended")

    async def _handle(self, request: seams.Request, responder: seams.Responder) -> None:
        at = len(self.outcome.served)
        facts = seams.asked(request)
        self.outcome.served.append((facts, None))
        what = self.mode & ~_TURNS
        if what == _WAIT:
            await self._asleep
        if what == _FAIL:
            raise seams.InvalidRequest("Not like this.")
        if what == _READ:
            try:
                self.outcome.served[at] = facts, await request.body()
            except seams.ExchangeError as error:
                self.outcome.served[at] = facts, type(error).__name__
                raise
        await responder.send(200, b"", b"")


def _statuses(written: bytes) -> list[int]:
    """The statuses of answers without bodies."""
    heads = written.split(b"\r\n\r\n")
    demand(heads.pop() == b"", "answers are whole", written)
    found = []
    for head in heads:
        version, status, _ = head.split(b" ", 2)
        demand(version == b"HTTP/1.1", "answers have a status line", written)
        found.append(int(status))
    return [status for status in found if status != 100]


def _compare(once: _Outcome, cuts: _Outcome, mode: int) -> None:
    if mode in (_READ, _WAIT):
        demand(once == cuts, "cuts do not matter", once, cuts)
        # Input is held back from a handler that does not go on; from one that does, only for a moment.
        demand(mode == _WAIT or (once.all_read and cuts.all_read), "what is held back is read later", once, cuts)
    else:  # whether a body that is not wanted came in time to go on behind it depends on the cuts
        both = min(len(once.served), len(cuts.served))
        demand(once.served[:both] == cuts.served[:both], "cuts do not matter", once, cuts)


def _second_reading(payload: bytes, outcome: _Outcome) -> None:
    theirs, refused = reading.requests(payload)
    whole = [(facts, body) for facts, body in outcome.served if isinstance(body, bytes)]
    if not (refused and reading.STRICTER.search(payload)):
        demand(len(whole) <= len(theirs), "what is served is a request to others too", whole, theirs)
    for (ours, body), other in zip(whole, theirs, strict=False):
        demand(ours.method == other.method, "the method is the same to others", ours, other)
        path, _, query = other.target.partition("?")
        demand((ours.path, ours.query) == (path, query), "the target is the same to others", ours, other)
        demand(reading.same(ours.headers, other.headers), "headers are the same to others", ours, other)
        demand(body == other.body, "bodies are the same to others", ours, body, other)
        demand(ours.keep_alive == other.keep_alive, "the end of a connection is the same to others", ours, other)
    if not outcome.over and outcome.all_read:
        demand(len(outcome.served) >= len(theirs), "a whole request is served or refused", outcome, theirs)


def _open(loop: asyncio.AbstractEventLoop) -> Check:
    faults = Faults(loop)

    def run(mode: int, pieces: Iterable[bytes], bound: int | None = None) -> _Outcome:
        async def case() -> _Outcome:
            return await _Case(mode, loop).run(pieces, bound)

        with faults:
            outcome = loop.run_until_complete(case())
            demand(not faults.found, "no exception is left over", *faults.found)
        return outcome

    def flood(given: Input, mode: int) -> None:
        linear(lambda size: run(mode, cut(given.flooded(size), given.sizes), None), _FLOOD_BYTES)
        run(mode, cut(given.flooded(4 * _FLOOD_BYTES), given.sizes[:3], _LARGEST), _HELD)

    def check(data: bytes) -> None:
        given = take_apart(data)
        mode = given.flags & 7
        if given.flood:
            return flood(given, mode)
        once = run(mode, [given.payload] if given.payload else [])
        cuts = run(mode, given.pieces(), _HELD)
        _compare(once, cuts, mode & ~_TURNS)
        if mode & ~_TURNS == _READ:
            _second_reading(given.payload, once)
            demand(len(once.answers) <= len(once.served) + 1, "requests are answered once", once)
        return None

    return check


_POST = b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: localhost:8000\r\nContent-Type: application/json\r\n"
_GET = b"GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n"
_CHUNKS = b"5;a=b\r\nhello\r\n0C\r\n, and\r\n\r\nbye\r\n0\r\nX-Trailer: 1\r\n\r\n"


def _seeds() -> list[bytes]:
    bodies = [
        _GET,
        _GET * 3,
        b"\r\n" + _GET,
        b"HEAD / HTTP/1.0\r\n\r\n",
        b"OPTIONS /a?b HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n",
        _POST + b'Content-Length: 16\r\n\r\n{"model":"chat"}' + _GET,
        _POST + b"Transfer-Encoding: chunked\r\n\r\n" + _CHUNKS + _GET,
        _POST + b"Content-Length: 300\r\nAuthorization: Bearer k\r\n\r\n" + b"x" * 300 + _GET,
        _POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
        _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" + _CHUNKS,
        _POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: 1\r\nx: 2 \r\n\r\n" + _GET,
        b"GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, close\r\nUpgrade: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\nHost: h\n\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ]
    kept = [b"%bContent-Length: %d\r\n\r\n%b" % (_POST, size, b"y" * size) for size in (3, 12, 300, 3, 0, 250)]
    bodies += [
        b"".join(kept) + _GET,
        kept[2] + kept[0] + _GET * 2,
        kept[0] + _GET + kept[1] + _POST + b"Content-Length: 03\r\n\r\nabc" + kept[3],
        kept[0] + _POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        kept[0] + _POST + b"Transfer-Encoding: chunked\r\n\r\n" + _CHUNKS + kept[1],
    ]
    floods = [
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a",
        _GET,
        b"\r\n",
        _POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    ]
    tails = [1, len(_GET), 2, 6]
    return [
        *(seed(body, mode) for body in bodies for mode in (_READ, _IGNORE)),
        *(seed(body, _READ | _TURNS, (1,) * 7) for body in bodies),
        *(seed(bodies[n], mode) for n in (1, 5, 6, 7) for mode in (_WAIT, _FAIL)),
        *(
            seed(body, 0xF8 | mode, (0, 0, 0, 1, 1, 1, tail))
            for body, tail in zip(floods, tails, strict=True)
            for mode in (_READ, _WAIT)
        ),
    ]


TARGET = Target(
    "server",
    "requests into a server's connection",
    _open,
    _seeds,
    (
        *b"GET ,POST ,HEAD ,/, HTTP/1.1\r\n, HTTP/1.0\r\n,Host: h\r\n,\r\n,\r\n\r\n,0\r\n\r\n,chunked,close".split(
            b","
        ),
        *b"Content-Length: 5\r\n,Transfer-Encoding: chunked\r\n,Connection: close\r\n,keep-alive".split(b","),
        *b"Expect: 100-continue\r\n,Upgrade: x\r\n,5;x\r\nhello\r\n,Transfer-Encoding:,Content-Length:".split(b","),
    ),
)
