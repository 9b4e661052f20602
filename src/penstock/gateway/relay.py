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

from penstock.gateway.dialects import errors, events, usage
from penstock.gateway.exchange import Exchange
from penstock.gateway.keepalive import KeepAlive
from penstock.http.pool import Reply
from penstock.journal.records import Outcome
from penstock.pricing.price import NANO_PER_USD
from penstock.types.errors import UpstreamError, UpstreamFailed, UpstreamRejected, UpstreamTimeout, UpstreamUnusable
from penstock.types.usage import Usage, UsageSource

_OK = 200
_MAX_REPLY = 64 * 1024 * 1024
_MAX_HELD = 1024 * 1024  # bytes of content-free events held before the status line
_END_S = 0.1  # how long the last bytes of a stream's framing are waited for, so that its connection can be kept


async def read_whole(exchange: Exchange, reply: Reply) -> bytes:
    """
    Read a reply, and note its usage. Return it in the client's dialect.

    Raises:
        UpstreamFailed: the reply is broken.
        UpstreamUnusable: it is too large, not JSON, or an error in spite of its status.
        UpstreamTimeout: it did not come to its end in time.
    """
    call = exchange.call
    body = await reply.read(_MAX_REPLY)
    translation = exchange.translation
    if translation is not None:
        body = translation.reply(body)
    found = exchange.spoken.answers.usage_of(body, call)
    if translation is not None:
        found = translation.usage or found
    exchange.account.usage = usage.of_all(found, call.choices) if exchange.counts_first_choice else found
    if exchange.answering is not None:
        exchange.answering()
    return body if exchange.stamp is None else exchange.stamp.reply(body)


