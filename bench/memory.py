"""
`make bench-memory`: resident memory of a worker with 1,000 keys over a million requests, and how soon one is ready.

The requests are plain ones and a few streams, from all keys in turn. Start-up is from the moment a killed worker's
successor is executed to its `Ready`, as the node sees it, several times.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import sys
import time
from itertools import cycle
from pathlib import Path
from typing import Any

import uvloop

from bench.client import Client, chat_body, pool
from bench.stack import MIB, footer, lab, machine, make_keys, penstock, samples, stack_text, workers_of, write
from penstock.lab.running import Running, resident_bytes

_CONNECTIONS = 32
_STREAMS = 20  # every so many-th request is a stream
_POINTS = 20
_TICKS = os.sysconf("SC_CLK_TCK")
_UP = 'penstock_process_up{process="gateway 0"}'
_ANSWERS_S = 60.0


async def load(running: Running, keys: list[str], requests: int) -> list[list[float]]:
    """Make so many requests; return how many there had been and the worker's resident MiB, now and then."""
    (worker,) = workers_of(running)
    plain, stream = chat_body("one two three four five six seven eight"), chat_body("one two three", stream=True)
    curve: list[list[float]] = []
    async with pool(running.url, _CONNECTIONS) as connections:
        clients = cycle([Client(connections, key) for key in keys])
        left = iter(range(requests))
        step = max(1, requests // _POINTS)

        async def caller() -> None:
            for number in left:
                if number % step == 0:
                    curve.append([number, round(resident_bytes(worker) / MIB, 1)])
                await next(clients).answer(plain if number % _STREAMS else stream)

        await asyncio.gather(*(caller() for _ in range(_CONNECTIONS)))
    curve.append([requests, round(resident_bytes(worker) / MIB, 1)])
    return curve


def start_s(running: Running) -> float:
    """Kill the worker; return how long its successor took from exec to ready."""
    (worker,) = workers_of(running)
    os.kill(worker, signal.SIGKILL)
    until = time.monotonic() + _ANSWERS_S
    while True:
        ready = samples(running).get(_UP)
        now = time.clock_gettime(time.CLOCK_BOOTTIME)
        found = [pid for pid in workers_of(running) if pid != worker]
        if ready and found:
            return now - _started(found[0])
        if time.monotonic() > until:
            raise RuntimeError("no new worker")
        time.sleep(0.002)  # the metric that says so can only be asked for


def _started(pid: int) -> float:
    """Return when a process was started, in seconds since the machine was; exact to a tick of 10 ms."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]) / _TICKS


def measure(requests: int, keys: int, starts: int) -> dict[str, Any]:
    """Run everything; return raw figures."""
    with lab() as (upstream, _), penstock(stack_text(upstream)) as running:
        made = make_keys(running, keys)
        curve = uvloop.run(load(running, made, requests))
        seconds = [round(start_s(running), 3) for _ in range(starts)]
    return {"machine": machine(), "keys": keys, "requests": requests, "resident_mib": curve, "start_s": seconds}


def summary(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    curve, starts = figures["resident_mib"], figures["start_s"]
    middle = curve[len(curve) // 2]
    ready = f"{statistics.median(starts):.2f} s ({min(starts):.2f} to {max(starts):.2f})"
    lines = [
        "| what | |",
        "|---|---|",
        f"| resident memory of a worker with {figures['keys']:,} keys | {curve[0][1]:.0f} MiB |",
        f"| after {middle[0]:,} requests | {middle[1]:.1f} MiB |",
        f"| after {curve[-1][0]:,} requests | {curve[-1][1]:.1f} MiB |",
        f"| from exec to ready, median of {len(starts)} (range) | {ready} |",
    ]
    return "\n".join([*lines, "", footer("make bench-memory")])


def main() -> int:
    """Entry of `python -m bench.memory`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=1_000)
    parser.add_argument("--starts", type=int, default=7)
    given = parser.parse_args()
    figures = measure(given.requests, given.keys, given.starts)
    write("memory", figures, summary(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
