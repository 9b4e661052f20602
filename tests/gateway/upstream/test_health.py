"""What is known of deployments, from view to view."""

from __future__ import annotations

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from penstock.gateway.identity.caller import Callers
from penstock.gateway.metering.attempts import Attempts
from penstock.gateway.upstream.breaker import IN_A_ROW, State
from penstock.gateway.upstream.endpoint import Endpoints
from penstock.gateway.upstream.health import Health, Healths
from penstock.gateway.upstream.verdicts import Blame
from penstock.gateway.view import compile_view
from penstock.snapshot.config import Config, Deployment, GatewaySettings
from penstock.types.address import Address
from tests.processes import provider


class World:
    """Healths with a clock."""

    def __init__(self) -> None:
        self.now = 50.0
        self.registry = CollectorRegistry()
        self.healths = Healths(Attempts(self.registry), lambda: self.now, lambda: 0.5)
        self._endpoints = Endpoints({}, lambda: self.now)

    def follow(self, *deployments: Deployment) -> None:
        config = Config(1, {each.name: each for each in deployments}, {}, GatewaySettings())
        self.healths.follow(compile_view(config, Callers({}), None, self._endpoints, {}).places)

    def state(self, name: str, state: str) -> float | None:
        return self.registry.get_sample_value("penstock_breakers", {"penstock_deployment": name, "state": state})


def break_down(world: World, name: str) -> Health:
    health = world.healths.of(name)
    for _ in range(IN_A_ROW):
        ticket = health.breaker.admit(world.now)
        assert ticket is not None
        health.ended(ticket, Blame.FAILED, world.now)
    return health


def at(port: int) -> Address:
    return Address(host="127.0.0.1", port=port, path="/v1")


def test_health_outlives_changes_of_everything_but_the_address() -> None:
    world = World()
    large = provider("large", at(1))
    world.follow(large)
    health = break_down(world, "large")
    world.follow(msgspec.structs.replace(large, seats=3, model="other"), provider("new", at(2)))
    assert world.healths.of("large") is health
    assert health.breaker.state is State.OPEN
    assert (world.state("large", "open"), world.state("new", "closed")) == (1, 1)
    world.follow(provider("large", at(3)))
    assert world.healths.of("large").breaker.state is State.CLOSED
    assert (world.state("large", "open"), world.state("new", "closed")) == (0, None)
    world.follow()
    assert world.healths.of("large") is not world.healths.of("large"), "nothing is kept of what is gone"


def test_a_credential_that_is_missing_for_a_while_is_no_new_address() -> None:
    world = World()
    large = provider("large", at(1))
    world.follow(large)
    health = break_down(world, "large")
    world.follow(msgspec.structs.replace(large, address=None))
    world.follow(large)
    assert world.healths.of("large") is health


def test_what_the_upstream_says_is_a_floor_and_nobody_is_asked_before() -> None:
    world = World()
    world.follow(provider("large", at(1)))
    health = world.healths.of("large")
    health.pause(world.now, 20.0)
    health.pause(world.now, 5.0)
    assert health.wait_s(world.now) == 20.0
    assert not health.soon(world.now)
    world.now += 18.5
    assert health.soon(world.now)
    world.now += 1.5
    assert health.wait_s(world.now) == 0


@pytest.mark.parametrize(("busy", "admitted"), [(0, 1), (1, 1), (40, 20), (1000, 100)])
def test_behind_a_pause_half_of_what_it_works_on_is_let_in_at_once(busy: int, admitted: int) -> None:
    world = World()
    world.follow(provider("large", at(1)))
    health = world.healths.of("large")
    health.pause(world.now, 1.0, busy)
    world.now += 1
    assert sum(health.breaker.admit(world.now) is not None for _ in range(200)) == admitted


def test_a_pause_of_unsaid_length_doubles_until_an_answer_comes() -> None:
    world = World()
    world.follow(provider("large", at(1)))
    health, waits = world.healths.of("large"), []
    for _ in range(8):
        health.pause(world.now, None)
        waits.append(health.wait_s(world.now))
        world.now += waits[-1]
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    ticket = health.breaker.admit(world.now)
    assert ticket is not None
    health.ended(ticket, None, world.now)
    health.pause(world.now, None)
    assert health.wait_s(world.now) == 1


def test_what_says_nothing_of_a_deployment_does_not_count() -> None:
    world = World()
    world.follow(provider("large", at(1)))
    health = world.healths.of("large")
    for _ in range(100):
        ticket = health.breaker.admit(world.now)
        assert ticket is not None
        health.ended(ticket, Blame.NOTHING, world.now)
    assert health.breaker.state is State.CLOSED


def test_the_log_says_that_a_deployment_is_not_asked_and_when_it_answers_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "penstock.upstream")
    world = World()
    world.follow(provider("large", at(1)))
    health = break_down(world, "large")
    world.now += health.breaker.wait_s(world.now)
    ticket = health.breaker.admit(world.now)
    assert ticket is not None
    health.ended(ticket, None, world.now)
    assert [(record.levelname, record.getMessage(), vars(record)["fields"]) for record in caplog.records] == [
        ("WARNING", "a deployment keeps failing and is not asked for a while", {"deployment": "large"}),
        ("INFO", "a deployment answers again", {"deployment": "large"}),
    ]
