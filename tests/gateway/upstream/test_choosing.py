"""Which target an exchange goes to, by zone and by room; in process, before addresses that nobody asks."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from penstock.auth.secrets import SecretRef
from penstock.counters.seats.house import House
from penstock.counters.seats.seat import Size
from penstock.counters.seats.usher import Usher
from penstock.counters.seats.wire import Asked, Sit
from penstock.gateway.dialects import openai
from penstock.gateway.dialects.spoken import BY_PATH
from penstock.gateway.exchange import Exchange
from penstock.gateway.identity.caller import Caller, Callers
from penstock.gateway.metering.account import Account, Books
from penstock.gateway.metering.attempts import Attempts
from penstock.gateway.metering.metrics import Metrics
from penstock.gateway.metering.queues import Queues
from penstock.gateway.upstream.attempt import Dispatcher
from penstock.gateway.upstream.breaker import IN_A_ROW
from penstock.gateway.upstream.choosing import Choosing
from penstock.gateway.upstream.endpoint import Endpoints
from penstock.gateway.upstream.health import Healths
from penstock.gateway.upstream.seating import Seating
from penstock.gateway.upstream.verdicts import Blame
from penstock.gateway.view import Plan, compile_view
from penstock.http.responder import Responder
from penstock.journal.segment import Writer
from penstock.snapshot.config import Config, GatewaySettings
from penstock.types.address import Address
from penstock.types.dialect import Dialect
from penstock.types.errors import NoCapacity
from penstock.types.priority import Priority
from tests.counters.test_tally import Clock
from tests.gateway.cache.test_exact import Journal, Wire
from tests.processes import model, provider

NAMES = ("a", "b", "x", "y")
ZONES = {"a": "here", "b": "here", "x": "there", "y": "", "z": ""}
NEAR, FAR = {"a", "b"}, {"x", "y"}
BODY = b'{"model":"chat","messages":[{"role":"user","content":"hi"}]}'


class World:
    """A worker in the zone `here`, and a model with two targets there, one elsewhere, one wherever, and a fallback."""

    def __init__(self, draws: Callable[[], float] = lambda: 0.0) -> None:
        self.clock, self.registry = Clock(), CollectorRegistry()
        counts = Attempts(self.registry)
        self.house, self.asked = House(self.clock), list[Asked]()
        self.usher = Usher(self._ask, self.clock)
        self._number = self.house.enter(self.usher.heard)
        self.seating = Seating(self.usher, Queues(CollectorRegistry(), self.usher.waiting), self.clock)
        self.healths = Healths(counts, self.clock, lambda: 0.5)
        self.choosing = Choosing(self.healths, self.seating, counts, self.clock, draws)
        deployments = {
            name: provider(name, Address(host="127.0.0.1", port=number, path="/v1"), seats=1, queue=1, zone=zone)
            for number, (name, zone) in enumerate(ZONES.items(), 1)
        }
        self.model = model("chat", *NAMES, fallback=("z",))
        self._endpoints = Endpoints({}, self.clock)
        self.deployments = deployments
        self.follow()
        books = Books(cast("Writer", Journal()), Metrics(), time.monotonic)
        call = openai.parse(Dialect.CHAT, BODY)
        self.account = Account(books, "req", Caller("k", "red"), call, 0.0, [])
        responder = Responder(Wire(), bodiless=False, chunks=True)
        spoken = BY_PATH["/v1/chat/completions"]
        self.exchange = Exchange(spoken, b"", b"", self.view, call, self.model, self.account, responder, b"", 1e12)

    def _ask(self, message: Asked) -> None:
        self.asked.append(message)
        self.house.heard(self._number, message)

    def follow(self) -> None:
        config = Config(1, self.deployments, {"chat": self.model}, GatewaySettings())
        self.view = compile_view(config, Callers({}), None, self._endpoints, {"PENSTOCK_ZONE": "here"})
        self.choosing.follow(self.view)
        self.seating.follow(self.view)
        self.healths.follow(self.view.places)

    @property
    def plan(self) -> Plan:
        """That of the first target."""
        return self.view.routes["chat"].plans[0]

    def down(self, name: str) -> None:
        health = self.healths.of(name)
        for _ in range(IN_A_ROW):
            ticket = health.breaker.admit(self.clock())
            assert ticket is not None
            health.ended(ticket, Blame.FAILED, self.clock())

    async def fill(self, name: str) -> None:
        await self.usher.take(name, "blue", Priority.NORMAL, 1.0)

    async def choose(self, tried: tuple[str, ...] = (), *, full: bool = False) -> tuple[str | None, bool]:
        """Return where an exchange goes, and whether it has a seat there."""
        first = self.choosing.next(self.plan, tried) if tried else self.choosing.first(self.exchange, self.plan)
        if first is None:
            return None, False
        name, seat = await self.choosing.seated(self.exchange, self.plan, first, tried, full)
        assert seat is None or seat.deployment == name
        return name, seat is not None

    def spilled(self, name: str, reason: str) -> float | None:
        labels = {"penstock_deployment": name, "reason": reason}
        return self.registry.get_sample_value("penstock_spilled_total", labels)

    @property
    def explained(self) -> str:
        return dict(self.account.explanation).get("zone", "")


def run(case: Callable[[World], Awaitable[Any]]) -> None:
    asyncio.run(cast("Any", case(World())))


def test_what_was_drawn_is_used_while_it_has_room_and_nothing_is_said_of_zones() -> None:
    async def case(world: World) -> None:
        assert await world.choose() == ("a", True)
        assert world.explained == ""

    run(case)


def test_another_one_in_the_zone_comes_before_those_that_are_not() -> None:
    async def case(world: World) -> None:
        await world.fill("a")
        assert await world.choose() == ("b", True)
        assert world.explained == ""

    run(case)


def test_a_full_zone_spills_over_at_once_and_says_so() -> None:
    async def case(world: World) -> None:
        for name in ("a", "b"):
            await world.fill(name)
        assert await world.choose() == ("x", True)
        assert world.explained == "no target in here has a free seat; x in there instead"
        assert world.spilled("x", "full") == 1
        assert await world.choose() == ("y", True)
        assert world.explained == "no target in here has a free seat; y instead"

    run(case)


def test_where_nothing_is_free_the_exchange_waits_for_what_was_drawn() -> None:
    async def case(world: World) -> None:
        for name in NAMES:
            await world.fill(name)
        assert await world.choose() == ("a", False)
        assert world.explained == ""
        assert world.usher.waiting() == {}

    run(case)


def test_where_nothing_was_free_nobody_is_asked_again_and_that_is_why_it_leaves() -> None:
    async def case(world: World) -> None:
        assert await world.choose(("a", "b"), full=True) == ("x", False)
        assert world.explained == "no target in here has a free seat; x in there instead"
        assert world.spilled("x", "full") == 1

    run(case)


def test_a_zone_that_may_not_be_asked_spills_over() -> None:
    async def case(world: World) -> None:
        world.down("a")
        assert await world.choose() == ("b", True)
        world.down("b")
        assert await world.choose() == ("x", True)
        assert world.explained == "no target in here may be asked now; x in there instead"
        assert world.spilled("x", "unavailable") == 1

    run(case)


def test_a_seat_of_what_cannot_answer_any_more_is_none() -> None:
    async def case(world: World) -> None:
        with await world.usher.take("a", "red", Priority.NORMAL, 1.0):
            pass  # it is kept by the worker
        locked = SecretRef(env="NO_SUCH_KEY")
        world.deployments["a"] = msgspec.structs.replace(world.deployments["a"], api_key=locked)
        world.follow()
        assert await world.choose() == ("b", True)

    run(case)


def test_a_failed_zone_spills_over_and_a_fallback_is_no_spill() -> None:
    async def case(world: World) -> None:
        assert await world.choose(tried=("a",)) == ("b", True)
        assert await world.choose(tried=("a", "b")) == ("x", True)
        assert world.explained == "all targets in here have failed; x in there instead"
        assert world.spilled("x", "failed") == 1
        assert await world.choose(tried=NAMES) == ("z", False)
        assert world.spilled("z", "failed") is None

    run(case)


@pytest.mark.parametrize("home", ["x", "z"])
def test_behind_a_home_that_is_far_or_a_fallback_the_zone_is_preferred_as_ever(home: str) -> None:
    async def case(world: World) -> None:
        plan = msgspec.structs.replace(world.plan, home=home)
        assert world.choosing.first(world.exchange, plan) == home
        assert await world.choose((home,)) == ("a", True)
        await world.fill("b")
        assert await world.choose((home, "a")) == ("x" if home == "z" else "y", True)
        world.down(home)
        assert world.choosing.first(world.exchange, plan) in NEAR

    run(case)


def test_when_all_is_full_each_target_is_asked_for_a_seat_at_once_and_then_to_wait() -> None:
    async def case(world: World) -> None:
        counts = Attempts(CollectorRegistry())
        dispatcher = Dispatcher(world.seating, counts, world.clock, lambda: 0.0)
        dispatcher.follow(world.view)
        # By others, so that this worker has to ask; as many wait already as may.
        others, names = Usher(lambda message: world.house.heard(number, message), world.clock), [*NAMES, "z"]
        number = world.house.enter(others.heard)
        others.resize({name: Size(1, 2) for name in names}, 2)
        for name in names:
            await others.take(name, "blue", Priority.NORMAL, 60.0)
        line = [asyncio.ensure_future(others.take(name, "blue", Priority.HIGH, 60.0)) for name in names]
        await asyncio.sleep(0)
        world.asked.clear()
        with pytest.raises(NoCapacity):
            await dispatcher.run(world.exchange, world.plan, cast("Any", None))
        asked = [(message.deployment, message.waits) for message in world.asked if isinstance(message, Sit)]
        assert sorted(asked) == sorted([*((name, False) for name in NAMES), *((name, True) for name in names)])
        for waiting in line:
            waiting.cancel()

    run(case)


@settings(max_examples=200, deadline=None)
@given(
    full=st.sets(st.sampled_from(NAMES)),
    down=st.sets(st.sampled_from(NAMES)),
    tried=st.lists(st.sampled_from(NAMES), unique=True),
    seed=st.integers(0, 1000),
)
def test_a_free_target_is_found_wherever_there_is_one_and_near_ones_come_first(
    full: set[str], down: set[str], tried: list[str], seed: int
) -> None:
    async def case() -> None:
        world = World(random.Random(seed).random)
        for name in full:
            await world.fill(name)
        for name in down:
            world.down(name)
        free = set(NAMES) - full - down - set(tried)
        found, seat = await world.choose(tuple(tried))
        assert seat == bool(free)
        if free:
            assert found in (free & NEAR or free)
        assert found not in tried
        assert bool(world.explained) == (found in FAR)

    asyncio.run(case())
