"""
Carrying a reply from the upstream to the client.

A whole reply is read, accounted and sent in one piece. A stream is relayed event by event as bytes: the status line and
content-free first events are held until content arrives, so that until then a failure can still become the success of
another deployment; afterwards failures are told in-band.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from penstock.gateway.dialects import errors, events
from penstock.gateway.dialects.call import Call
from penstock.gateway.exchange import Exchange
from penstock.gateway.keepalive import KeepAlive
from penstock.gateway.metering import usage
from penstock.http.pool import Reply
from penstock.journal.records import Outcome
from penstock.pricing.price import NANO_PER_USD
from penstock.types.errors import UpstreamError, UpstreamFailed, UpstreamTimeout, UpstreamUnusable
from penstock.types.usage import Usage, UsageSource

_OK = 200
_MAX_REPLY = 64 * 1024 * 1024
_MAX_HELD = 1024 * 1024  # bytes of content-free events held before the status line
_END_S = 0.1  # how long the last bytes of a stream's framing are waited for, so that its connection can be kept


class _Whole(usage.Reporting):
    """What a reply must have to be one; usage that is not as it should be is no reason to call it broken."""

    choices: list[msgspec.Raw] | None = None
    data: list[msgspec.Raw] | None = None


class _Message(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw()
    tool_calls: msgspec.Raw = msgspec.Raw()


class _Answer(msgspec.Struct):
    message: _Message | None = None
    text: msgspec.Raw = msgspec.Raw()

    @property
    def size(self) -> int:
        """Bytes of what was generated, as JSON."""
        spoken = len(self.message.content) + len(self.message.tool_calls) if self.message else 0
        return spoken + len(self.text)


class _Unreported(msgspec.Struct):
    choices: list[_Answer] | None = None
    data: list[msgspec.Raw] | None = None


_decode_whole = msgspec.json.Decoder(_Whole).decode
_decode_unreported = msgspec.json.Decoder(_Unreported).decode


async def relay_whole(exchange: Exchange, reply: Reply) -> None:
    """
    Read a reply, settle the exchange, send the answer.

    Raises:
        UpstreamFailed: the reply is broken.
        UpstreamUnusable: it is too large, not JSON, or an error in spite of its status.
        UpstreamTimeout: it did not come to its end in time.
        JournalError: the exchange could not be settled; nothing was sent.
    """
    account, call = exchange.account, exchange.call
    body = await reply.read(_MAX_REPLY)
    found = _usage_of(body, call)
    account.usage = usage.of_all(found, call.choices) if exchange.counts_first_choice else found
    account.settle(Outcome.ANSWERED, _OK)
    cost = b"%d.%09d" % divmod(account.cost_nano, NANO_PER_USD) if account.cost_known else b"unknown"
    headers = b"%bcontent-type: application/json\r\nx-penstock-cost-usd: %b\r\n" % (exchange.headers(), cost)
    await exchange.responder.send(_OK, headers, body)


def _usage_of(body: bytes, call: Call) -> Usage:
    """Return the usage that a whole reply reports, or an estimate from its size; raise when it is no reply."""
    try:
        try:
            whole: _Whole | _Unreported = _decode_whole(body)
        except msgspec.ValidationError:  # of the usage, perhaps
            whole = _decode_unreported(body)
        if whole.choices is None and whole.data is None:
            raise UpstreamUnusable("the upstream's reply is an error in spite of its status 200")
        if isinstance(whole, _Whole) and (found := usage.believed(whole)) is not None:
            return found
        generated = sum(answer.size for answer in _decode_unreported(body).choices or ())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamUnusable("the upstream's reply is not a JSON object") from error
    return usage.estimated(call.prompt_bytes, generated)


async def relay_stream(exchange: Exchange, reply: Reply, keep_alive: KeepAlive, clock: Callable[[], float]) -> None:
    """
    Relay a stream to its end; failures after the first content are told in-band and settled here.

    Raises:
        UpstreamError: the stream failed before any content.
    """
    stream = _Stream(exchange, reply, keep_alive, clock)
    try:
        await stream.hold()
        await stream.pass_on()
    except UpstreamError as error:
        if not stream.content:
            raise
        await stream.fail(error)
    finally:
        stream.count()  # also when the client left: what was delivered is billed


class _Stream:
    """
    One stream on its way. Belongs to the task of its exchange.

    Attributes:
        content: whether any content has been seen, or an end that says there is none.
    """

    __slots__ = (
        "_clock",
        "_delivered",
        "_exchange",
        "_failed",
        "_finished",
        "_keep_alive",
        "_last",
        "_malformed",
        "_reply",
        "_splitter",
        "_usage_wanted",
        "content",
    )

    def __init__(self, exchange: Exchange, reply: Reply, keep_alive: KeepAlive, clock: Callable[[], float]) -> None:
        self.content = False
        self._exchange = exchange
        self._reply = reply
        self._keep_alive = keep_alive
        self._clock = clock
        self._splitter = events.Splitter()
        self._usage_wanted = exchange.call.usage_wanted
        self._delivered = 0  # events with content that were given to the client's connection
        self._finished = 0  # choices that have had a finish reason
        self._last = b""  # `[DONE]`, and what came with it; sent once all is settled
        self._failed = False  # the upstream has told a failure of its own in-band
        self._malformed = False  # an event came that no client could read

    async def hold(self) -> None:
        """Wait for content, holding what comes before it; then send the status line and what was held."""
        exchange, held = self._exchange, b""
        while True:
            data = await self._chunk_until(exchange.first_token_deadline)
            held += self._examine(self._splitter.feed(data) if data else events.completed(self._splitter.rest()))
            if self.content:
                exchange.account.first_content = self._clock()
                self._keep_alive.commit()
                if held:
                    await exchange.responder.write(held)
                return
            if self._failed:
                raise UpstreamFailed("the upstream's stream began with an error")
            self._check_form()
            if not data:
                raise UpstreamFailed("the upstream's stream ended before any content")
            if len(held) > _MAX_HELD:
                raise UpstreamUnusable("the upstream sent a megabyte of events without content")

    async def pass_on(self) -> None:
        """Relay the rest: ordinary events as they arrive, and what `_pass` leaves in turns of this task."""
        responder = self._exchange.responder
        while not (self._last or self._failed or self._malformed):
            data = await self._reply.chunk(self._pass)
            if not data:
                await self._upstream_ended()
                break
            out = self._examine(self._splitter.feed(data))
            if out:
                await responder.write(out)
                self._keep_alive.spoke = self._clock()
        self._check_form()
        await self._end()

    def _pass(self, data: bytes) -> bool:
        """
        Relay what has just arrived, if it is one ordinary event or several. This happens for nearly every event.

        Returns:
            False, and nothing has happened, when there is more to it, or the client is slow.
        """
        responder = self._exchange.responder
        if responder.slow or not self._splitter.passes(data):
            return False
        out, count = events.ordinary(data, self._usage_wanted), 1
        if not out:
            outs = [events.ordinary(event, self._usage_wanted) for event in events.split(data)]
            if not all(outs):
                return False
            out, count = b"".join(outs), len(outs)
        self._delivered += count
        responder.put(out)
        self._keep_alive.spoke = self._clock()
        return True

    async def fail(self, error: UpstreamError) -> None:
        """Tell a failure in-band: an error event, no `[DONE]`, and the end of the answer."""
        exchange = self._exchange
        self.count()
        exchange.account.explain("upstream", f"broke off after {self._delivered} events with content: {error}")
        exchange.account.settle(Outcome.FAILED, _OK, str(error))
        exchange.responder.put(errors.event(error))  # nothing waits between the last word and the end
        await exchange.responder.end()

    def count(self) -> None:
        """Fill in the usage from what was delivered, where the upstream has not told it."""
        account = self._exchange.account
        if not self.content:
            account.usage = Usage()  # nothing was delivered, whatever the upstream may have counted
        elif account.usage.source is UsageSource.NONE:
            account.usage = usage.counted(self._exchange.call.prompt_bytes, self._delivered)

    async def _chunk_until(self, deadline: float) -> bytes:
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock())):
                return await self._reply.chunk()
        except TimeoutError:
            raise UpstreamTimeout("the upstream sent no content within the time allowed for a first token") from None

    def _examine(self, whole: bytes) -> bytes:
        """
        Note what whole events say: content, usage, finish reasons, errors, the end.

        Returns:
            What of them goes to the client now: not the usage nobody asked for, not the end, nothing behind a fault.
        """
        out = []
        for event in events.split(whole):
            if self._last:
                self._last += event
                continue
            kept = events.ordinary(event, self._usage_wanted) if self.content else b""
            if kept:
                self._delivered += 1
            elif events.is_done(event):
                self._last = event
                self.content = True
            elif events.malformed(event):
                self._malformed = True
                break
            else:
                kept = self._note(event)
            out.append(kept)
            if self._failed:
                break
        return b"".join(out)

    def _note(self, event: bytes) -> bytes:
        """Note what a single event says, and return what of it is for the client."""
        chunk = events.chunk_of(event)
        if chunk is None:
            return event
        exchange = self._exchange
        found = usage.reported(events.data_of(event)) if b'"prompt_tokens"' in event else None
        if found is not None:
            exchange.account.usage = (
                usage.of_all(found, exchange.call.choices) if exchange.counts_first_choice else found
            )
        self._delivered += chunk.speaks
        self._finished += chunk.finished
        self._failed = chunk.failed
        self.content = self.content or (chunk.content and not chunk.failed)
        return event if self._usage_wanted else events.without_usage(event)

    def _check_form(self) -> None:
        if self._malformed:
            raise UpstreamFailed("the upstream sent a malformed event")

    async def _upstream_ended(self) -> None:
        """Judge an end without `[DONE]`: fine when every choice had its finish reason, a cut otherwise."""
        rest = self._examine(events.completed(self._splitter.rest()))
        if rest:
            await self._exchange.responder.write(rest)
        if self._last or self._failed:
            return
        if self._finished < self._exchange.call.choices:
            raise UpstreamFailed("the upstream's stream was cut off")
        self._malformed = False  # half an event behind a whole answer, which was left out

    async def _end(self) -> None:
        """End the answer well, or without `[DONE]` when the upstream's own error event was its last word."""
        self.count()
        account, responder = self._exchange.account, self._exchange.responder
        if self._failed:
            account.explain("upstream", "told an error in its stream")
            account.settle(Outcome.FAILED, _OK, "the upstream told an error in its stream")
        else:
            account.settle(Outcome.ANSWERED, _OK)
            responder.put(self._last or events.DONE)  # nothing waits between the last word and the end
        await responder.end()
        with contextlib.suppress(UpstreamError):  # everything is settled; this is only for the connection
            while await self._chunk_until(self._clock() + _END_S):
                continue
