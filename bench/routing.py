"""
What it costs to decide where an exchange goes: `python -m bench.routing`.

Deployments of one model, each an engine with ready replicas; a decision draws the target, asks its breaker and those
behind it, and chooses a replica. Nothing is sent. Figures are µs of CPU per decision, the least and the median of
rounds that take turns.

With weights that adapt, each deployment has been measured, and weights are worked out as often as they would be. With
zones there is one target more, which is elsewhere, and the decision has its seat: it is one that the worker has kept.
What that takes without a decision is a line of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

from prometheus_client import CollectorRegistry

from bench.steps import _Asking as Asked
from penstock.counters.seats.house import House
from penstock.counters.seats.usher import local
from penstock.gateway.exchange import Exchange
from penstock.gateway.identity.caller import Caller, Callers
from penstock.gateway.metering.attempts import Attempts
from penstock.gateway.metering.queues import Queues
from penstock.gateway.routing.vitals import Vitals
from penstock.gateway.upstream.asking import Asking
from penstock.gateway.upstream.attempt import Dispatcher
from penstock.gateway.upstream.endpoint import Endpoints
from penstock.gateway.upstream.seating import Seating
from penstock.gateway.view import View, compile_view
from penstock.snapshot.config import Balance, Config, Deployment, GatewaySettings, Model, Target
from penstock.snapshot.fleet import Fleet, Replica, ReplicaState
from penstock.types.address import Address

SIZES = {(5, 4): 3.0, (20, 10): 10.0}
"""Deployments and replicas of each, with the most µs that a decision may take."""
WAYS = (Balance.LEAST_OUTSTANDING, Balance.ROUND_ROBIN, Balance.PEAK_EWMA)


@dataclass(frozen=True)
class Case:
    """What is decided: deployments and replicas, how one of these is chosen, and what else is looked at."""

    deployments: int
    replicas: int
    balance: Balance = Balance.LEAST_OUTSTANDING
    adaptive: bool = False
    zones: bool = False

    @property
    def name(self) -> str:
        """What it is called in the table."""
        more = ", adaptive" * self.adaptive + ", zones and the seat" * self.zones
        return f"{self.deployments} deployments × {self.replicas} replicas, {self.balance.value}{more}"

    def view(self) -> View:
        """Compile it."""
        names = [f"d{number}" for number in range(self.deployments)]
        deployments = {
            name: Deployment(name, "openai", name, True, None, 8, 64, balance=self.balance) for name in names
        }
        if self.zones:
            address = Address(host="127.0.0.1", port=1, path="/v1")
            deployments["far"] = Deployment("far", "openai", "far", False, None, 8, 64, address, zone="there")
        targets = tuple(Target(name) for name in deployments)
        config = Config(
            1,
            deployments,
            {"chat": Model("chat", targets, (), 10.0, 120.0, 1, adaptive=self.adaptive)},
            GatewaySettings(),
        )
        fleet = Fleet(
            1,
            tuple(
                Replica(f"{name}/{index}", name, "v", ReplicaState.READY, f"/nowhere/{name}-{index}", index)
                for name in names
                for index in range(self.replicas)
            ),
        )
        environ = {"PENSTOCK_ZONE": "here"}
        return compile_view(config, Callers({}), fleet, Endpoints({}, time.monotonic), environ)


CASES = (
    *(Case(*size, way) for size in SIZES for way in WAYS),
    *(Case(*size, way, adaptive=True, zones=True) for size in SIZES for way in WAYS),
)

Run = Callable[[int], Awaitable[None]]


def decisions(case: Case) -> Run:
    """Return what makes so many decisions."""
    view = case.view()
    usher = local(House(time.monotonic), time.monotonic)
    seating = Seating(usher, Queues(CollectorRegistry(), usher.waiting), time.monotonic)
    dispatcher = Dispatcher(seating, Attempts(CollectorRegistry()), time.monotonic, random.random)
    dispatcher.follow(view)
    choosing = dispatcher.choosing
    asked = cast("Any", Asked(Caller("k", "default")))
    asked.model = view.routes["chat"].model
    exchange, failed = cast("Exchange", asked), dict[Any, Any]()
    for name in view.places:
        vitals = choosing._healths.of(name).vitals  # noqa: SLF001  # as if it had answered
        for number in range(20 if vitals is not None else 0):
            cast("Vitals", vitals).answers(0.1 + number / 100, time.monotonic())

    async def run(count: int) -> None:
        for _ in range(count):
            plan = choosing.draw(view.routes["chat"])
            name = choosing.first(exchange, plan)
            assert name is not None
            seat = None
            if plan.near:
                name, seat = await choosing.seated(exchange, plan, name, ())
            choosing.more(plan, (name,))
            assert dispatcher._choose(view.places[name], failed, Asking(exchange)) is not None  # noqa: SLF001  # likewise
            if seat is not None:
                with seat:
                    continue

    return run


def seats() -> Run:
    """Return what takes so many seats that a worker has kept, and gives them back."""
    view = Case(1, 1).view()
    usher = local(House(time.monotonic), time.monotonic)
    seating = Seating(usher, Queues(CollectorRegistry(), usher.waiting), time.monotonic)
    seating.follow(view)
    exchange, place = cast("Exchange", Asked(Caller("k", "default"))), view.places["d0"]

    async def run(count: int) -> None:
        for _ in range(count):
            with await seating.seat(exchange, place, True):
                continue

    return run


async def measured(count: int, rounds: int) -> list[tuple[str, float, list[float]]]:
    """Return what is decided, the most µs that it may take, and what it took in each round."""
    steps = [(case.name, SIZES[case.deployments, case.replicas], decisions(case), list[float]()) for case in CASES]
    steps.append(("a seat alone", math.inf, seats(), []))
    for number in range(rounds + 1):
        for _, _, run, took in steps:
            began = time.process_time()
            await run(count)
            if number:  # the first warms up
                took.append((time.process_time() - began) / count * 1e6)
    return [(name, most, took) for name, most, _, took in steps]


def main() -> int:
    """Entry of `python -m bench.routing`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="decisions in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = asyncio.run(measured(given.count, given.rounds))
    if given.json:
        print(json.dumps({name: took for name, _, took in found}, indent=1))
        return 0
    print("| decision | budget, µs | least, µs | median, µs |\n|---|---|---|---|")
    for name, most, took in found:
        budget = "" if math.isinf(most) else f"{most:g}"
        print(f"| {name} | {budget} | {min(took):.1f} | {statistics.median(took):.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
