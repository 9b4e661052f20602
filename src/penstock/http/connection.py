"""
One client connection of the server: bytes in, requests to the handler, one after the other.

A connection has one task, which waits for a request, calls the handler and begins again. The protocol's callbacks run
between its steps: they collect a whole head, hand the request to the task, feed the body, and hold back what comes
behind it until the answer is out. The task is cancelled when the peer leaves. Time limits are checked by the server's
sweep, so nothing is scheduled per request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

from penstock.http.intake import DISCARD, HOLD, TAKEN, Intake
from penstock.http.limits import Limits
from penstock.http.request import Request
from penstock.http.request_head import ExpectationFailed
from penstock.http.responder import Responder, status_line
from penstock.types.errors import ExchangeError, InvalidRequest, NoCapacity

_log = logging.getLogger("penstock.http")

Handler = Callable[[Request, Responder], Awaitable[None]]

LINGER_S = 2.0  # how long a refused client is read on, so that it sees the answer rather than a reset connection


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as it is answered: the status, ready-made header lines, the body."""

    status: int
    headers: bytes
    body: bytes


class Host(Protocol):
    """What connections need of their server, which outlives them."""

    handler: Handler
    refuse: Callable[[ExchangeError], Refusal]
    limits: Limits
    clock: Callable[[], float]
    lines: bytes  # the Date header
    last_lines: bytes  # the Date header and `connection: close`
    draining: bool

    def admit(self, connection: Connection) -> bool:
        """Count a new connection; False when there are too many."""

    def forget(self, connection: Connection) -> None:
        """The connection has closed and its task has ended."""


