"""The input side of a server connection: heads, bodies, and what comes behind the request being answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from penstock.http.channel import Channel
from penstock.http.limits import Limits
from penstock.http.request import Request
from penstock.http.request_body import RequestBody
from penstock.http.request_head import HeadParser, check_part
from penstock.types.errors import ExchangeError, HeadersTooLarge, InvalidRequest, RequestTimedOut

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_SLOW_BODY = "The request body came too slowly."

# What input is at the moment (plain numbers: they are compared for every read).
HEAD = 0  # the next request's head, or nothing yet
SMALL = 1  # a small body, which is here before its request is delivered
BODY = 2  # body of the request being answered
HOLD = 3  # behind a request that is complete
DISCARD = 4  # of no interest: the connection ends, or the body was refused
TAKEN = 5  # somebody else's


class Intake(Channel):
    """
    Turns bytes into requests, one at a time: the next is begun by `next_request`, when the last has been answered.

    A request is delivered with its body if that is announced and fits into the read-ahead: clients tend to send it
    right behind the head, and an answer that does not want it can leave the connection open. Otherwise it is delivered
    at the end of its head. Subclasses say what happens with it (`arrived`) and with what cannot become one (`refuse`).

    Attributes:
        request: the one being answered.
        stage: what input is at the moment.
        since: when what the stage waits for began, on `clock`.
    """

    __slots__ = (
        "_body",
        "_coming",
        "_forgiven",
        "_input",
        "_scanned",
        "_served",
        "clock",
        "parser",
        "request",
        "since",
        "stage",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits, clock: Callable[[], float]) -> None:
        super().__init__(loop, limits)
        self.clock = clock
        self.stage = HEAD
        self.since = clock()
        self.parser = HeadParser(limits)
        self.request: Request | None = None
        self._coming: Request | None = None  # the one whose small body is not here yet
        self._body: RequestBody | None = None  # the one being received
        self._input = bytearray()  # a head that is not complete, or what came behind the request being answered
        self._scanned = 0  # so much of a partial head has been looked at
        self._forgiven = False  # an empty line before the head was skipped
        self._served = False  # one head has been complete

    def arrived(self, request: Request) -> None:
        """A head is complete; the body may still come."""
        raise NotImplementedError

    def refuse(self, error: ExchangeError) -> None:
        """The input cannot be served: the connection ends."""
        raise NotImplementedError

    @property
    def busy(self) -> bool:
        """A request is in progress."""
        return self.request is not None or self._coming is not None

    @property
    def idle(self) -> bool:
        """No request has begun."""
        return self.stage == HEAD and not self._input

    @property
    def drained(self) -> bool:
        """The request is complete and nothing has come behind it."""
        return self.stage == HOLD and not self._input and not self.blind

    def next_request(self) -> None:
        """The last request is answered: begin with the next, which may be here already."""
        self.request = None
        self.stage = HEAD
        self.since = self.clock()
        if self.blind:
            self.look_on()
        if self._input:
            self._look_for_head()
            if self.stage == HOLD and len(self._input) >= self.limits.read_ahead:
                self.hold_back()

    def discard(self, stage: int) -> None:
        """Drop input from here on. `stage` says why."""
        self.stage = stage
        self.since = self.clock()
        self._input = bytearray()
        self._coming = None
        self.look_on()

    def overdue(self, now: float) -> bool:
        """
        Enforce the time limits of input; called by the sweep.

        Returns:
            Whether the connection is to be closed without a word.
        """
        limits, passed = self.limits, now - self.since
        if self.stage == HEAD:
            if not self._input:
                return passed >= (limits.idle_s if self._served else limits.head_s)
            if passed >= limits.head_s:
                self.refuse(RequestTimedOut(f"The request head was not complete after {limits.head_s:g} seconds."))
        elif self.stage == SMALL:
            if passed >= limits.body_s + len(self._input) / limits.body_bytes_per_s:
                self.refuse(RequestTimedOut(_SLOW_BODY))
        elif self.stage == BODY:
            body = self._body
            if body is not None and body.wanted and passed >= limits.body_s + body.received / limits.body_bytes_per_s:
                self._stop_body(RequestTimedOut, _SLOW_BODY)
        return False

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        stage = self.stage
        if stage == HEAD:
            if not self._input:
                size = data.find(b"\r\n\r\n") + 4
                if 4 < size <= self.limits.header_bytes and data[0] != 13:
                    self._open(data[:size], data[size:])
                    return
                if not self._forgiven:
                    self.since = self.clock()
            self._input += data
            self._look_for_head()
        elif stage == BODY:
            self._take_body(data)
        elif stage == SMALL:
            self._input += data
            self._look_for_body()
        elif stage == HOLD:
            self._input += data
            if len(self._input) >= self.limits.read_ahead:
                self.hold_back()

    def _look_for_head(self) -> None:
        """Find the end of the head in the input, or see that there cannot be one."""
        held = self._input
        if not self._forgiven and held.startswith(b"\r\n"):
            del held[:2]  # one empty line before a request is forgiven (RFC 9112, 2.2)
            self._forgiven = True
            self._scanned = 0
        end = held.find(b"\r\n\r\n", max(0, self._scanned - 3))
        size = len(held) if end < 0 else end + 4
        if size > self.limits.header_bytes:
            self.refuse(HeadersTooLarge(f"The request head is over {self.limits.header_bytes} bytes."))
        elif end >= 0:
            head = bytes(held[:size])
            del held[:size]
            self._open(head, b"")
        else:
            try:
                check_part(held, self._scanned)
            except InvalidRequest as error:
                self.refuse(error)
            self._scanned = size

    def _open(self, head: bytes, rest: bytes) -> None:
        """
        A head is complete: let the task have the request.

        What follows the head is either `rest` or in the input, never in both.
        """
        self._scanned = 0
        self._forgiven = False
        try:
            request = self.parser.parse(head, self.clock())
        except ExchangeError as error:
            self.refuse(error)
            return
        self._served = True
        length = request.length
        if length is not None and length <= len(rest):
            if length < len(rest):
                self._input += rest[length:]
                rest = rest[:length]
            self._deliver(request, rest)
        elif length is None or length > self.limits.read_ahead or request.expects:
            self._deliver_without(request, rest)
        else:
            self.stage = SMALL
            self.since = request.received
            self._coming = request
            self._input += rest
            self._look_for_body()

    def _look_for_body(self) -> None:
        """Deliver the request whose small body is awaited, if it is here."""
        request = self._coming
        assert request is not None
        assert request.length is not None, "a small body has a length"
        if len(self._input) >= request.length:
            body = bytes(self._input[: request.length])
            del self._input[: request.length]
            self._deliver(request, body)

    def _deliver(self, request: Request, body: bytes) -> None:
        self.stage = HOLD
        self._coming = None
        self.parser.skip(body)
        request.whole = body
        self.request = request
        self.arrived(request)

    def _deliver_without(self, request: Request, rest: bytes) -> None:
        """The body follows when it comes; `rest` is its beginning, or the input is."""
        self.stage = BODY
        self._body = body = RequestBody(request.length, self.limits, self._want_body)
        request.incoming = body
        self.request = request
        held, self._input = self._input, bytearray()
        if held or rest:
            self._take_body(held or rest)
        self.arrived(request)

    def _take_body(self, data: bytes | bytearray) -> None:
        body = self._body
        assert body is not None
        try:
            taken = body.feed(data)
        except ExchangeError as error:
            self._stop_body(type(error), str(error))
            return
        if body.complete:
            self._body = None
            self.stage = HOLD
            if taken < len(data):
                self._input += data[taken:]
        elif not body.wanted and body.received >= self.limits.read_ahead:
            self.hold_back()

    def _want_body(self) -> None:
        """The handler waits for a body that is not complete."""
        if self._body is None or self.request is None:
            return
        self.since = self.clock()
        if self.request.expects and not self._body.received:
            self.write(_CONTINUE)
        self.look_on()

    def _stop_body(self, kind: type[ExchangeError], message: str) -> None:
        self.drop_body(kind, message)
        self.stage = DISCARD
        self.look_on()

    def drop_body(self, kind: type[ExchangeError], message: str) -> None:
        """No more of the body comes; its reader gets this error."""
        body, self._body = self._body, None
        if body is not None:
            body.fail(kind, message)
