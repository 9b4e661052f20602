"""
`make bench-workers`: what a second worker costs, and how connections spread over workers that share a port.

The same load is offered at a fixed rate to one worker and to two, in turns; CPU per request is that of all workers.
The spread is the busiest worker's share of requests, relative to an even one: 1.0 is even, N means that one of N
workers had them all.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from bench.client import OK, Client, chat_body, paced, pool
from bench.stack import cpu_seconds, footer, lab, machine, penstock, stack_text, workers_of, write
from penstock.lab.running import Running

_NUMBER = 8  # hexadecimal digits behind what the ids of all requests of a worker begin with
_BODY = chat_body("one two three four five six seven eight")


async def offered(running: Running, rate: float, connections: int, seconds: float) -> dict[str, float]:
    """Offer requests at a fixed rate; return what they cost all workers together."""
    pids = workers_of(running)
    async with pool(running.url, connections) as opened:
        client = Client(opened, running.key)

        async def ask() -> None:
            await client.answer(_BODY)

        await paced(ask, rate, connections, 1.0)
        before = sum(map(cpu_seconds, pids))
        done, took = await paced(ask, rate, connections, seconds)
        used = sum(map(cpu_seconds, pids)) - before
    return {"rate": done / took, "cpu_us": used / done * 1e6}


async def spread(running: Running, connections: int, seconds: float, *, keep_alive: bool) -> list[int]:
    """
    Load the workers with as many callers as `connections`, as fast as they go; return the requests of each worker.

    Args:
        keep_alive: each caller stays on its connection; otherwise each request has a new one.
    """
    found: Counter[str] = Counter()
    until = time.monotonic() + seconds

    async def ask(client: Client) -> None:
        status, request_id, content = await client.call(_BODY)
        if status != OK:
            raise RuntimeError(f"status {status}: {content[:200]!r}")
        found[request_id[:-_NUMBER]] += 1

    async def stay(client: Client) -> None:
        while time.monotonic() < until:
            await ask(client)

    async def come_and_go(_: Client) -> None:
        while time.monotonic() < until:
            async with pool(running.url, 1) as own:
                await ask(Client(own, running.key))

    caller: Callable[[Client], Awaitable[None]] = stay if keep_alive else come_and_go
    async with pool(running.url, connections) as opened:
        client = Client(opened, running.key)
        await asyncio.gather(*(caller(client) for _ in range(connections)))
    idle = len(workers_of(running)) - len(found)
    if idle < 0:
        raise RuntimeError("a worker was started anew meanwhile")
    return [found[worker] for worker in sorted(found)] + [0] * idle


def unevenness(counts: list[int]) -> float:
    """Return the share of the busiest, relative to an even one."""
    return max(counts) * len(counts) / max(1, sum(counts))


def measure(rate: float, seconds: float, turns: int, most: int) -> dict[str, Any]:
    """Run everything; return raw figures."""
    cpu: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    spreads: list[dict[str, Any]] = []
    with lab() as (upstream, _):
        for _ in range(turns):
            for workers, runs in cpu.items():
                with penstock(stack_text(upstream, workers=workers)) as running:
                    runs.append(uvloop.run(offered(running, rate, 32, seconds)))
        with penstock(stack_text(upstream, workers=most)) as running:
            for keep_alive in (True, False):
                for connections in (32, 256):
                    found = [uvloop.run(spread(running, connections, seconds, keep_alive=keep_alive)) for _ in range(3)]
                    spreads.append({"keep_alive": keep_alive, "connections": connections, "requests": found})
    return {"machine": machine(), "rate": rate, "cpu": {str(n): runs for n, runs in cpu.items()}, "spread": spreads}


def summary(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    cpu = {n: statistics.median(run["cpu_us"] for run in runs) for n, runs in figures["cpu"].items()}
    lines = [
        "| workers | CPU per request, median | of one worker's |",
        "|---|---|---|",
        *(f"| {n} | {value:.0f} µs | {value / cpu['1']:.2f} |" for n, value in cpu.items()),
        "",
        f"At {figures['rate']:.0f} requests/s over 32 connections.",
        "",
        "| connections | busiest worker, relative to an even share | requests of each worker |",
        "|---|---|---|",
    ]
    for row in figures["spread"]:
        kind = "kept alive" if row["keep_alive"] else "one request each"
        runs = row["requests"]
        uneven = ", ".join(f"{unevenness(counts):.2f}" for counts in runs)
        shares = "; ".join(
            "/".join(f"{100 * count / max(1, sum(counts)):.0f} %" for count in counts) for counts in runs
        )
        lines.append(f"| {row['connections']}, {kind} | {uneven} | {shares} |")
    return "\n".join([*lines, "", footer("make bench-workers")])


def main() -> int:
    """Entry of `python -m bench.workers`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=2000.0, help="requests per second offered")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run")
    parser.add_argument("--turns", type=int, default=5, help="runs with one worker and with two")
    parser.add_argument("--workers", type=int, default=3, help="among which connections spread")
    given = parser.parse_args()
    figures = measure(given.rate, given.seconds, given.turns, given.workers)
    write("workers", figures, summary(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
