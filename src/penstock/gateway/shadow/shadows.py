"""
Shadow traffic: copies of exchanges that go to another deployment once their clients have been answered.

What a client is answered passes through a `Recorder`, which keeps the beginning of it. When the exchange is settled as
answered, a task of its own sends the copy: an exchange of its own in the journal, of a tenant and a model of which
nobody has a key, a limit or a budget. Before it is settled it is compared, and the comparison is in its explanation.
No text is kept longer than that.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from functools import partial

import msgspec

from penstock.gateway.cache.key import stateful
from penstock.gateway.cache.recorder import Recorder
from penstock.gateway.dialects import events
from penstock.gateway.dialects.call import Call
from penstock.gateway.exchange import Exchange
from penstock.gateway.identity.caller import Caller
from penstock.gateway.keepalive import KeepAlive
from penstock.gateway.metering.account import Account, Books
from penstock.gateway.relay import read_whole, relay_stream
from penstock.gateway.routing.choose import drawn
from penstock.gateway.shadow.comparison import Figures, compare
from penstock.gateway.shadow.counts import Counts, Pair, Skipped
from penstock.gateway.shadow.ear import Ear
from penstock.gateway.shadow.transcript import Transcript
from penstock.gateway.upstream.attempt import Dispatcher
from penstock.gateway.view import Plan, Shadow
from penstock.http.pool import Reply
from penstock.http.responder import Responder
from penstock.journal.records import Outcome
from penstock.pricing.price import cost_nano
from penstock.types.dialect import Dialect
from penstock.types.errors import PenstockError
from penstock.types.priority import Priority

_log = logging.getLogger(__name__)
_OK = 200
_MOST = 32  # copies under way in one worker
_MOST_HELD = 32 * 1024 * 1024  # bytes of their requests
_MOST_KEPT = 256 * 1024  # bytes of an original's answer, and characters of a copy's
_AT_ONCE = 16 * 1024  # bytes of an answer that are read before others have their turn
_CLEAN_UP_S = 5.0  # what copies get to settle when they are cut

SHADOW = Caller("shadow", "(shadow)", explained=("identity", "shadow traffic, on nobody's account"), user="shadow")
"""Who pays for copies. No tenant can have this name, and no key this id."""


class _Account(Account):
    """
    The account of a copy.

    Attributes:
        compare: says how it compares, just before it is settled with an outcome.
    """

    compare: Callable[[Outcome], str] | None = None

    def settle(self, outcome: Outcome, status: int, error: str = "") -> None:
        """Compare, and settle as every account."""
        compare, self.compare = self.compare, None
        if compare is not None:
            self.explain("comparison", compare(outcome))
        super().settle(outcome, status, error)


class Shadows:
    """
    The copies of one worker.

    Args:
        clock: seconds, monotonic.
        draw: a number in [0, 1), uniformly random; replaced by tests.
    """

    def __init__(
        self,
        books: Books,
        dispatcher: Dispatcher,
        clock: Callable[[], float],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._books = books
        self._dispatcher = dispatcher
        self._clock = clock
        self._draw = draw
        self._counts = Counts(books.metrics.registry)
        self._tasks: set[asyncio.Task[None]] = set()
        self._held = 0
        self._closed = False

    def watch(self, exchange: Exchange, shadow: Shadow | None, new_id: Callable[[], str]) -> None:
        """
        Copy an exchange once it is answered, if it is drawn. Called for every one that goes to an upstream.

        Args:
            shadow: of its model, None for none.
            new_id: makes the id of a copy.
        """
        if shadow is None or not drawn(shadow.share, self._draw()):
            return
        if exchange.call.dialect is Dialect.COUNT:  # nothing is generated, and nothing costs anything
            return
        (deployment,) = shadow.plan.names
        field = stateful(exchange.call)
        if field:
            self._counts.skipped((exchange.model.name, deployment), Skipped.STATE)
            exchange.account.explain("shadow", f"not copied: it has {field}")
            return
        copy_id = new_id()
        exchange.account.explain("shadow", f"once answered, copied to {deployment} as {copy_id}, if there is room")
        answered = partial(self._answered, exchange, shadow.plan, copy_id)
        exchange.responder = Recorder(exchange.responder, exchange.account, _MOST_KEPT, answered, part=True)

    async def aclose(self) -> None:
        """Cut the copies that are under way, and settle them; no more are sent."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_CLEAN_UP_S)

    def _answered(self, exchange: Exchange, plan: Plan, copy_id: str, answer: bytes | None) -> None:
        """Send the copy of an exchange that has just been settled. Only begins a task: a client waits for the rest."""
        pair, size = (exchange.model.name, plan.names[0]), len(exchange.call.document.body)
        reason = self._reason(exchange, pair[1], size)
        if reason is not None:
            self._counts.skipped(pair, reason)
            return
        account = exchange.account
        first = None if account.first_content is None else account.first_content - account.received
        cost = account.cost_nano if account.cost_known else None
        figures = Figures(account.usage, self._clock() - account.received, first, cost)
        copied = Transcript(exchange.call.dialect, _MOST_KEPT)
        copy = self._copy(exchange, plan, copy_id, copied)
        sending = self._send(copy, plan, pair, figures, answer or b"", copied)
        task = asyncio.create_task(sending, name=f"copy {copy_id}")
        self._tasks.add(task)
        self._held += size
        self._counts.in_flight = len(self._tasks)
        task.add_done_callback(partial(self._ended, size))

    def _reason(self, exchange: Exchange, deployment: str, size: int) -> Skipped | None:
        """Return why an exchange is not to be copied, if it is not."""
        if self._closed:
            return Skipped.DRAINING
        if exchange.account.deployment == deployment:
            return Skipped.SAME
        return Skipped.BUSY if len(self._tasks) >= _MOST or self._held + size > _MOST_HELD else None

    def _ended(self, size: int, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._held -= size
        self._counts.in_flight = len(self._tasks)

    def _copy(self, exchange: Exchange, plan: Plan, copy_id: str, said: Transcript) -> Exchange:
        """
        Return the copy of an exchange. It holds nothing of the client's connection.

        Args:
            said: takes the text that it is answered.
        """
        original = exchange.account
        name = f"{exchange.model.name} (shadow)"  # no model can have it, so that no budget counts it
        call = msgspec.structs.replace(exchange.call, model=name)
        told = ("shadow", f"a copy of {original.id}, which {original.deployment} answered")
        explanation = [SHADOW.explained, told, plan.explained]
        return Exchange(
            exchange.spoken,
            b"x-request-id: %b\r\n" % copy_id.encode(),
            b"",
            exchange.view,
            call,
            exchange.model,
            _Account(self._books, copy_id, SHADOW, call, 0.0, explanation, original.trace_id, name),
            Responder(Ear(said), bodiless=False, chunks=False),
            exchange.trace,
            0.0,
            capped=exchange.capped,
            features=exchange.features,
            priority=Priority.LOW,
            claim=exchange.claim,
        )

    async def _send(
        self, exchange: Exchange, plan: Plan, pair: Pair, figures: Figures, answer: bytes, copied: Transcript
    ) -> None:
        """Ask for the answer to a copy, and compare it with the original's."""
        said = await _read(exchange.call, answer)
        account, now = exchange.account, self._clock()
        account.received, exchange.deadline = now, now + exchange.model.total_s
        assert isinstance(account, _Account), "copies have one of their own"
        account.compare = partial(self._compare, account, pair, figures, said, copied)
        try:
            with account:
                account.estimate(plan.prices)
                if exchange.call.stream:
                    with KeepAlive(exchange, self._clock) as keep_alive:
                        stream = partial(relay_stream, keep_alive=keep_alive, clock=self._clock)
                        await self._dispatcher.run(exchange, plan, stream)
                else:
                    await self._dispatcher.run(exchange, plan, partial(_take_whole, copied))
        except PenstockError:
            return  # which is what it was settled with, and counted
        except Exception:  # noqa: BLE001  # nobody waits for this task, so the log has to say it
            _log.exception("a copy failed", extra={"fields": {"request_id": account.id}})

    def _compare(
        self,
        account: Account,
        pair: Pair,
        figures: Figures,
        said: Transcript,
        copied: Transcript,
        outcome: Outcome,
    ) -> str:
        """Count a copy that has come to its end, and say how it compares."""
        self._counts.ended(pair, outcome)
        if outcome is not Outcome.ANSWERED:
            return f"none, as the copy is {outcome.value}"
        used = account.usage
        cost = None if account.price is None else cost_nano(account.price, used)
        first = None if account.first_content is None else account.first_content - account.received
        comparison = compare(figures, Figures(used, self._clock() - account.received, first, cost), said, copied)
        self._counts.compared(pair, comparison)
        return comparison.words


async def _read(call: Call, answer: bytes) -> Transcript:
    """Read the answer that a client got, a little at a time: clients are served meanwhile."""
    said = Transcript(call.dialect, _MOST_KEPT)
    if not call.stream:
        said.read(answer)
    else:
        read = 0
        for event in events.split(answer):
            said.hear(event)
            read += len(event)
            if read >= _AT_ONCE:
                read = 0
                await asyncio.sleep(0)
    said.whole = said.whole and len(answer) < _MOST_KEPT  # at which it was cut
    return said


async def _take_whole(copied: Transcript, exchange: Exchange, reply: Reply) -> None:
    """
    Read a plain reply, and settle.

    Raises:
        UpstreamError: as `read_whole`.
        JournalError: the copy could not be settled.
    """
    body = await read_whole(exchange, reply)
    if len(body) < _MOST_KEPT:
        copied.read(body)
    else:
        copied.whole = False
    exchange.account.settle(Outcome.ANSWERED, _OK)
