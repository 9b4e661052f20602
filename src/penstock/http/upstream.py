"""
One HTTP/1.1 connection to an upstream, seen from our side.

A connection is idle, or it carries one exchange: `ask` writes the request, `answered` returns when the head of the
reply is there; then `take` gives what has come of the body, and `more` is what to await when nothing has. No task
belongs to a connection: the parser calls it back while bytes arrive, and it wakes the one task that waits. Deadlines
are numbers that `expire` looks at, which the pool's sweep calls, so each costs one assignment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from penstock.http.framing import BODY, DEAD, DONE, HEAD, IDLE, Framing
from penstock.types.errors import UpstreamError, UpstreamFailed, UpstreamTimeout

BUFFER_BYTES: Final = 64 * 1024
"""Reading stops when this much of a body waits for its reader; a larger request is written in pieces of this size."""

RESEND_WITHIN_S: Final = 1.0
"""
A kept connection that the upstream had already closed says so within a round trip. One that closes later than this
without an answer was closed over the request itself, which may have been processed.
"""

NEVER: Final = float("inf")

Taker = Callable[[bytes], bool]
"""Takes a piece of a body and returns True, or leaves it to whoever waits for it. Must not raise."""


class Connection(asyncio.Protocol):
    """
    Made by a pool, connected by a dialer, used by one exchange at a time.

    Attributes:
        name: the upstream, for error sentences.
        peer: the IP address at the other end, "" where there is none; set by the dialer.
        due: no deadline passes before this clock time; `expire` need not be called earlier.
        retired: the address is no longer the upstream's, so do not keep the connection; set by the pool.
    """

    __slots__ = (
        "_clock",
        "_failure",
        "_first_byte_s",
        "_framing",
        "_head_until",
        "_idle_s",
        "_loop",
        "_lost",
        "_quiet_until",
        "_read_paused",
        "_sent_at",
        "_stale",
        "_taker",
        "_total_until",
        "_transport",
        "_waiter",
        "_write_paused",
        "due",
        "name",
        "peer",
        "retired",
    )

    def __init__(self, name: str, clock: Callable[[], float], lost: Callable[[Connection], None]) -> None:
        """
        Args:
            clock: seconds, monotonic.
            lost: called once when the connection has gone, if it was ever made.
        """
        self.name = name
        self.peer = ""
        self.retired = False
        self._clock = clock
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._framing = Framing()
        self._waiter: asyncio.Future[None] | None = None
        self._taker: Taker | None = None
        self._failure: tuple[type[UpstreamError], str, BaseException | None] | None = None
        self._stale = False
        self._read_paused = self._write_paused = False
        self._first_byte_s = self._idle_s = NEVER
        self._head_until = self._total_until = NEVER
        self._quiet_until = NEVER  # how long the upstream may keep us waiting
        self._sent_at = 0.0
        self.due = NEVER

    # What the pool and its reply call.

    @property
    def idle(self) -> bool:
        """Open and without an exchange."""
        return self._framing.stage == IDLE

    @property
    def reusable(self) -> bool:
        """The exchange is over on both sides, and nothing stands against another one."""
        transport = self._transport
        framing = self._framing
        return (
            framing.stage == DONE
            and framing.keep_alive
            and not self.retired
            and not self._read_paused
            and transport is not None
            and transport.get_write_buffer_size() == 0
        )

    @property
    def head(self) -> tuple[int, dict[bytes, bytes]]:
        """Status and headers of the reply, once they are there: lower case, repeated ones joined by a comma."""
        framing = self._framing
        return framing.status, framing.headers

    def ask(
        self,
        head: bytes,
        body: bytes,
        no_body: bool,
        first_byte_s: float,
        idle_s: float,
        head_until: float,
        total_until: float,
    ) -> bool:
        """
        Write a request; of one with a large body only the head. What comes of it `answered` tells.

        Args:
            no_body: the reply has none whatever its headers say, as it answers HEAD.
            first_byte_s: how long the upstream may take to answer, or to take the next piece of a large body.
            idle_s: how long it may be silent inside its reply.
            head_until: when the head of the reply must be here, on the clock.
            total_until: when all must be over, on the clock.
        Returns:
            False when the connection was closed already.
        """
        transport = self._transport
        framing = self._framing
        if framing.stage != IDLE or transport is None:
            return False
        framing.begin(no_body)
        self._first_byte_s = first_byte_s
        self._idle_s = idle_s
        self._head_until = head_until
        self._total_until = total_until
        self._sent_at = now = self._clock()
        self._quiet_until = now + first_byte_s
        self.due = min(self._quiet_until, head_until, total_until)
        transport.write(head + body if len(body) <= BUFFER_BYTES else head)
        return True

    async def answered(self, body: bytes) -> bool:
        """
        Wait for the head of the reply, writing a large body meanwhile.

        When a reply comes before a large body is written, the rest of that body is not sent.

        Returns:
            False when the connection was closed at once and without a byte of a reply, as happens with a kept one that
            the upstream had given up meanwhile. `error` then gives the error for when this may not be helped.
        Raises:
            UpstreamFailed, UpstreamTimeout: and the connection is closed.
        """
        framing = self._framing
        if len(body) > BUFFER_BYTES and self._transport is not None:
            await self._write_pieces(self._transport, body)
        while framing.stage == HEAD:
            self._waiter = waiter = self._loop.create_future()
            await waiter
        if framing.status:  # whatever came after the head, a failure too, is the reader's to find
            return True
        if self._stale:
            return False
        raise self.error()

    async def _write_pieces(self, transport: asyncio.Transport, body: bytes) -> None:
        framing = self._framing
        view = memoryview(body)
        for start in range(0, len(body), BUFFER_BYTES):
            while self._write_paused and framing.stage == HEAD:
                await self._change()
            if framing.stage != HEAD:
                framing.keep_alive = False  # the upstream still expects the rest
                return
            transport.write(view[start : start + BUFFER_BYTES])
            self._sent_at = now = self._clock()
            if not framing.began:
                self._quiet_until = now + self._first_byte_s

    def take(self) -> bytes | None:
        """
        Take what has come of the body.

        Returns:
            bytes; b"" at the end of the body; None when there is nothing yet, then await `more()`.
        Raises:
            UpstreamFailed, UpstreamTimeout: after everything that came before the failure was taken.
        """
        framing = self._framing
        data = framing.take()
        if data:
            if self._read_paused and self._transport is not None:
                self._read_paused = False
                self._transport.resume_reading()
            return data
        if framing.stage == BODY:
            return None
        if framing.stage == DONE:
            return b""
        raise self.error()

    def more(self, taker: Taker | None) -> asyncio.Future[None]:
        """
        To await when `take` gave None; from now on the upstream's silence is measured. One task waits at a time.

        Args:
            taker: is offered what comes before anybody is woken for it. The end of the body it is not offered.
        """
        if self._quiet_until == NEVER:  # else a wait was broken off, and the silence goes on
            self._quiet_until = until = self._clock() + self._idle_s
            self.due = min(self.due, until)
        self._taker = taker
        return self._change()

    def rest(self) -> None:
        """After a reusable exchange: be idle, hold nothing of it."""
        self._framing.rest()
        self._quiet_until = self._total_until = NEVER

    def close(self) -> None:
        """Close an idle connection politely; with TLS that says goodbye."""
        self._framing.abandon()
        if self._transport is not None:
            self._transport.close()

    def cut(self) -> None:
        """Close at once, whatever is going on. Whoever waits gets UpstreamFailed."""
        self._fail(UpstreamFailed, f"The connection to the {self.name} was closed on our side.")

    def expire(self, now: float) -> None:
        """Cut the exchange when one of its deadlines has passed; else find out when the next one may."""
        framing = self._framing
        if framing.stage == HEAD:
            self.due = min(self._quiet_until, self._head_until, self._total_until)
        else:
            self.due = min(self._quiet_until, self._total_until) if framing.stage == BODY else NEVER
        if now < self.due:
            return
        if now >= self._total_until:
            sentence = f"The {self.name} did not finish its answer in time."
        elif framing.stage == HEAD and not framing.began:
            limit = f"within {self._first_byte_s:g} s" if now >= self._quiet_until else "in time"
            sentence = f"The {self.name} did not begin to answer {limit}."
        else:
            sentence = f"The {self.name} was silent for {self._idle_s:g} s in the middle of its answer."
        self._fail(UpstreamTimeout, sentence)

    def error(self) -> UpstreamError:
        """Why the exchange failed, as a new exception each time: a kept one would keep the frames it went through."""
        if self._failure is None:
            return UpstreamFailed(f"The connection to the {self.name} is closed.")
        kind, sentence, cause = self._failure
        error = kind(sentence)
        error.__cause__ = cause
        return error

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        if self._framing.stage == DEAD:  # given up while connecting
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        framing = self._framing
        stage = framing.stage
        if stage not in (HEAD, BODY):
            self._unasked()
            return
        size = framing.size
        framing.feed(data)
        if framing.stage == HEAD:
            now = self._clock()
            self._quiet_until = until = now + self._idle_s if framing.began else self._sent_at + self._first_byte_s
            self.due = min(self.due, until)
            return
        if framing.stage == BODY:
            if stage == BODY and framing.size == size:  # bytes, but none of the body
                if self._quiet_until != NEVER:
                    self._quiet_until = self._clock() + self._idle_s
                return
            if self._taker is not None:
                data = framing.take()
                if self._taker(data):
                    self._quiet_until = self._clock() + self._idle_s
                    return
                framing.put_back(data)
            if framing.size >= BUFFER_BYTES and not self._read_paused and self._transport is not None:
                self._read_paused = True
                self._transport.pause_reading()
        elif framing.stage == DEAD:
            self._fail(UpstreamFailed, f"The {self.name} sent a malformed answer: {framing.problem}.", framing.cause)
        self._quiet_until = NEVER
        self._wake()

    def eof_received(self) -> None:
        self._ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(exc)
        self._framing.release()
        self._transport = None
        self._lost(self)

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._wake()

    # How an exchange ends.

    def _ended(self, cause: Exception | None) -> None:
        """No more bytes will come; called by end of file and by the loss of the connection, so often twice."""
        framing = self._framing
        framing.keep_alive = False
        if cause is None:
            framing.end()
        if framing.stage == IDLE:
            framing.abandon()
        elif framing.stage == HEAD:
            self._stale = not framing.touched and self._clock() - self._sent_at <= RESEND_WITHIN_S
            self._fail(UpstreamFailed, f"The {self.name} closed the connection without an answer.", cause)
        elif framing.stage == BODY:
            self._fail(UpstreamFailed, f"The {self.name} closed the connection in the middle of its answer.", cause)
        else:
            self._wake()

    def _unasked(self) -> None:
        """Bytes came that no request asked for."""
        self._framing.keep_alive = False
        if self._framing.stage == IDLE:
            self._fail(UpstreamFailed, f"The {self.name} sent an answer to no request.")

    def _fail(self, kind: type[UpstreamError], sentence: str, cause: BaseException | None = None) -> None:
        if self._failure is None:
            # Without its frames, which could keep us.
            self._failure = (kind, sentence, None if cause is None else cause.with_traceback(None))
        self._framing.abandon()
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    def _change(self) -> asyncio.Future[None]:
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def _wake(self) -> None:
        self._taker = None
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
