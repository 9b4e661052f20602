"""
Carrying a reply from the upstream to the client.

A whole reply is read, accounted and sent in one piece. A stream is relayed event by event as bytes: the status line and
content-free first events are held until content arrives, so that until then a failure can still become the success of
another deployment; after `commit_after` of silence they go out with keep-alive comments, and failures are told in-band.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from penstock.gateway.dialects import errors, events
from penstock.gateway.exchange import Exchange
from penstock.gateway.metering import usage
from penstock.http.pool import Reply
from penstock.journal.records import Outcome
from penstock.pricing.price import usd
from penstock.types.errors import UpstreamError, UpstreamFailed, UpstreamTimeout
from penstock.types.usage import UsageSource

_OK = 200
_MAX_REPLY = 64 * 1024 * 1024
_MAX_HELD = 1024 * 1024  # bytes of content-free events held before the status line
_STREAM_HEADERS = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
)


class _Whole(msgspec.Struct):
    choices: list[msgspec.Raw] | None = None
    data: list[msgspec.Raw] | None = None


_decode_whole = msgspec.json.Decoder(_Whole).decode


def answer_headers(exchange: Exchange) -> bytes:
    """Return the header lines that every answer of an exchange carries."""
    lines = b"x-request-id: " + exchange.id.encode() + b"\r\n"
    deployment = exchange.account.deployment
    return lines + b"x-penstock-deployment: " + deployment.encode() + b"\r\n" if deployment else lines


async def relay_whole(exchange: Exchange, reply: Reply) -> None:
    """
    Read a reply, settle the exchange, send the answer.

    Raises:
        UpstreamError: the reply is broken, too large, not JSON, or an error in spite of its status.
        JournalError: the exchange could not be settled; nothing was sent.
    """
    account = exchange.account
    body = await reply.read(_MAX_REPLY)
    _check_whole(body)
    account.usage = usage.reported(body) or usage.estimated(len(exchange.call.body), len(body))
    account.settle(Outcome.ANSWERED, _OK)
    headers = (
        answer_headers(exchange)
        + b"content-type: application/json\r\nx-penstock-cost-usd: "
        + usd(account.cost_nano).encode()
        + b"\r\n"
    )
    await exchange.responder.send(_OK, headers, body)


async def relay_stream(exchange: Exchange, reply: Reply, clock: Callable[[], float]) -> None:
    """
    Relay a stream to its end; failures after the first byte to the client are told in-band and settled here.

    Raises:
        UpstreamError: the stream failed before anything reached the client.
    """
    stream = _Stream(exchange, reply, clock)
    try:
        await stream.hold()
        await stream.pass_on()
    except UpstreamError as error:
        if not exchange.responder.started:
            raise
        await stream.fail(error)
    finally:
        stream.count()  # also when the client left: what was delivered is billed


def _check_whole(body: bytes) -> None:
    try:
        whole = _decode_whole(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamFailed("the upstream's reply is not a JSON object") from error
    if whole.choices is None and whole.data is None:
        raise UpstreamFailed("the upstream's reply is an error in spite of its status 200")


class _Stream:
    """One stream on its way. Belongs to the task of its exchange."""

    def __init__(self, exchange: Exchange, reply: Reply, clock: Callable[[], float]) -> None:
        self._exchange = exchange
        self._reply = reply
        self._clock = clock
        self._splitter = events.Splitter()
        self._strip_usage = not exchange.call.usage_wanted
        self._delivered = 0  # events with content that were given to the client's connection
        self._finished = False  # a finish reason has come
        self._done = False  # `[DONE]` has come
        self._failed = False  # the upstream has told a failure of its own in-band
        self._input_bytes = len(exchange.call.body)

    async def hold(self) -> None:
        """Wait for content, holding what comes before it; then send the status line and what was held."""
        exchange, held = self._exchange, b""
        commit_at = exchange.received + exchange.view.settings.commit_after_s
        next_comment = commit_at
        while True:
            if self._clock() >= exchange.first_token_deadline:
                raise UpstreamTimeout("the upstream sent no content within the time allowed for a first token")
            data = await self._chunk_until(min(next_comment, exchange.first_token_deadline))
            if data is None:
                if self._clock() >= next_comment:
                    await self._commit(held + events.KEEP_ALIVE)
                    held, next_comment = b"", self._clock() + exchange.view.settings.commit_after_s
                continue
            whole = self._splitter.feed(data) if data else self._rest()
            held += whole
            if self._look(whole) or self._done:
                exchange.account.first_content = self._clock()
                return await self._commit(held)
            if not data:
                raise UpstreamFailed("the upstream's stream ended before any content")
            if len(held) > _MAX_HELD:
                raise UpstreamFailed("the upstream sent a megabyte of events without content")

    async def pass_on(self) -> None:
        """Relay the rest."""
        reply, feed = self._reply, self._splitter.feed
        while not self._done:
            data = await reply.chunk()
            if not data:
                await self._upstream_ended()
                break
            whole = feed(data)
            if whole:
                self._delivered += whole.count(b'"choices"')  # once in every chunk of an answer
                self._scan(whole)
                await self._write(whole)
        await self._end()

    async def fail(self, error: UpstreamError) -> None:
        """Tell a failure in-band: an error event, no `[DONE]`, and the end of the answer."""
        exchange = self._exchange
        self.count()
        exchange.account.explain("upstream", f"broke off after {self._delivered} events with content: {error}")
        exchange.account.settle(Outcome.FAILED, _OK, str(error))
        await exchange.responder.write(errors.event(error))
        await exchange.responder.end()

    async def _chunk_until(self, deadline: float) -> bytes | None:
        """Return the next bytes, or None when the deadline passed first."""
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock())):
                return await self._reply.chunk()
        except TimeoutError:
            return None

    async def _commit(self, held: bytes) -> None:
        responder = self._exchange.responder
        if not responder.started:
            self._exchange.account.status = _OK
            responder.start(_OK, answer_headers(self._exchange) + _STREAM_HEADERS)
        await self._write(held)

    async def _write(self, whole: bytes) -> None:
        """
        Send whole events, without the usage nobody asked for and without the end, which is sent once all is settled.
        """
        if (self._strip_usage and b'"usage"' in whole) or b"[DONE]" in whole:
            whole = b"".join(event for event in events.split(whole) if not self._kept_back(event))
        if whole:
            await self._exchange.responder.write(whole)

    def _kept_back(self, event: bytes) -> bool:
        if events.is_done(event):
            return True
        if not self._strip_usage or b'"usage"' not in event:
            return False
        chunk = events.chunk_of(event)
        return chunk is not None and chunk.only_usage

    def _look(self, whole: bytes) -> bool:
        """Note what events held back say; tell whether there is content among them."""
        found = False
        for event in events.split(whole):
            chunk = events.chunk_of(event)
            if chunk is not None and chunk.failed and not found:
                raise UpstreamFailed("the upstream's stream began with an error")
            self._scan(event)
            if chunk is not None and chunk.content:
                found = True
                self._delivered += 1
        return found

    def _scan(self, whole: bytes) -> None:
        """Note usage, finish reason and end among whole events, by their bytes where that is enough."""
        if b'"usage"' in whole and b'"prompt_tokens"' in whole:
            for event in events.split(whole):
                found = usage.reported(events.data_of(event))
                if found is not None:
                    self._exchange.account.usage = found
        if not self._finished and b'"finish_reason"' in whole:
            self._finished = any(
                choice.finish_reason
                for event in events.split(whole)
                if (chunk := events.chunk_of(event)) is not None
                for choice in chunk.choices or ()
            )
        if b'"error"' in whole:
            chunks = [events.chunk_of(event) for event in events.split(whole)]
            self._failed = self._failed or any(chunk.failed for chunk in chunks if chunk is not None)
        if b"[DONE]" in whole and any(events.is_done(event) for event in events.split(whole)):
            self._done = True

    async def _upstream_ended(self) -> None:
        """Judge an end without `[DONE]`: fine after a finish reason, a cut otherwise."""
        rest = self._rest()
        self._scan(rest)
        if not (self._done or self._finished or self._failed):
            raise UpstreamFailed("the upstream's stream was cut off")
        await self._write(rest)

    def _rest(self) -> bytes:
        """Return a last event that came without its blank line, with one, or nothing."""
        rest = self._splitter.rest()
        return rest + b"\n\n" if rest else b""

    async def _end(self) -> None:
        """End the answer well, or without `[DONE]` when the upstream's own error event was its last word."""
        self.count()
        account, responder = self._exchange.account, self._exchange.responder
        if self._failed:
            account.explain("upstream", "told an error in its stream")
            account.settle(Outcome.FAILED, _OK, "the upstream told an error in its stream")
        else:
            account.settle(Outcome.ANSWERED, _OK)
            await responder.write(events.DONE)
        await responder.end()

    def count(self) -> None:
        """Fill in the usage from what was delivered, where the upstream has not told it."""
        account = self._exchange.account
        if account.usage.source is UsageSource.NONE and self._delivered:
            account.usage = usage.counted(self._input_bytes, self._delivered)
