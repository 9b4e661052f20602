"""Which exchanges are copied, and what is held for copies, in process: their deployment is one that nobody has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from penstock.counters.seats.house import House
from penstock.counters.seats.usher import local
from penstock.gateway.dialects import openai
from penstock.gateway.dialects.spoken import BY_PATH
from penstock.gateway.exchange import Exchange
from penstock.gateway.identity.caller import Caller
from penstock.gateway.metering.account import Account, Books
from penstock.gateway.metering.attempts import Attempts
from penstock.gateway.metering.metrics import Metrics
from penstock.gateway.metering.queues import Queues
from penstock.gateway.shadow.shadows import Shadows
from penstock.gateway.upstream.attempt import Dispatcher
from penstock.gateway.upstream.seating import Seating
from penstock.gateway.view import EMPTY, Plan, Shadow
from penstock.http.responder import Responder
from penstock.journal.records import Opened, Outcome, Settled
from penstock.journal.segment import Writer
from penstock.types.dialect import Dialect
from tests.gateway.cache.test_exact import Journal, Wire
from tests.gateway.cache.test_store import until
from tests.processes import model

ALL = Shadow(1.0, Plan(("other",), (1.0,), (), ("route", "the shadow of chat: other")))
BODY = b'{"model":"chat","messages":[{"role":"user","content":"hi"}]}'


class World:
    """The shadows of a worker, and the exchanges that are to be copied."""

    def __init__(self, draws: Iterator[float]) -> None:
        self.journal, self.metrics = Journal(), Metrics()
        self.books = Books(cast("Writer", self.journal), self.metrics, time.monotonic)
        usher = local(House(time.monotonic), time.monotonic)
        seating = Seating(usher, Queues(CollectorRegistry(), usher.waiting), time.monotonic)
        dispatcher = Dispatcher(seating, Attempts(CollectorRegistry()), time.monotonic, lambda: 0.5)
        self.shadows = Shadows(self.books, dispatcher, time.monotonic, lambda: next(draws))
        self.number = 0

    def new_id(self) -> str:
        self.number += 1
        return f"copy-{self.number}"

    async def ask(self, shadow: Shadow | None, outcome: Outcome = Outcome.ANSWERED, size: int = 0) -> Exchange:
        """Let an exchange go through, with a body of some size."""
        call = openai.parse(Dialect.CHAT, BODY)
        document = msgspec.structs.replace(call.document, body=call.document.body + b" " * size)
        call = msgspec.structs.replace(call, document=document)
        with Account(self.books, "original", Caller("k", "acme"), call, time.monotonic(), []) as account:
            responder = Responder(Wire(), bodiless=False, chunks=True)
            spoken = BY_PATH["/v1/chat/completions"]
            exchange = Exchange(spoken, b"", b"", EMPTY, call, model("chat", "lab"), account, responder, b"", 1e12)
            self.shadows.watch(exchange, shadow, self.new_id)
            account.deployment = "lab"
            account.settle(outcome, 200)
            await exchange.responder.send(200, b"", b"{}")
        return exchange

    def value(self, name: str, **labels: str) -> float:
        pair = {"gen_ai_request_model": "chat", "penstock_deployment": "other"}
        registry = self.metrics.registry
        return registry.get_sample_value(f"penstock_shadow_{name}_total", {**pair, **labels}) or 0

    @property
    def in_flight(self) -> float:
        return self.metrics.registry.get_sample_value("penstock_shadow_in_flight") or 0

    async def quiet(self) -> None:
        """Wait until every copy has come to its end."""
        await until(lambda: not self.in_flight)


def run(case: Callable[[World], Awaitable[Any]], draws: tuple[float, ...] = (0.0,) * 100) -> World:
    world = World(iter(draws))
    asyncio.run(cast("Any", case(world)))
    return world


def test_a_draw_decides() -> None:
    half = msgspec.structs.replace(ALL, share=0.5)

    async def case(world: World) -> None:
        for _ in range(4):
            await world.ask(half)
        await world.ask(None)
        await world.quiet()

    world = run(case, (0.49, 0.5, 0.0, 0.99))
    assert world.value("copies", outcome="refused") == 2, "as there is no such deployment"
    assert world.number == 2


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.ANSWERED])
def test_what_was_not_answered_is_not_copied(outcome: Outcome) -> None:
    async def case(world: World) -> None:
        await world.ask(ALL, outcome)
        assert world.in_flight == 0

    assert [record.id for record in run(case).journal.records] == ["original"]


def test_a_copy_comes_after_its_original_and_is_settled_once() -> None:
    async def case(world: World) -> None:
        exchange = await world.ask(ALL)
        assert exchange.responder.ended
        assert len(world.journal.records) == 1, "the client has its answer, and the copy has not begun"
        await world.quiet()

    original, copy = run(case).journal.records
    assert (original.id, copy.id, copy.outcome, copy.tenant) == ("original", "copy-1", "refused", "(shadow)")
    assert ("shadow", "a copy of original, which lab answered") in copy.explanation
    assert ("comparison", "none, as the copy is refused") in copy.explanation


def test_copies_have_a_bound_in_number_and_in_bytes() -> None:
    async def case(world: World) -> None:
        for _ in range(40):
            await world.ask(ALL)
        assert (world.in_flight, world.value("skipped", reason="busy")) == (32, 8)
        await world.quiet()
        for _ in range(3):
            await world.ask(ALL, size=12 * 1024 * 1024)
        assert (world.in_flight, world.value("skipped", reason="busy")) == (2, 9)
        await world.quiet()
        await world.ask(ALL, size=12 * 1024 * 1024)
        assert world.in_flight == 1, "what was held is given back"
        await world.quiet()

    run(case)


def test_none_is_sent_by_a_worker_that_drains() -> None:
    async def case(world: World) -> None:
        await world.ask(ALL)
        await world.shadows.aclose()
        await world.quiet()
        await world.ask(ALL)
        assert (world.in_flight, world.value("skipped", reason="draining")) == (0, 1)

    records = run(case).journal.records
    assert not [record for record in records if isinstance(record, Opened)]
    assert [record.id for record in records if isinstance(record, Settled)] == ["original", "original"]