class Connection(Intake):
    """The protocol of one connection. Made by the server for each accept; gone when the peer and its task are."""

    __slots__ = ("_host", "_last", "_left_alone", "_local", "_task", "_waited_for", "_wake")

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop, local: bool) -> None:
        super().__init__(loop, host.limits, host.clock)
        self._host = host
        self._local = local
        self._task: asyncio.Task[None] | None = None
        self._wake: asyncio.Future[None] | None = None  # the task waits for a request
        self._last = False  # the connection ends with the current answer
        self._left_alone = False  # the handler itself cut the connection and is not cancelled for it
        self._waited_for: Request | None = None  # the one behind which input was held back at the last sweep

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self._host.admit(self):
            self.stage = DISCARD
            self._write_refusal(NoCapacity("No more connections are taken at the moment.", retry_after=1))
            if self.transport is not None:
                self.transport.close()
            return
        self.parser.origin(transport.get_extra_info("peername"), self._local)
        self._task = self.loop.create_task(self._run())
        self._task.add_done_callback(self._ended)

    def eof_received(self) -> None:
        """A peer that sends no more has left, even if it might still read. The transport closes itself on return."""
        if self.busy:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is None:
            return
        super().connection_lost(exc)
        self.parser.close()
        self.discard(self.stage)
        self.drop_body(InvalidRequest, "The client has left.")
        if self._task is None:
            self._host.forget(self)
        elif not self._left_alone:
            self._task.cancel()

    # What the answer calls, beside the channel's methods

    def closing_lines(self) -> bytes:
        """The Date header, and `connection: close` where this answer is the last; settles which."""
        if self._last or self.stage != HOLD or self._host.draining:
            self._last = True
            return self._host.last_lines
        return self._host.lines

    def cut(self, reset: bool) -> None:
        """The handler cuts the connection, and is left to end by itself."""
        self._left_alone = True
        if reset:
            self.reset()
        else:
            self.abort()

    def take_over(self) -> asyncio.Transport:
        """Give the connection away; from here on only its end matters."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("The client has left.")
        self.drop_body(InvalidRequest, "The connection was given away.")
        self.discard(TAKEN)
        self.parser.close()
        return transport

    # What the server calls

    def retire(self) -> None:
        """Close the connection if no request has begun; otherwise it ends with the answer."""
        if self.transport is not None and self.idle:
            self.transport.close()

    def end(self) -> None:
        """Cancel the handler, which may still say a last word; without one, close at once."""
        if self._task is None:
            self.abort()
        else:
            self._task.cancel()

    def check(self, now: float) -> None:
        """Enforce the time limits; called by the sweep."""
        transport = self.transport
        if transport is None:
            return
        if self.stage == TAKEN:
            if transport.is_closing():
                self.connection_lost(None)  # the protocol that its owner has set got the call instead
        elif self.stalls(now):
            self.abort()
        elif self.stage == DISCARD:
            if self.request is None and now - self.since >= LINGER_S:
                transport.close()
        elif self.overdue(now):
            transport.close()
        elif self.stage == HOLD and self.blind:
            self._look_past_waiting()

    def _look_past_waiting(self) -> None:
        """
        More requests wait behind the current one than are read ahead: when they still do at the next sweep, they are
        dropped.

        The end of the client comes behind them, and would go unseen for as long as there is no room for all of them.
        The connection ends with the current answer, so the client knows that they were not served.
        """
        if self._waited_for is self.request:
            self._last = True
            self.discard(DISCARD)
        self._waited_for = self.request

    # The task

    async def _run(self) -> None:
        try:
            while True:
                request = self.request
                if request is None:
                    if self.stage == DISCARD:
                        return
                    self._wake = self.loop.create_future()
                    await self._wake
                    continue
                responder = Responder(self, request.method == "HEAD", request.chunks)
                try:
                    await self._host.handler(request, responder)
                    if not responder.ended and self.transport is not None:
                        raise RuntimeError("The handler returned without a complete answer.")
                except asyncio.CancelledError:
                    if responder.ended:
                        self._last = True
                        self._proceed()  # the handler's last word is still on its way
                    raise
                except ExchangeError as error:
                    await self._answer_error(responder, error)
                except Exception as error:  # noqa: BLE001  a handler's bug is logged and answered, not spread
                    await self._answer_bug(request, responder, error)
                if not self._proceed():
                    return
                if self.request is not None:
                    await asyncio.sleep(0)  # a client that sends many requests at once takes turns with others
        finally:
            if self.request is not None and self.stage != TAKEN:
                self.abort()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a connection failed", exc_info=error)
            self.abort()
        if self.transport is None:
            self._host.forget(self)

    async def _answer_bug(self, request: Request, responder: Responder, error: Exception) -> None:
        if self.transport is None and isinstance(error, ConnectionError):
            return  # the client has left, and the handler has noticed
        fields = {"method": request.method, "path": request.path}  # no header values, no query
        _log.error("a request handler failed", exc_info=error, extra={"fields": fields})
        self._last = True
        await self._answer_error(responder, ExchangeError("Internal error."))

    async def _answer_error(self, responder: Responder, error: ExchangeError) -> None:
        refusal = None if responder.started else self._refusal(error)
        if refusal is None:
            self.abort()
        else:
            await responder.send(refusal.status, refusal.headers, refusal.body)

    def _proceed(self) -> bool:
        """After an answer: go on to the next request, or end the connection and return False."""
        transport = self.transport
        if self.stage == TAKEN or transport is None:
            return False
        if not self._last and self.stage == HOLD and not self._host.draining:
            self.next_request()
            return True
        whole = self.drained
        self.request = None
        if whole:
            self.discard(DISCARD)
            transport.close()
        else:
            self._linger()
        return False

    # Requests and what cannot become one

    def arrived(self, request: Request) -> None:
        """Let the task have the request."""
        self._last = not request.keep_alive
        wake, self._wake = self._wake, None
        if wake is not None and not wake.done():
            wake.set_result(None)

    def refuse(self, error: ExchangeError) -> None:
        """Answer what cannot become a request, and end the connection."""
        self._write_refusal(error)
        self._linger()

    def _write_refusal(self, error: ExchangeError) -> None:
        refusal = self._refusal(error)
        if refusal is None:
            self.abort()
            return
        line, body = status_line(refusal.status), refusal.body
        lines = self._host.last_lines
        self.write(b"%b%bcontent-length: %d\r\n%b\r\n%b" % (line, refusal.headers, len(body), lines, body))

    def _refusal(self, error: ExchangeError) -> Refusal | None:
        try:
            refusal = self._host.refuse(error)
        except Exception:  # noqa: BLE001  rendering is foreign code; without an answer the connection is cut
            _log.exception("an error could not be rendered")
            return None
        return replace(refusal, status=417) if isinstance(error, ExpectationFailed) else refusal

    def _linger(self) -> None:
        """Say that nothing more comes, and read on for a moment without looking at it."""
        self.discard(DISCARD)
        self.finish()
