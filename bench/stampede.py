"""
What it costs a miss of the exact cache to ask the node whether another worker asks the same.

A node in a process of its own, and one worker that misses each time, with a key that nobody else has: one miss after
the other, which is how long an exchange waits; and 32 at a time, which is what it costs in CPU at both ends, as what is
said in one turn of an event loop is one message. `python -m bench.stampede`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import multiprocessing
import os
import socket
import statistics
import sys
import time
from pathlib import Path

import uvloop

from penstock.gateway.cache.host.pilot import Pilot
from penstock.gateway.cache.host.question import HostLead
from penstock.gateway.cache.host.remote import Doors, remote
from penstock.gateway.cache.host.tower import Tower
from penstock.gateway.cache.store import Entry
from penstock.types.priority import Priority

TOGETHER = 32
ANSWER = Entry(0.0, b"x" * 400)


def _node(sock: socket.socket) -> None:
    async def serve() -> None:
        await Doors(Tower(time.monotonic)).serve(sock)
        await asyncio.Event().wait()

    uvloop.run(serve())


def _cpu_s(pid: int) -> float:
    """Return the CPU time of a process, to the nanosecond as the scheduler counts it."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


async def miss(pilot: Pilot, number: int) -> None:
    """Ask who leads, and lead."""
    key = b"tenant/%032d" % number
    lead = await pilot.join(key, -math.inf, 10.0, time.monotonic() + 60.0, Priority.NORMAL, 1 << 18)
    assert isinstance(lead, HostLead)
    lead.land(ANSWER, kept=True)


async def run(count: int) -> dict[str, float]:
    """Miss so often, one after the other and then together; return microseconds."""
    ours, theirs = socket.socketpair()
    node = multiprocessing.get_context("fork").Process(target=_node, args=(theirs,), daemon=True)
    node.start()
    theirs.close()
    assert node.pid is not None
    pilot = await remote(ours, time.monotonic, 5.0)
    times = []
    for number in range(count):
        began = time.perf_counter()
        await miss(pilot, number)
        times.append(time.perf_counter() - began)

    async def some(first: int) -> None:
        for number in range(first, first + count // TOGETHER):
            await miss(pilot, number)

    worker_s, node_s = _cpu_s(os.getpid()), _cpu_s(node.pid)
    await asyncio.gather(*(some((turn + 1) * count) for turn in range(TOGETHER)))
    total = count // TOGETHER * TOGETHER
    worker_s, node_s = _cpu_s(os.getpid()) - worker_s, _cpu_s(node.pid) - node_s
    node.kill()
    node.join()
    return {
        "p50_us": statistics.median(times) * 1e6,
        "p99_us": statistics.quantiles(times, n=100)[98] * 1e6,
        "worker_cpu_us": worker_s / total * 1e6,
        "node_cpu_us": node_s / total * 1e6,
    }


def main() -> int:
    """Entry of `python -m bench.stampede`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    print(json.dumps(uvloop.run(run(parser.parse_args().count)), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
