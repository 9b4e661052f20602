"""
`make bench-usage`: how long a look at what was used takes, over a large ledger.

A ledger is filled with exchanges of thirty days, a thousand keys of fifty tenants and five models on a deployment
each, with two tags on every exchange: one of 147 teams, by its key, and one of three environments. Then `penstock up`
serves the admin API over it, as anybody would run it, and pages are asked for one after the other: everything; a
period whose ends lie within days, which are summed from the ledger's own rows; and the latest exchanges. Filling a
million rows takes some minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx

from bench.stack import footer, machine, write
from penstock.journal.records import Outcome, Settled
from penstock.lab.running import start
from penstock.records import ledger
from penstock.records.database import Database
from penstock.records.usage import DAY_NS
from penstock.types.home import Home
from penstock.types.usage import Usage, UsageSource

_DAYS, _KEYS, _TENANTS, _MODELS = 30, 1000, 50, 5
_USERS, _TEAMS, _ENVIRONMENTS = 200, 147, ("prod", "staging", "test")
_FIRST_DAY = 20_000
_BATCH = 1000
PAGES: Final = {
    "everything": "/admin/v1/usage",
    "one tenant": "/admin/v1/usage?tenant=tenant-7",
    "one tag, of a third of all": "/admin/v1/usage?tag=env%3Dprod",
    "from noon to noon, 28 days": (
        f"/admin/v1/usage?since={(_FIRST_DAY * 2 + 1) * 43_200}&until={(_FIRST_DAY * 2 + 57) * 43_200}"
    ),
    "the latest hundred exchanges": "/admin/v1/requests?limit=100",
}
STACK: Final = """\
version: 1
gateway: {listen: 127.0.0.1:0, ops: 127.0.0.1:0}
admin: {listen: 127.0.0.1:0}
"""


def exchanges(count: int, seed: int) -> Iterator[Settled]:
    """Yield exchanges as gateways settle them, in the order of their arrival."""
    draw = random.Random(seed)
    for number in range(count):
        key, model = draw.randrange(_KEYS), draw.randrange(_MODELS)
        yield Settled(
            id=f"req-{number:032x}",
            at_ns=_FIRST_DAY * DAY_NS + number * (_DAYS * DAY_NS // count),
            key=f"key{key:09d}",
            tenant=f"tenant-{key % _TENANTS}",
            model=f"model-{model}",
            operation="chat",
            stream=bool(number % 2),
            deployment=f"deployment-{model}",
            status=200,
            outcome=Outcome.ANSWERED,
            usage=Usage(draw.randrange(4000), draw.randrange(800), 0, UsageSource.UPSTREAM),
            cost_nano=draw.randrange(10**7),
            duration_ms=1200.0,
            first_content_ms=300.0,
            explanation=(("identity", f"key key{key:09d}"), ("route", f"model-{model}: deployment-{model}")),
            price=f"genai-prices 0.2.3 1f3a9c2{model}",
            user=f"tenant-{key % _TENANTS}/user-{key % _USERS}",
            tags=f"env={_ENVIRONMENTS[number % 3]},team=team-{key % _TEAMS}",
        )


async def fill(path: Path, count: int, seed: int) -> None:
    """Fill a new database as the fold does, in batches of a thousand."""
    database = await Database.open(path)
    batch: list[Settled] = []
    try:
        for number, exchange in enumerate(exchanges(count, seed), 1):
            batch.append(exchange)
            if len(batch) == _BATCH or number == count:
                async with database.write() as connection:
                    await ledger.add(connection, batch)
                batch = []
                print(f"\r{number:,} of {count:,} rows", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    finally:
        await database.close()


def measure(home: Home, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds of each look, by page."""
    with start(home.root, STACK), httpx.Client(transport=httpx.HTTPTransport(uds=str(home.admin_socket))) as client:
        figures: dict[str, list[float]] = {}
        for number in range(rounds + 1):
            for name, path in PAGES.items():
                began = time.perf_counter()
                client.get(f"http://localhost{path}", timeout=60).raise_for_status()
                if number:  # the first opens what the others find open
                    figures.setdefault(name, []).append((time.perf_counter() - began) * 1000)
        return figures


def main() -> int:
    """Entry of `python -m bench.usage`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        home = Home(Path(directory))
        began = time.perf_counter()
        asyncio.run(fill(home.database, given.rows, given.seed))
        filled_s = time.perf_counter() - began
        figures = measure(home, given.rounds)
    lines = ["| page | median, ms | least | most |", "|---|---|---|---|"]
    for name, values in figures.items():
        lines.append(f"| {name} | {statistics.median(values):.0f} | {min(values):.0f} | {max(values):.0f} |")
    said = f"A ledger of {given.rows:,} rows, {_DAYS} days, {_KEYS:,} keys, {_MODELS} models, {_TEAMS + 3} tags; "
    said += "SQLite, Unix socket."
    text = "\n".join(["# A look at what was used", "", *lines, "", said, footer("make bench-usage")])
    write("usage", {"rows": given.rows, "filled_s": filled_s, "ms": figures, "machine": machine()}, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
