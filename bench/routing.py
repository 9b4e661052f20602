"""
What it costs to decide where an exchange goes: `python -m bench.routing`.

Deployments of one model, each an engine with ready replicas; a decision draws the target, asks its breaker and those
behind it, and chooses a replica. Nothing is sent. Figures are µs of CPU per decision, the least and the median of
rounds that take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

from prometheus_client import CollectorRegistry

from bench.steps import _Asking as Asked
from penstock.counters.seats.house import House
from penstock.counters.seats.usher import local
from penstock.gateway.exchange import Exchange
from penstock.gateway.identity.caller import Caller, Callers
from penstock.gateway.metering.attempts import Attempts
from penstock.gateway.metering.queues import Queues
from penstock.gateway.routing.choose import draw_target
from penstock.gateway.upstream.asking import Asking
from penstock.gateway.upstream.attempt import Dispatcher
from penstock.gateway.upstream.endpoint import Endpoints
from penstock.gateway.upstream.seating import Seating
from penstock.gateway.view import compile_view
from penstock.snapshot.config import Balance, Config, Deployment, GatewaySettings, Model, Target
from penstock.snapshot.fleet import Fleet, Replica, ReplicaState

SIZES = {(5, 4): 3.0, (20, 10): 10.0}
"""Deployments and replicas of each, with the most µs that a decision may take."""
WAYS = (Balance.LEAST_OUTSTANDING, Balance.ROUND_ROBIN, Balance.PEAK_EWMA)


def decisions(deployments: int, replicas: int, balance: Balance) -> Callable[[int], None]:
    """Return what makes so many decisions."""
    names = [f"d{number}" for number in range(deployments)]
    config = Config(
        1,
        {name: Deployment(name, "openai", name, True, None, 8, 64, balance=balance) for name in names},
        {"chat": Model("chat", tuple(Target(name) for name in names), (), 10.0, 120.0, 1)},
        GatewaySettings(),
    )
    fleet = Fleet(
        1,
        tuple(
            Replica(f"{name}/{index}", name, "v", ReplicaState.READY, f"/nowhere/{name}-{index}", index)
            for name in names
            for index in range(replicas)
        ),
    )
    view = compile_view(config, Callers({}), fleet, Endpoints({}, time.monotonic), {})
    usher = local(House(time.monotonic), time.monotonic)
    seating = Seating(usher, Queues(CollectorRegistry(), usher.waiting), time.monotonic)
    dispatcher = Dispatcher(seating, Attempts(CollectorRegistry()), time.monotonic, random.random)
    dispatcher.follow(view)
    exchange, failed = cast("Exchange", Asked(Caller("k", "default"))), dict[Any, Any]()

    def run(count: int) -> None:
        for _ in range(count):
            route = view.routes["chat"]
            plan = route.plans[draw_target(route.ends, random.random())]  # no secret
            name = dispatcher._first(exchange, plan)  # noqa: SLF001  # the decision itself
            assert name is not None
            dispatcher._more(plan, (name,))  # noqa: SLF001  # likewise
            assert dispatcher._choose(view.places[name], failed, Asking(exchange)) is not None  # noqa: SLF001  # likewise

    return run


def measured(count: int, rounds: int) -> Iterator[tuple[str, float, list[float]]]:
    """Yield what is decided, the most that it may take, and what it took in each round, in µs."""
    steps = [
        (f"{size[0]} deployments × {size[1]} replicas, {way.value}", most, decisions(*size, way), list[float]())
        for size, most in SIZES.items()
        for way in WAYS
    ]
    for number in range(rounds + 1):
        for _, _, run, took in steps:
            began = time.process_time()
            run(count)
            if number:  # the first warms up
                took.append((time.process_time() - began) / count * 1e6)
    yield from ((name, most, took) for name, most, _, took in steps)


async def _run(count: int, rounds: int) -> list[tuple[str, float, list[float]]]:
    return list(measured(count, rounds))


def main() -> int:
    """Entry of `python -m bench.routing`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="decisions in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = asyncio.run(_run(given.count, given.rounds))
    if given.json:
        print(json.dumps({name: took for name, _, took in found}, indent=1))
        return 0
    print("| decision | budget, µs | least, µs | median, µs |\n|---|---|---|---|")
    for name, most, took in found:
        print(f"| {name} | {most:g} | {min(took):.1f} | {statistics.median(took):.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
