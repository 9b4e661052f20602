"""How much a deployment takes, by what its replicas are doing."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from penstock.auth.secrets import SecretRef
from penstock.counters.seats.seat import Size
from penstock.gateway.identity.caller import Callers
from penstock.gateway.routing.prompts import UNKNOWN
from penstock.gateway.upstream.endpoint import Endpoints
from penstock.gateway.view import compile_view
from penstock.snapshot.config import Config, Deployment, GatewaySettings, Limit, Measure, Outage
from penstock.snapshot.fleet import Fleet, Replica, ReplicaState
from penstock.types.address import Address
from tests.processes import PRICE, model, provider

S = ReplicaState
NOTHING = Size(0, 0)


def size_of(deployment: Deployment, fleet: Fleet | None, tmp_path: Path) -> Size:
    config = Config(1, {deployment.name: deployment}, {}, GatewaySettings())
    view = compile_view(config, Callers({}), fleet, Endpoints({}, time.monotonic), {})
    return view.places[deployment.name].size


@pytest.mark.parametrize(
    ("states", "size"),
    [
        ([S.READY], Size(8, 72)),
        ([S.READY, S.READY], Size(16, 144)),
        ([S.READY, S.STARTING], Size(8, 144)),
        ([S.READY, S.FAILED], Size(8, 72)),
        ([S.READY, S.WEDGED], Size(8, 144)),
        ([S.READY, S.DRAINING], Size(16, 144)),
        ([S.STARTING, S.STARTING], Size(0, 144)),
        ([S.DRAINING, S.STARTING], Size(0, 72)),
        ([S.DRAINING], NOTHING),
        ([S.FAILED], NOTHING),
        ([], Size(0, 72)),
    ],
    ids=str,
)
def test_an_engine_has_the_seats_of_its_ready_replicas_and_a_queue_for_those_that_come(
    states: list[ReplicaState], size: Size, tmp_path: Path
) -> None:
    mini = Deployment("mini", "openai", "mini", engine=True, price=PRICE, seats=8, queue=64)
    replicas = [
        Replica(f"mini/{number}", "mini", "v", state, str(tmp_path / f"{number}.sock"), number)
        for number, state in enumerate(states)
    ]
    assert size_of(mini, Fleet(1, tuple(replicas)), tmp_path) == size


def test_each_worker_remembers_its_share_of_what_a_replica_keeps(tmp_path: Path) -> None:
    endpoints = Endpoints({}, time.monotonic)
    fleet = Fleet(1, (Replica("mini/0", "mini", "v", S.READY, str(tmp_path / "0.sock"), 1),))
    found = []
    for kept in (None, 8000, 4000):  # as after reloads
        mini = Deployment("mini", "openai", "mini", True, PRICE, seats=8, queue=64, prompt_cache=kept)
        config = Config(1, {"mini": mini}, {}, GatewaySettings(workers=2))
        (endpoint,) = compile_view(config, Callers({}), fleet, endpoints, {}).places["mini"].endpoints
        found.append(endpoint.prompts.most_bytes)
    assert found == [UNKNOWN, 16_000, 8000]


def test_an_engine_that_nobody_runs_here_takes_nothing(tmp_path: Path) -> None:
    mini = Deployment("mini", "openai", "mini", engine=True, price=PRICE, seats=8, queue=64)
    assert size_of(mini, None, tmp_path) == NOTHING


def test_a_hosted_model_has_the_seats_it_is_given_unless_it_cannot_be_asked(tmp_path: Path) -> None:
    address = Address(host="127.0.0.1", port=1, path="/v1")
    assert size_of(provider("large", address, seats=10, queue=5), None, tmp_path) == Size(10, 15)
    locked = provider("large", address, seats=10, queue=5, api_key=SecretRef(env="NO_SUCH_KEY"))
    assert size_of(locked, None, tmp_path) == NOTHING


@pytest.mark.parametrize(
    ("measures", "capped"),
    [
        ([Measure.TOKENS], True),
        ([Measure.CONCURRENCY, Measure.TOKENS], True),
        ([Measure.REQUESTS, Measure.TOKENS], True),
        ([Measure.REQUESTS, Measure.CONCURRENCY], False),
    ],
)
def test_answers_get_a_cap_where_tokens_are_limited(measures: list[Measure], capped: bool) -> None:
    limits = tuple(Limit("default", ("key",), measure, 100, Outage.DENY) for measure in measures)
    limited = msgspec.structs.replace(model("chat", "mini"), limits=limits)
    config = Config(1, {}, {"chat": limited}, GatewaySettings())
    view = compile_view(config, Callers({}), None, Endpoints({}, time.monotonic), {})
    assert view.routes["chat"].capped == capped


def test_money_is_held_for_every_deployment_that_may_answer(tmp_path: Path) -> None:
    """Also for the targets that were not drawn: an exchange goes on to them when that one fails."""
    address = Address(host="127.0.0.1", port=1, path="/v1")
    prices = {name: msgspec.structs.replace(PRICE, input=number) for number, name in enumerate("abc", 1)}
    deployments = {name: provider(name, address, price=price) for name, price in prices.items()}
    config = Config(1, deployments, {"chat": model("chat", "a", "b", fallback=("c",))}, GatewaySettings())
    view = compile_view(config, Callers({}), None, Endpoints({}, time.monotonic), {})
    plans = view.routes["chat"].plans
    assert [plan.names for plan in plans] == [("a", "b", "c"), ("b", "a", "c")]
    assert [plan.weights for plan in plans] == [(1.0, 1.0)] * 2
    assert all(set(plan.prices) == {price.ceiling for price in prices.values()} for plan in plans)


def plans(zone: str, zones: dict[str, str], fleet: Fleet | None = None) -> tuple[list[tuple[str, ...]], list[int]]:
    """Return what is tried by each plan of a model over these targets (one is an engine if its zone is `engine`)."""
    address = Address(host="127.0.0.1", port=1, path="/v1")
    engine = Deployment("mini", "openai", "mini", engine=True, price=PRICE, seats=8, queue=64)
    deployments = {
        name: msgspec.structs.replace(engine, name=name) if its == "engine" else provider(name, address, zone=its)
        for name, its in {**zones, "z": zone}.items()
    }
    config = Config(1, deployments, {"chat": model("chat", *zones, fallback=("z",))}, GatewaySettings())
    view = compile_view(config, Callers({}), fleet, Endpoints({}, time.monotonic), {"PENSTOCK_ZONE": zone})
    route = view.routes["chat"]
    assert len(route.ends) == len(route.plans) - 1
    return [plan.names for plan in route.plans], [plan.near for plan in route.plans]


ALIKE = [("a", "b", "c", "z"), ("b", "a", "c", "z"), ("c", "a", "b", "z")]
HERE = Fleet(1, (Replica("b/0", "b", "v", S.STARTING, "/nowhere", 1),))


@pytest.mark.parametrize(
    ("zone", "zones", "fleet", "names", "near"),
    [
        ("eu", {"a": "us", "b": "eu", "c": "us"}, None, [("b", "a", "c", "z")], 1),
        ("eu", {"a": "eu", "b": "us", "c": "eu"}, None, [("a", "c", "b", "z"), ("c", "a", "b", "z")], 2),
        ("eu", {"a": "", "b": "eu", "c": ""}, None, [("b", "a", "c", "z")], 1),
        ("eu", {"a": "us", "b": "us", "c": ""}, None, ALIKE, 0),
        ("eu", {"a": "eu", "b": "eu", "c": "eu"}, None, ALIKE, 0),
        ("", {"a": "", "b": "eu", "c": "us"}, None, ALIKE, 0),
        ("eu", {"a": "us", "b": "engine", "c": "us"}, HERE, [("b", "a", "c", "z")], 1),
        ("eu", {"a": "us", "b": "engine", "c": "eu"}, None, [("c", "a", "b", "z")], 1),
        ("", {"a": "us", "b": "engine", "c": "us"}, HERE, ALIKE, 0),
    ],
    ids=[
        "one in the zone",
        "two in the zone",
        "targets without a zone are elsewhere",
        "all elsewhere",
        "all in the zone",
        "a gateway without a zone",
        "an engine is where its host is",
        "an engine that nobody runs here is nowhere",
        "an engine of a gateway without a zone",
    ],
)
def test_only_targets_in_the_gateways_zone_are_drawn_from_if_there_are_some(
    zone: str, zones: dict[str, str], fleet: Fleet | None, names: list[tuple[str, ...]], near: int
) -> None:
    assert plans(zone, zones, fleet) == (names, [near] * len(names))
