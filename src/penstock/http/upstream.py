"""
One HTTP/1.1 connection to an upstream, seen from our side.

A connection is idle, or it carries one exchange: `send` writes the request and returns when the head of the reply is
there; then `take` gives what has come of the body, and `more` is what to await when nothing has. No task belongs to a
connection: the parser calls it back while bytes arrive, and it wakes the one task that waits. Deadlines are two
numbers that `expire` looks at, which the pool's sweep calls, so each costs one assignment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

import httptools

from penstock.types.errors import UpstreamError, UpstreamFailed, UpstreamTimeout

BUFFER_BYTES: Final = 64 * 1024
"""Reading stops when this much of a body waits for its reader; a larger request is written in pieces of this size."""

HEAD_BYTES: Final = 64 * 1024
"""Bound of a reply's head, interim replies included, and of the framing between two bytes of a body (trailers, say)."""

HEADER_COUNT: Final = 200

RESEND_WITHIN_S: Final = 1.0
"""
A kept connection that the upstream had already closed says so within a round trip. One that closes later than this
without an answer was closed over the request itself, which may have been processed.
"""

NEVER: Final = float("inf")

# The phases: no exchange; before the end of the reply's head; in its body; the reply is complete; of no more use.
_IDLE, _HEAD, _BODY, _DONE, _DEAD = range(5)


