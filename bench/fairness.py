"""
`make bench-fairness`: what a tenant notices of another one that asks for fifty times its share.

Four workers, one deployment with few seats whose answers take as long as they are told to. A quiet tenant asks for a
fifth of its even share of the seats: alone, then beside a noisy one, then beside the same load from its own tenant,
which is what it was without fair turns. All arrive at random (Poisson), at a fixed rate whatever the answers take;
latencies count from when a request was due. The service time is fixed, so that seats which were taken together come
free together, or varies evenly by a half either way. Each round has a Penstock of its own. Then what it costs to ask
the node's end, in another process, for a seat, and to find out who is next among many tenants.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import random
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import uvloop

from bench.client import OK, Client, chat_body, pool
from bench.stack import footer, lab, machine, penstock, samples, stack_text, total, write
from penstock.counters.seats.house import House
from penstock.counters.seats.line import Line, Waiter
from penstock.counters.seats.remote import Doors, remote
from penstock.counters.seats.seat import Size
from penstock.lab.running import Running
from penstock.types.priority import Priority

WORKERS = 4
SEATS = 8
QUEUE = 64
TIMES = 50  # its share, that the noisy one asks for
QUIET = 0.2  # of its share, that the quiet one asks for
KINDS = ("alone", "beside a noisy tenant", "beside as much of its own")
_CONNECTIONS = 512
_SETTLE_S = 2.0
_VARIANTS = 16


def script(service_s: float, varied: bool) -> str:
    """Return what the lab is told: a delay for every answer."""
    if not varied:
        return json.dumps([{"order": {"delay": f"{service_s * 1000:.0f}ms"}}])
    steps = [0.5 + (number + 0.5) / _VARIANTS for number in range(_VARIANTS)]
    rules = [
        {"probability": 1 / (_VARIANTS - number), "order": {"delay": f"{service_s * step * 1000:.0f}ms"}}
        for number, step in enumerate(steps)
    ]
    return json.dumps(rules)


def key_of(running: Running, tenant: str) -> str:
    """Make a key for a tenant."""
    transport = httpx.HTTPTransport(uds=str(running.home.admin_socket))
    with httpx.Client(transport=transport, base_url="http://localhost/admin/v1", timeout=60) as client:
        made = client.post("/keys", json={"name": tenant, "tenant": tenant})
        made.raise_for_status()
        return str(made.json()["key"])


async def arrivals(
    client: Client, rate: float, seconds: float, draw: random.Random
) -> tuple[list[float], Counter[int]]:
    """Ask at random at a rate, whatever the answers take; return the seconds that good ones took, and all statuses."""
    body, times, statuses, began = chat_body("hello", max_tokens=8), list[float](), Counter[int](), time.monotonic()

    async def ask(due: float) -> None:
        status, _, _ = await client.call(body)
        statuses[status] += 1
        if status == OK:
            times.append(time.monotonic() - due)

    due = began
    async with asyncio.TaskGroup() as group:
        while (due := due + draw.expovariate(rate)) < began + seconds:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            group.create_task(ask(due))
    return times, statuses


async def phase(running: Running, quiet: str, other: str | None, service_s: float, seconds: float, seed: int) -> Any:
    """Measure the quiet tenant, beside another's load or alone."""
    share = SEATS / service_s / 2
    draw, began = random.Random(seed), time.monotonic()
    async with pool(running.url, _CONNECTIONS) as own, pool(running.url, _CONNECTIONS) as theirs:
        noise = None
        if other is not None:
            loud = Client(theirs, other)
            noise = asyncio.create_task(arrivals(loud, TIMES * share, seconds + 2 * _SETTLE_S, random.Random(seed + 1)))
        await asyncio.sleep(_SETTLE_S)
        times, statuses = await arrivals(Client(own, quiet), QUIET * share, seconds, draw)
        asked, served = 0.0, 0.0
        if noise is not None:
            loudly = (await noise)[1]
            asked = sum(loudly.values()) / (seconds + 2 * _SETTLE_S)
            served = loudly[OK] / (time.monotonic() - began)  # until the last of those that waited has its answer
    return {
        "times_s": [round(each, 4) for each in times],
        "refused": sum(count for status, count in statuses.items() if status != OK),
        "noisy_served_per_s": served,
        "noisy_asked_per_s": asked,
    }