async def relay_whole(exchange: Exchange, reply: Reply) -> None:
    """
    Read a reply, settle the exchange, send the answer.

    Raises:
        UpstreamError: as `read_whole`.
        JournalError: the exchange could not be settled; nothing was sent.
    """
    account = exchange.account
    body = await read_whole(exchange, reply)
    account.settle(Outcome.ANSWERED, _OK)
    cost = b"%d.%09d" % divmod(account.cost_nano, NANO_PER_USD) if account.cost_known else b"unknown"
    headers = b"%bcontent-type: application/json\r\nx-penstock-cost-usd: %b\r\n" % (exchange.headers(), cost)
    await exchange.responder.send(_OK, headers, body)


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
        "_answers",
        "_clock",
        "_delivered",
        "_exchange",
        "_failed",
        "_fault",
        "_finished",
        "_keep_alive",
        "_last",
        "_reply",
        "_splitter",
        "_stamp",
        "_told",
        "_translation",
        "_usage_wanted",
        "content",
    )

    def __init__(self, exchange: Exchange, reply: Reply, keep_alive: KeepAlive, clock: Callable[[], float]) -> None:
        self.content = False
        self._exchange = exchange
        self._answers = exchange.spoken.answers
        self._translation = exchange.translation
        self._stamp = exchange.stamp
        self._reply = reply
        self._keep_alive = keep_alive
        self._clock = clock
        self._splitter = events.Splitter()
        self._usage_wanted = exchange.call.usage_wanted
        self._delivered = 0  # events with content that were given to the client's connection
        self._finished = 0  # choices that have had a finish reason
        self._last = b""  # the event that ends the stream well, and what came with it; sent once all is settled
        self._failed = False  # the upstream has told a failure of its own in-band
        self._told = b""  # that one, as JSON
        self._fault: UpstreamError | None = None  # found in an event that is not passed on

    async def hold(self) -> None:
        """Wait for content, holding what comes before it; then send the status line and what was held."""
        exchange, held = self._exchange, b""
        while True:
            data = await self._chunk_until(exchange.first_token_deadline)
            held += self._examine(self._events(data))
            if self.content:
                exchange.account.first_content = self._clock()
                if exchange.answering is not None:
                    exchange.answering()
                self._keep_alive.commit()
                if held:
                    await exchange.responder.write(held)
                return
            if self._failed:
                error = errors.in_band(self._told)
                if isinstance(error, UpstreamRejected):  # as those that a status told have been
                    exchange.account.explain("upstream", f"{error}{errors.kind_of(self._told)}")
                raise error
            self._check()
            if not data:
                raise UpstreamFailed("the upstream's stream ended before any content")
            if len(held) > _MAX_HELD:
                raise UpstreamUnusable("the upstream sent a megabyte of events without content")

    async def pass_on(self) -> None:
        """Relay the rest: ordinary events as they arrive, and what `_pass` leaves in turns of this task."""
        responder = self._exchange.responder
        while not (self._last or self._failed or self._fault):
            data = await self._reply.chunk(self._pass)
            if not data:
                await self._upstream_ended()
                break
            out = self._examine(self._events(data))
            if out:
                await responder.write(out)
                self._keep_alive.spoke = self._clock()
        self._check()
        await self._end()

    def _pass(self, data: bytes) -> bool:
        """
        Relay what has just arrived, if it is one ordinary event or several. This happens for nearly every event.

        Returns:
            False, and nothing has happened, when there is more to it, or the client is slow.
        """
        responder = self._exchange.responder
        if responder.slow or self._translation is not None or not self._splitter.passes(data):
            return False
        ordinary = self._answers.ordinary
        out, count = ordinary(data, self._usage_wanted), 1
        if not out:
            outs = [ordinary(event, self._usage_wanted) for event in events.split(data)]
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
        exchange.broken = error
        self.count()
        exchange.account.explain("upstream", f"broke off after {self._delivered} events with content: {error}")
        exchange.account.settle(Outcome.FAILED, _OK, str(error))
        exchange.responder.put(
            errors.event(error, exchange.call.dialect)
        )  # nothing waits between the last word and the end
        await exchange.responder.end()

    def count(self) -> None:
        """Fill in the usage from what was delivered, where the upstream has not told it."""
        account = self._exchange.account
        if not self.content:
            account.usage = Usage()  # nothing was delivered, whatever the upstream may have counted
        elif account.usage.source is UsageSource.NONE:
            account.usage = usage.counted(self._exchange.call.prompt_tokens, self._delivered)
        elif not self._ended and self._delivered > account.usage.output_tokens:
            # Told in parts, of which the last did not come.
            account.usage = usage.with_output(account.usage, self._exchange.call.prompt_tokens, self._delivered)

    @property
    def _ended(self) -> bool:
        """The answer is whole, with an event that says so or without."""
        return bool(self._last) or self._finished >= self._exchange.call.choices

    async def _chunk_until(self, deadline: float) -> bytes:
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock())):
                return await self._reply.chunk()
        except TimeoutError:
            raise UpstreamTimeout("the upstream sent no content within the time allowed for a first token") from None

    def _events(self, data: bytes) -> bytes:
        """
        Return the events that are whole with these bytes, or with nothing more to come, in the client's dialect.

        Where the translation finds a fault, what came before it is returned first.
        """
        whole = self._splitter.feed(data) if data else events.completed(self._splitter.rest())
        translation = self._translation
        if translation is None:
            return whole
        out: list[bytes] = []
        try:
            out.extend(translation.events(event) for event in events.split(whole))
            if not data:
                out.append(translation.end())
        except UpstreamError as error:
            self._fault = error
        if translation.usage is not None:
            self._exchange.account.usage = translation.usage
        return b"".join(out)

    def _examine(self, whole: bytes) -> bytes:
        """
        Note what whole events say: content, usage, finish reasons, errors, the end.

        Returns:
            What of them goes to the client now: not the usage nobody asked for, not the end, nothing behind a fault.
        """
        answers, out = self._answers, []
        for event in events.split(whole):
            if self._last:
                self._last += event
                continue
            kept = answers.ordinary(event, self._usage_wanted) if self.content else b""
            if kept:
                self._delivered += 1
            elif answers.is_end(event):
                self._last = event if self._stamp is None else self._stamp.event(event)
                self.content = True
                self._take_usage(event)
            elif answers.malformed(event):
                self._fault = UpstreamFailed("the upstream sent a malformed event")
                break
            else:
                kept = self._note(event)
            out.append(kept)
            if self._failed:
                break
        return b"".join(out)

    def _note(self, event: bytes) -> bytes:
        """Note what a single event says, and return what of it is for the client."""
        said = self._answers.note(event)
        if said is None:
            return event
        self._take_usage(event)
        self._delivered += said.speaks
        self._finished += said.finished
        if said.failed:
            self._failed, self._told = True, events.data_of(event)
        self.content = self.content or (said.content and not said.failed)
        if self._stamp is not None:
            event = self._stamp.event(event)
        return event if self._usage_wanted else self._answers.without_usage(event)

    def _take_usage(self, event: bytes) -> None:
        exchange = self._exchange
        account = exchange.account
        found = self._answers.usage_in(event, account.usage) if self._translation is None else None
        if found is not None:
            account.usage = usage.of_all(found, exchange.call.choices) if exchange.counts_first_choice else found

    def _check(self) -> None:
        if self._fault is not None:
            raise self._fault

    async def _upstream_ended(self) -> None:
        """Judge an end without `[DONE]` or its like: fine when every choice had its finish reason, a cut otherwise."""
        rest = self._examine(self._events(b""))
        if rest:
            await self._exchange.responder.write(rest)
        if self._last or self._failed:
            return
        if self._finished < self._exchange.call.choices:
            raise UpstreamFailed("the upstream's stream was cut off")
        self._fault = None  # half an event behind a whole answer, which was left out

    async def _end(self) -> None:
        """End the answer well, or without `[DONE]` when the upstream's own error event was its last word."""
        self.count()
        account, responder = self._exchange.account, self._exchange.responder
        if self._failed:
            self._exchange.broken = errors.in_band(self._told)
            account.explain("upstream", "told an error in its stream")
            account.settle(Outcome.FAILED, _OK, "the upstream told an error in its stream")
        else:
            account.settle(Outcome.ANSWERED, _OK)
            responder.put(self._last or self._answers.END)  # nothing waits between the last word and the end
        await responder.end()
        until = self._clock() + _END_S  # for all of it: whoever goes on behind the end is not listened to
        with contextlib.suppress(UpstreamError):  # everything is settled; this is only for the connection
            while self._clock() < until and await self._chunk_until(until):
                continue
