"""The weights in use: when they are worked out anew, and where they are told."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from penstock.counters.seats.house import House
from penstock.counters.seats.usher import local
from penstock.gateway.identity.caller import Callers
from penstock.gateway.metering.attempts import Attempts
from penstock.gateway.metering.queues import Queues
from penstock.gateway.upstream.breaker import IN_A_ROW, State
from penstock.gateway.upstream.choosing import Choosing
from penstock.gateway.upstream.endpoint import Endpoints
from penstock.gateway.upstream.health import Healths
from penstock.gateway.upstream.seating import Seating
from penstock.gateway.upstream.verdicts import Blame
from penstock.gateway.view import Plan, compile_view
from penstock.snapshot.config import Config, GatewaySettings, Model, Target
from penstock.types.address import Address
from penstock.types.priority import Priority
from tests.counters.test_tally import Clock
from tests.processes import model, provider

TARGETS = (Target("a", 2.0), Target("b", 1.0), Target("c", 1.0))
ADAPTIVE = msgspec.structs.replace(model("chat", fallback=("z",)), targets=TARGETS, adaptive=True)


class World:
    """A worker with a model over three targets, each of which has answered."""

    def __init__(self, *models: Model, zone: str = "") -> None:
        self.clock, self.registry = Clock(), CollectorRegistry()
        counts = Attempts(self.registry)
        self.usher = local(House(self.clock), self.clock)
        self.seating = Seating(self.usher, Queues(CollectorRegistry(), self.usher.waiting), self.clock)
        self.healths = Healths(counts, self.clock, lambda: 0.5)
        self.drawn = 0.0
        self.choosing = Choosing(self.healths, self.seating, counts, self.clock, lambda: self.drawn)
        self._endpoints = Endpoints({}, self.clock)
        self._zone = zone
        self.follow(*models)

    def follow(self, *models: Model) -> None:
        deployments = {
            name: provider(name, Address(host="127.0.0.1", port=number, path="/v1"), zone="" if name == "a" else "eu")
            for number, name in enumerate("abcz", 1)
        }
        config = Config(1, deployments, {each.name: each for each in models}, GatewaySettings())
        environ = {"PENSTOCK_ZONE": self._zone}
        self.view = compile_view(config, Callers({}), None, self._endpoints, environ)
        self.seating.follow(self.view)
        self.healths.follow(self.view.places)
        self.choosing.follow(self.view)

    def answer(self, name: str, seconds: float, blame: Blame | None = None, count: int = 20) -> None:
        """Have a deployment answer so often, after so many seconds each time."""
        health = self.healths.of(name)
        for _ in range(count):
            ticket = health.breaker.admit(self.clock())
            assert ticket is not None
            answering = health.answering(ticket, self.clock(), self.clock)
            self.clock.now += seconds
            if answering is not None:
                answering()
            health.ended(ticket, blame, self.clock())

    def abandon(self, name: str, seconds: float, *, content: bool, count: int = 50) -> None:
        """Have clients leave so often after so many seconds, behind the first content or before it."""
        health = self.healths.of(name)
        for _ in range(count):
            ticket = health.breaker.admit(self.clock())
            assert ticket is not None
            beginning = health.answering(ticket, self.clock(), self.clock)
            assert beginning is not None
            if content:
                self.clock.now += 0.1
                beginning()
            self.clock.now += seconds
            health.ended(ticket, Blame.NOTHING, self.clock(), beginning)

    def draw(self, chance: float = 0.0) -> Plan:
        self.drawn = chance
        return self.choosing.draw(self.view.routes["chat"])

    def told(self, name: str) -> float | None:
        labels = {"gen_ai_request_model": "chat", "penstock_deployment": name}
        return self.registry.get_sample_value("penstock_target_weight", labels)


def test_weights_follow_what_targets_can_do_and_are_told() -> None:
    world = World(ADAPTIVE)
    for name, seconds in (("a", 0.2), ("b", 0.1), ("c", 0.4)):
        world.answer(name, seconds)
    plan = world.draw()
    assert plan.names == ("a", "b", "c", "z")
    assert plan.weights == pytest.approx((1.0, 1.0, 0.25))
    assert plan.explained == ("route", "chat: a, then b, then c, then z; weights in use: 1, 1, 0.25")
    assert [world.told(name) for name in "abcz"] == [*(pytest.approx(each) for each in (1.0, 1.0, 0.25)), None]
    assert [world.draw(chance).names[0] for chance in (0.44, 0.45, 0.88, 0.89)] == ["a", "b", "b", "c"]
    assert world.draw(0.9).weights == pytest.approx((0.25, 1.0, 1.0)), "in the order in which they are tried"


def test_failures_count_and_what_is_no_fault_of_the_target_does_not() -> None:
    world = World(ADAPTIVE)
    for name in "abc":
        world.answer(name, 0.1)
    world.answer("b", 0.1, Blame.NOTHING, count=200)
    assert world.draw().weights == pytest.approx((2.0, 1.0, 1.0), rel=0.01)
    for _ in range(20):
        world.answer("b", 0.1, Blame.THROTTLED, count=1)
        world.answer("b", 0.1, count=1)
    world.clock.now += 1
    assert world.draw().weights[1] < 0.4


def test_a_stall_that_clients_give_up_counts_and_a_stream_that_they_leave_does_not() -> None:
    world = World(ADAPTIVE)
    for name in "abc":
        world.answer(name, 0.1)
    world.abandon("b", 20.0, content=True)
    for name in "ac":
        world.answer(name, 0.1)
    assert world.draw().weights == pytest.approx((2.0, 1.0, 1.0), rel=0.01)
    world.abandon("b", 20.0, content=False)
    for name in "ac":
        world.answer(name, 0.1)
    world.clock.now += 1
    assert world.draw().weights[1] == pytest.approx(0.05), "the least that there is"


def test_seats_that_run_out_count() -> None:
    world = World(ADAPTIVE)

    async def use(name: str, count: int) -> None:
        for _ in range(count):
            await world.usher.take(name, "red", Priority.NORMAL, 1.0)

    asyncio.run(use("a", 64))
    asyncio.run(use("b", 16))
    assert world.draw().weights == pytest.approx((0.4, 0.997, 1.0), rel=0.01)


def test_they_are_worked_out_at_most_four_times_a_second_between_exchanges() -> None:
    world = World(ADAPTIVE)
    for name in "abc":
        world.answer(name, 0.1)
    before = world.draw()
    world.answer("c", 0.001, count=200)
    world.choosing.sweep()
    assert world.draw() is before
    world.clock.now += 0.06
    assert world.draw() is before, "which waits for none"
    world.choosing.sweep()
    after = world.draw()
    assert after.weights[0] < before.weights[0]
    world.clock.now += 1.0  # nobody has swept
    assert world.draw() is not after


def test_between_exchanges_only_what_is_drawn_from_is_worked_out() -> None:
    world = World(ADAPTIVE)
    for name in "abc":
        world.answer(name, 0.1)
    before = world.draw()
    world.clock.now += 0.3
    world.choosing.sweep()
    world.answer("c", 0.001, count=200)
    world.clock.now += 0.1
    world.choosing.sweep()
    assert world.draw().weights == before.weights
    world.choosing.sweep()
    assert world.draw().weights[0] < before.weights[0]


def test_what_is_known_outlives_a_change_of_the_configuration() -> None:
    world = World(ADAPTIVE)
    for name, seconds in (("a", 0.1), ("b", 0.1), ("c", 0.4)):
        world.answer(name, seconds)
    assert world.draw().names == ("a", "b", "c", "z")
    world.follow(msgspec.structs.replace(ADAPTIVE, targets=(Target("c", 8.0), Target("b", 1.0))), model("other", "z"))
    assert world.draw().names == ("c", "b", "z")
    assert world.draw().weights == pytest.approx((2.0, 1.0))
    assert world.told("a") is None


def test_in_a_zone_the_weights_in_use_are_drawn_by_too() -> None:
    world = World(ADAPTIVE, zone="eu")
    for name, seconds in (("a", 0.1), ("b", 0.1), ("c", 0.3)):
        world.answer(name, seconds)
    plan = world.draw()
    assert (plan.names, plan.near) == (("b", "c", "a", "z"), 2)
    assert plan.weights == pytest.approx((1.0, 1 / 3, 2.0))
    assert [world.draw(chance).names[0] for chance in (0.74, 0.76)] == ["b", "c"]


def test_those_in_the_zone_keep_their_proportions_however_quick_the_others_are() -> None:
    world = World(ADAPTIVE, zone="eu")
    for name, seconds in (("a", 0.002), ("b", 0.5), ("c", 4.0)):
        world.answer(name, seconds)
    plan = world.draw()
    assert (plan.names, plan.near) == (("b", "c", "a", "z"), 2)
    assert plan.weights == pytest.approx((1.0, 0.125, 2.0))


def test_the_breaker_is_told_of_an_answer_that_begins_all_the_same() -> None:
    world = World(ADAPTIVE)
    health = world.healths.of("a")
    world.answer("a", 0.1, Blame.FAILED, count=IN_A_ROW)
    assert health.breaker.wait_s(world.clock()) > 0
    world.clock.now += 60
    probe = health.breaker.admit(world.clock())
    assert probe is not None
    answering = health.answering(probe, world.clock(), world.clock)
    assert answering is not None
    answering()
    assert health.breaker.state is State.CLOSED


def test_where_weights_are_fixed_nothing_is_measured_or_told() -> None:
    world = World(msgspec.structs.replace(ADAPTIVE, adaptive=False))
    world.answer("b", 10.0)
    assert world.healths.of("b").vitals is None
    assert world.draw() is world.view.routes["chat"].plans[0]
    assert world.told("b") is None


def test_a_single_target_is_drawn_as_it_is() -> None:
    world = World(model("chat", "a", adaptive=True))
    assert world.draw() is world.view.routes["chat"].plans[0]
