"""
`make bench-counters`: what counting in another place costs a request, and what a hundred thousand keys cost.

A worker's store is asked for one limit and for eight limits with three budgets, one question after the other: in this
process, of the node's end in another process over its socket, and of a Redis. Then requests come at a steady rate, as
`gateway.admission` handles them, and it is counted how many of them were decided on a lease. Last, keys: what each adds
to a worker's memory, and for how long a change of one holds up a worker and control.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import multiprocessing
import socket
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from bench.stack import footer, machine, write
from penstock.auth import keys as auth
from penstock.control.publish import Published
from penstock.counters.counter import Ask, Counter, Kind, Refusal, Return, Store
from penstock.counters.desk import Desk
from penstock.counters.leases import SWEEP_S, Lease, Leases
from penstock.counters.local import Local
from penstock.counters.remote import Remote
from penstock.counters.shared import Shared
from penstock.counters.sums import Sums
from penstock.counters.tally import Tally
from penstock.gateway.identity.caller import Callers
from penstock.lab.servers import RedisServer
from penstock.snapshot.file import Reader
from penstock.snapshot.packed import PackedPrincipals, pack
from penstock.snapshot.principals import KeyRecord, Principals

_LIMITS = [Counter(f"rpm {n}", Kind.RATE, 10**9) for n in range(3)]
_LIMITS += [Counter(f"tpm {n}", Kind.RATE, 10**12) for n in range(3)]
_LIMITS += [Counter(f"places {n}", Kind.LEVEL, 10**6) for n in range(2)]
_BUDGETS = [Counter(f"budget {n}", Kind.SUM, 10**15, "b") for n in range(3)]


def _node(sock: socket.socket) -> None:
    """Be the node for one worker, until it has gone."""

    async def serve() -> None:
        await Desk(Tally(time.monotonic)).serve(sock)
        await asyncio.Event().wait()

    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve())


@asynccontextmanager
async def stores() -> AsyncIterator[dict[str, Store]]:
    """Yield a store of each kind."""
    ours, theirs = socket.socketpair()
    node = multiprocessing.get_context("fork").Process(target=_node, args=(theirs,), daemon=True)
    node.start()
    theirs.close()
    with RedisServer() as redis:
        sums = await Sums.open(redis.url)
        await sums.replace({"b": 0}, [], {}, [])
        shared = Shared.begin(lambda: redis.url, "worker", lambda: ("", 0), time.monotonic, 5.0, 30.0)
        remote = await Remote.open(ours, time.monotonic, 5.0)
        try:
            yield {
                "in process": Local(Tally(time.monotonic)),
                "the node's socket": remote,
                "Redis": shared,
            }
        finally:
            remote.close()
            await shared.aclose()
            sums.close()
            node.kill()
            node.join()


async def asked(store: Store, counters: Sequence[Counter], count: int) -> dict[str, float]:
    """Ask so often, and give back; return microseconds: wall time of a question, and CPU of this process for all."""
    asks = [Ask(counter, 1, 1) for counter in counters]
    returns = [Return(counter, 1, 0) for counter in counters]
    times = []
    while True:
        with contextlib.suppress(Exception):
            await store.take(asks)
            break
        await asyncio.sleep(0.01)
    gc.collect()
    began = time.process_time()
    for _ in range(count):
        at = time.perf_counter()
        answer = await store.take(asks)
        times.append(time.perf_counter() - at)
        if isinstance(answer, Refusal):
            raise TypeError("there is room for all")
        store.give(returns)
    cpu = time.process_time() - began
    parts = statistics.quantiles(times, n=100)
    return {"p50_us": parts[49] * 1e6, "p99_us": parts[98] * 1e6, "cpu_us": cpu / count * 1e6}


async def _taken(leases: Leases, held: list[Lease], amounts: list[int]) -> bool:
    """Take amounts, and tell whether that was decided on leases."""
    if leases.spend(held, amounts):
        return True
    if isinstance(await leases.take(held, amounts), Refusal):
        raise TypeError("there is room for all")
    return False


async def leased(store: Store, per_second: int, seconds: float) -> dict[str, float]:
    """Handle requests at a steady rate; return the share that was decided on leases, and microseconds for each."""
    leases = Leases(store, time.monotonic, asyncio.sleep)
    held = [Lease(*_LIMITS[:3]), Lease(*_LIMITS[3:6]), Lease(*_LIMITS[6:])]
    purse = Lease(*_BUDGETS)
    times, on_lease, swept = [], 0, time.monotonic()
    began = time.monotonic()
    for number in range(int(per_second * seconds)):
        due = began + number / per_second
        await asyncio.sleep(due - time.monotonic())
        now = time.monotonic()
        if now - swept > SWEEP_S:
            swept = now
            leases.sweep()
        at = time.perf_counter()
        on_lease += await _taken(leases, held, [1, 1000, 1]) & await _taken(leases, [purse], [1000])
        leases.release(held[1], 1000, 400, held[1].slot)
        leases.release(held[2], 1)
        leases.settle(purse, 1000, 400)
        times.append(time.perf_counter() - at)
    leases.close()
    parts = statistics.quantiles(times, n=100)
    return {"on_lease": on_lease / len(times), "p50_us": parts[49] * 1e6, "p99_us": parts[98] * 1e6}


def key_costs(count: int) -> dict[str, float]:
    """Return what so many keys cost: bytes for each in a worker, milliseconds of a change and of taking all in."""
    records = []
    for number in range(count):
        name = f"{number:012d}"
        records.append(KeyRecord(name, auth.digest(b"p" * 32, name.encode()), f"tenant-{number % 1000}"))
    changes = {record.id: record for record in records[:1000]}
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        principals, base = Published(home, Principals), Published(home, PackedPrincipals)
        began = time.perf_counter()
        packed = pack(1, records)
        packing = time.perf_counter() - began

        async def publish() -> float:
            await base.replace(packed)
            began = time.perf_counter()
            await principals.replace(Principals(principals.next_version, {**changes}, 1))
            return time.perf_counter() - began

        control = asyncio.run(publish())
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        kept = Reader(home, PackedPrincipals).changed()
        gc.collect()
        memory = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        readers = Reader(home, Principals), Reader(home, PackedPrincipals)
        began = time.perf_counter()
        all_again = readers[1].changed()
        whole = time.perf_counter() - began
        began = time.perf_counter()
        again = readers[0].changed()
        if again is None or all_again is None or kept is None:
            raise TypeError("just published")
        callers = Callers(again.keys, kept)
        change = time.perf_counter() - began
        began = time.perf_counter()
        for record in records[1000:11_000]:
            callers.find(record.id.encode())
        first = (time.perf_counter() - began) / 10_000
    return {
        "keys": count,
        "bytes_per_key": memory / count,
        "pack_ms": packing * 1e3,
        "control_ms": control * 1e3,
        "worker_ms": change * 1e3,
        "worker_base_ms": whole * 1e3,
        "first_us": first * 1e6,
    }


async def measure(count: int, seconds: float) -> dict[str, Any]:
    """Measure all of it."""
    found: dict[str, Any] = {"machine": machine(), "asked": {}, "leased": {}}
    async with stores() as places:
        for name, store in places.items():
            found["asked"][name] = {
                "one limit": await asked(store, _LIMITS[:1], count),
                "eight limits, three budgets": await asked(store, [*_LIMITS, *_BUDGETS], count),
            }
        for name, store in places.items():
            found["leased"][name] = await leased(store, 500, seconds)
    return found


def summary(figures: dict[str, Any]) -> str:
    """Say it in Markdown."""
    lines = [
        f"| {name} | {what} | {row['p50_us']:.0f} | {row['p99_us']:.0f} | {row['cpu_us']:.0f} |"
        for name, rows in figures["asked"].items()
        for what, row in rows.items()
    ]
    leases = [
        f"| {name} | {row['on_lease'] * 100:.1f} % | {row['p50_us']:.1f} | {row['p99_us']:.0f} |"
        for name, row in figures["leased"].items()
    ]
    keys = figures["keys"]
    return f"""# Counting in another place

Microseconds of a question and its answer, one after the other; CPU of the worker, giving back included.

| who counts | what | p50 | p99 | CPU |
|---|---|---|---|---|
{chr(10).join(lines)}

500 requests a second under eight limits and three budgets, giving back included, microseconds.

| who counts | on a lease | p50 | p99 |
|---|---|---|---|
{chr(10).join(leases)}

With {keys["keys"]:,} keys, each takes {keys["bytes_per_key"]:.0f} bytes of a worker's memory, and its first request
costs {keys["first_us"]:.0f} us more. A change takes control {keys["control_ms"]:.1f} ms to publish and holds up a
worker for {keys["worker_ms"]:.1f} ms, where there are 1,000 since the last base. A new base, after each 1,000 changes,
takes control {keys["pack_ms"]:.0f} ms, in a thread, and holds up a worker for {keys["worker_base_ms"]:.1f} ms.

{footer("make bench-counters")}
"""


def main() -> int:
    """Entry of `python -m bench.counters`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--keys", type=int, default=100_000)
    given = parser.parse_args()
    figures = uvloop.run(measure(given.count, given.seconds))
    figures["keys"] = key_costs(given.keys)
    write("counters", figures, summary(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