@contextlib.contextmanager
def told(text: str) -> Iterator[str]:
    """Put a script into a file for the time of a block."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(text)
        file.flush()
        yield file.name


def measure(service_s: float, seconds: float, rounds: int) -> dict[str, Any]:
    """Run everything; return raw figures."""
    runs: list[dict[str, Any]] = []
    for number in range(rounds):
        for varied in (False, True):
            with told(script(service_s, varied)) as rules, lab("--script", rules) as (upstream, _):
                seats = f", max_in_flight: {SEATS}, queue: {QUEUE}"
                with penstock(stack_text(upstream, workers=WORKERS, deployment=seats)) as running:
                    quiet, noisy, more = (key_of(running, tenant) for tenant in ("quiet", "noisy", "quiet"))
                    kinds = {}
                    for kind, other in zip(KINDS, (None, noisy, more), strict=True):
                        kinds[kind] = uvloop.run(phase(running, quiet, other, service_s, seconds, number))
                    values = samples(running)
                    names = ("penstock_seats_taken_total", "penstock_queue_refused_total")
                    counts = {name: total(values, name) for name in names}
                    share = total({key: value for key, value in values.items() if 'by="share"' in key}, names[0])
                    runs.append({"varied": varied, "kinds": kinds, **counts, "of_own_share": share})
    costs = {"asked_us": uvloop.run(asked(5000)), "found_us": {str(many): found(many, 2000) for many in (2, 64, 1000)}}
    return {"machine": machine(), "service_s": service_s, "seconds": seconds, "runs": runs, "costs": costs}


def _node(sock: socket.socket) -> None:
    """Be the node for one worker, until it has gone."""

    async def serve() -> None:
        await Doors(House(time.monotonic)).serve(sock)
        await asyncio.Event().wait()

    uvloop.run(serve())


async def asked(count: int) -> dict[str, float]:
    """Ask for seats of which there are plenty, one after the other; return microseconds."""
    ours, theirs = socket.socketpair()
    node = multiprocessing.get_context("fork").Process(target=_node, args=(theirs,), daemon=True)
    node.start()
    theirs.close()
    usher = await remote(ours, time.monotonic, 5.0)
    usher.resize({"d": Size(10 * count, 10 * count)}, 1)
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await usher.take("d", "tenant", Priority.NORMAL, 5.0)
        times.append(time.perf_counter() - began)
    node.kill()
    node.join()
    return {"p50": statistics.median(times) * 1e6, "p99": p99(times) * 1e6}


def found(tenants: int, count: int) -> float:
    """Seat so many while as many tenants wait; return microseconds of CPU for each."""
    line = Line()
    line.size = Size(0, 10 * tenants)
    for number in range(tenants):
        line.join(Waiter(0, number, f"tenant {number}", Priority.NORMAL))
    began = time.process_time()
    for number in range(count):
        line.size = Size(line.taken + 1, line.taken + 1 + 10 * tenants)
        (waiter,) = line.advance()
        line.join(Waiter(0, tenants + number, waiter.tenant, Priority.NORMAL))
        line.trim()
    return (time.process_time() - began) / count * 1e6


def p99(times: list[float]) -> float:
    """Return the 99th percentile, between the nearest two."""
    return statistics.quantiles(times, n=100, method="inclusive")[98]


def summary(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| service time | the quiet tenant | p50 | p99, median (range) | of alone | refused | noisy asked, had per s |",
        "|---|---|---|---|---|---|---|",
    ]
    for varied in (False, True):
        runs = [run["kinds"] for run in figures["runs"] if run["varied"] is varied]
        alone = statistics.median(p99(run[KINDS[0]]["times_s"]) for run in runs)
        for kind in KINDS:
            each = [p99(run[kind]["times_s"]) for run in runs]
            middle = statistics.median(statistics.median(run[kind]["times_s"]) for run in runs)
            asked = statistics.median(run[kind]["noisy_asked_per_s"] for run in runs)
            served = statistics.median(run[kind]["noisy_served_per_s"] for run in runs)
            refused = sum(run[kind]["refused"] for run in runs)
            count = refused + sum(len(run[kind]["times_s"]) for run in runs)
            median = statistics.median(each)
            lines.append(
                f"| {'varies' if varied else 'fixed'} | {kind} | {middle * 1000:.0f} ms "
                f"| {median * 1000:.0f} ms ({min(each) * 1000:.0f} to {max(each) * 1000:.0f}) | {median / alone:.2f} "
                f"| {refused} of {count} | {f'{asked:.0f}, {served:.1f}' if asked else ''} |"
            )
    share = SEATS / figures["service_s"] / 2
    next_us = ", ".join(f"{each:.0f} us" for each in figures["costs"]["found_us"].values())
    return f"""
{chr(10).join(lines)}

{SEATS} seats, a queue of {QUEUE}, {WORKERS} workers; answers take {figures["service_s"] * 1000:.0f} ms, so that the
even share of each of two tenants is {share:.0f}/s; the quiet one asks for {QUIET * share:.0f}/s, the noisy one for
{TIMES * share:.0f}/s. Rounds of {figures["seconds"]:.0f} s: {len(figures["runs"]) // 2} of each service time.

Asking the node for a seat takes {figures["costs"]["asked_us"]["p50"]:.0f} us at the median; finding out who is next
takes it {next_us} of CPU, where exchanges of 2, 64 and 1000 tenants wait.

{footer("make bench-fairness")}
"""


def main() -> int:
    """Entry of `python -m bench.fairness`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service", type=float, default=0.4, help="seconds that an answer takes")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    figures = measure(given.service, given.seconds, given.rounds)
    write("fairness", figures, summary(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