class Connection(asyncio.Protocol):
    """
    Made by a pool, connected by a dialer, used by one exchange at a time.

    Attributes:
        name: the upstream, for error sentences.
        peer: the IP address at the other end, "" where there is none; set by the dialer.
        retired: the address is no longer the upstream's, so do not keep the connection; set by the pool.
    """

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
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._phase = _IDLE
        self._failure: tuple[type[UpstreamError], str, BaseException | None] | None = None
        self._stale = False
        self._read_paused = self._write_paused = False
        self._begin(NEVER, NEVER, NEVER, no_body=False)

    def _begin(self, first_byte_s: float, idle_s: float, total_until: float, *, no_body: bool) -> None:
        self._first_byte_s = first_byte_s
        self._idle_s = idle_s
        self._total_until = total_until
        self._quiet_until = NEVER  # until when the upstream may keep us waiting
        self._sent_at = 0.0
        self._no_body = no_body
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._repeated = 0  # headers that were joined to one of the same name
        self._fed = 0  # bytes received in this exchange before the end of the head
        self._began = False  # inside a head, interim or final
        self._until_eof = False  # the body ends with the connection
        self._keep_alive = False
        self._chunks: list[bytes] = []
        self._size = 0  # of the chunks, in bytes
        self._framing = 0  # bytes received since the last of the body

    # What the pool and its reply call.

    @property
    def idle(self) -> bool:
        """Open and without an exchange."""
        return self._phase == _IDLE

    @property
    def reusable(self) -> bool:
        """The exchange is over on both sides, and nothing stands against another one."""
        transport = self._transport
        return (
            self._phase == _DONE
            and self._keep_alive
            and not self.retired
            and not self._read_paused
            and transport is not None
            and transport.get_write_buffer_size() == 0
        )

    @property
    def status(self) -> int:
        """Of the reply, once its head is there."""
        return self._status

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Of the reply, once its head is there: names in lower case, repeated ones joined by a comma."""
        return self._headers

    async def send(
        self, head: bytes, body: bytes, *, no_body: bool, first_byte_s: float, idle_s: float, total_until: float
    ) -> bool:
        """
        Write a request and wait for the head of its reply.

        When a reply comes before a large body is written, the rest of that body is not sent.

        Args:
            no_body: the reply has none whatever its headers say, as it answers HEAD.
            first_byte_s: how long the upstream may take to answer, or to take the next piece of a large body.
            idle_s: how long it may be silent inside its reply.
            total_until: when all must be over, on the clock.
        Returns:
            False when the connection was closed at once and without a byte of a reply, as happens with a kept one that
            the upstream had given up meanwhile. `error` then gives the error for when this may not be helped.
        Raises:
            UpstreamFailed, UpstreamTimeout: and the connection is closed.
        """
        transport = self._transport
        if self._phase != _IDLE or transport is None:
            self._stale = True
            return False
        self._begin(first_byte_s, idle_s, total_until, no_body=no_body)
        self._phase = _HEAD
        self._wrote()
        if len(body) <= BUFFER_BYTES:
            transport.write(head + body)
        else:
            await self._write_pieces(transport, head, body)
        while self._phase == _HEAD:
            await self._change()
        if self._status:  # whatever came after the head, a failure too, is the reader's to find
            return True
        if self._stale:
            return False
        raise self.error()

    async def _write_pieces(self, transport: asyncio.Transport, head: bytes, body: bytes) -> None:
        transport.write(head)
        view = memoryview(body)
        for start in range(0, len(body), BUFFER_BYTES):
            while self._write_paused and self._phase == _HEAD:
                await self._change()
            if self._phase != _HEAD:
                self._keep_alive = False  # the upstream still expects the rest
                return
            transport.write(view[start : start + BUFFER_BYTES])
            self._wrote()

    def _wrote(self) -> None:
        self._sent_at = now = self._clock()
        if not self._began:
            self._quiet_until = now + self._first_byte_s

    def take(self) -> bytes | None:
        """
        Take what has come of the body.

        Returns:
            bytes; b"" at the end of the body; None when there is nothing yet, then await `more()`.
        Raises:
            UpstreamFailed, UpstreamTimeout: after everything that came before the failure was taken.
        """
        chunks = self._chunks
        if chunks:
            data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            chunks.clear()
            self._size = 0
            if self._read_paused and self._transport is not None:
                self._read_paused = False
                self._transport.resume_reading()
            return data
        if self._phase == _BODY:
            return None
        if self._phase == _DONE:
            return b""
        raise self.error()

    def more(self) -> asyncio.Future[None]:
        """To await when `take` gave None; from now on the upstream's silence is measured. One task waits at a time."""
        if self._quiet_until == NEVER:  # else a wait was broken off, and the silence goes on
            self._quiet_until = self._clock() + self._idle_s
        return self._change()

    def rest(self) -> None:
        """After a reusable exchange: be idle, hold nothing of it."""
        self._phase = _IDLE
        self._headers = {}
        self._chunks = []
        self._quiet_until = self._total_until = NEVER

    def close(self) -> None:
        """Close an idle connection politely; with TLS that says goodbye."""
        self._phase = _DEAD
        if self._transport is not None:
            self._transport.close()

    def cut(self) -> None:
        """Close at once, whatever is going on. Whoever waits gets UpstreamFailed."""
        self._fail(UpstreamFailed, f"The connection to the {self.name} was closed on our side.")

    def expire(self, now: float) -> None:
        """Cut the exchange when one of its deadlines has passed."""
        if now < self._quiet_until and now < self._total_until:
            return
        if self._phase not in (_HEAD, _BODY):
            return
        if now >= self._total_until:
            sentence = f"The {self.name} did not finish its answer in time."
        elif self._phase == _HEAD and not self._began:
            sentence = f"The {self.name} did not begin to answer within {self._first_byte_s:g} s."
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
        if self._phase == _DEAD:  # given up while connecting
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        parser = self._parser
        if phase not in (_HEAD, _BODY) or parser is None:
            self._unasked()
            return
        size = self._size
        try:
            if phase == _HEAD:
                self._fed += len(data)
                if self._fed > HEAD_BYTES:
                    self._feed_last_of_head(parser, data)
                else:
                    parser.feed_data(data)
            else:
                parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._phase != _DONE:
                reason = "switches protocols" if isinstance(error, httptools.HttpParserUpgrade) else str(error)
                self._malformed(reason, error)
                return
            self._keep_alive = False  # the reply is complete; what follows it is nobody's
        if self._phase == _HEAD:
            now = self._clock()
            self._quiet_until = now + self._idle_s if self._began else self._sent_at + self._first_byte_s
            return
        if self._phase == _BODY and phase == _BODY and self._size == size:
            self._only_framing(len(data))
            return
        self._framing = 0
        if (
            self._size >= BUFFER_BYTES
            and self._phase == _BODY
            and not self._read_paused
            and self._transport is not None
        ):
            self._read_paused = True
            self._transport.pause_reading()
        self._quiet_until = NEVER
        self._wake()

    def _feed_last_of_head(self, parser: httptools.HttpResponseParser, data: bytes) -> None:
        """The head must end within what is left of its bound."""
        room = HEAD_BYTES - (self._fed - len(data))
        parser.feed_data(data[:room])
        if self._phase == _HEAD:
            self._malformed(f"its head is over {HEAD_BYTES // 1024} KiB")
        elif self._phase != _DEAD:
            parser.feed_data(data[room:])

    def _only_framing(self, received: int) -> None:
        """Bytes came, but none of the body."""
        self._framing += received
        if self._framing > HEAD_BYTES:
            self._malformed(f"more than {HEAD_BYTES // 1024} KiB of framing without a body")
        elif self._quiet_until != NEVER:
            self._quiet_until = self._clock() + self._idle_s

    def eof_received(self) -> None:
        self._ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(exc)
        # The parser holds our methods and we hold the parser: without this the connection would wait for the collector.
        self._parser = None
        self._transport = None
        self._lost(self)

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._wake()

    # What the parser calls. Nothing here raises: the parser would keep the exception and its frames.

    def on_message_begin(self) -> None:
        self._began = True
        if self._phase != _HEAD:
            self._keep_alive = False  # a reply to nothing follows the one we asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._phase != _HEAD:
            return  # a trailer; `_only_framing` bounds how much of them there may be
        headers = self._headers
        name = name.lower()
        if name in headers:
            self._repeated += 1
            value = headers[name] + b", " + value
        headers[name] = value.rstrip()

    def on_headers_complete(self) -> None:
        parser = self._parser
        if self._phase != _HEAD or parser is None:
            return
        status = parser.get_status_code()
        headers = self._headers
        if len(headers) + self._repeated > HEADER_COUNT:
            self._malformed(f"more than {HEADER_COUNT} headers")
        elif status < 200:
            self._headers = {}
            if status < 100:
                self._malformed(f"its status is {status}")
        else:
            coding = headers.get(b"transfer-encoding")
            if coding is not None and coding.lower() != b"chunked":
                self._malformed("its transfer coding is not chunked")
                return
            self._status = status
            self._until_eof = coding is None and b"content-length" not in headers and status not in (204, 304)
            self._keep_alive = parser.should_keep_alive() and not self._no_body
            self._phase = _DONE if self._no_body else _BODY

    def on_body(self, body: bytes) -> None:
        if self._phase == _BODY:
            self._chunks.append(body)
            self._size += len(body)
        elif self._phase == _HEAD:
            self._malformed("an interim reply has a body")

    def on_message_complete(self) -> None:
        if self._phase == _BODY:
            self._phase = _DONE
        elif self._phase == _HEAD:
            self._began = False  # of an interim reply; the real one is still to come

    # How an exchange ends.

    def _ended(self, cause: Exception | None) -> None:
        """No more bytes will come; called by end of file and by the loss of the connection, so often twice."""
        self._keep_alive = False
        if self._phase == _IDLE:
            self._phase = _DEAD
        elif self._phase == _HEAD:
            self._stale = self._fed == 0 and self._clock() - self._sent_at <= RESEND_WITHIN_S
            self._fail(UpstreamFailed, f"The {self.name} closed the connection without an answer.", cause)
        elif self._phase == _BODY:
            if self._until_eof and cause is None:
                self._phase = _DONE
                self._wake()
            else:
                self._fail(UpstreamFailed, f"The {self.name} closed the connection in the middle of its answer.", cause)

    def _unasked(self) -> None:
        """Bytes came that no request asked for."""
        self._keep_alive = False
        if self._phase == _IDLE:
            self._fail(UpstreamFailed, f"The {self.name} sent an answer to no request.")

    def _malformed(self, reason: str, cause: BaseException | None = None) -> None:
        self._fail(UpstreamFailed, f"The {self.name} sent a malformed answer: {reason}.", cause)

    def _fail(self, kind: type[UpstreamError], sentence: str, cause: BaseException | None = None) -> None:
        if self._phase != _DEAD:
            self._phase = _DEAD
            self._failure = (kind, sentence, None if cause is None else cause.with_traceback(None))
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    def _change(self) -> asyncio.Future[None]:
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
