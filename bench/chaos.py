"""
`make chaos`: a hundred kills under load, and every cent and every place accounted for.

Clients ask `penstock up`, with two workers, limits and budgets, for plain answers and streams; some leave early, and
for some the upstream refuses, fails, breaks off or says nothing until time is up. At random moments a process is killed
with SIGKILL: a worker, control, or the node, which is started again. With `--shared` counters are in a Redis that keeps
nothing on disk and the ledger in a PostgreSQL, and these are killed and started again too. With `--hosts`, which is
`--shared` with more, half of the clients ask a second host, with two workers of its own, that has joined control and
whose node is killed too. In the end:

- every answer that a client has had whole is in the ledger, once, with the cost its header told;
- nothing is open: what was under way in a killed worker is `lost`;
- what the budget has left is the budget less the sum of the ledger, to the nano-dollar;
- as many requests are let in at the same time as the limit says.

Until the node starts anew a budget may have less left than that, by one exchange for each kill, never more: what a
worker told the node and had no time to write down counts. The seed decides the kills and the requests; when they meet
is up to the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import uvloop

from bench.client import OK, UNAVAILABLE, Client, chat_body, pool
from bench.stack import footer, lab, machine, stack_text, write
from penstock.lab.running import Running, free_port, start
from penstock.lab.servers import PostgresServer, RedisServer
from penstock.pricing.price import NANO_PER_USD, usd
from penstock.types.errors import PenstockError

_CALLERS = 18
_PLACES = 24
_BUDGET_USD = 1000
_NODE_SHARE = 0.1  # of the kills
_SERVER_SHARE = 0.2  # with `--shared`, of both together
_VICTIMS = ("penstock gateway", "penstock control")
_PATIENCE_S = 60  # for control to start again after the last kill
_LENT_S = 1.0  # after so long without load no worker has anything of a budget for itself
_MODEL = ", policies: all, timeout: {first_token: 300ms, total: 2s}"
_POLICIES = f"""\
policies:
  all:
    limits:
      - {{per: key, requests_per_minute: 1000000, tokens_per_minute: 1000000000, concurrency: {_PLACES}}}
    budgets:
      - {{per: tenant, amount_usd: {_BUDGET_USD}, period: total}}
      - {{per: key, amount_usd: {_BUDGET_USD}, period: total}}
"""
_SHARED = 'state: {counters: "${REDIS_URL}", database: "${DATABASE_URL}"}\n'
_PLAIN = 'lab: {"delay": "20ms"} one two three'
_STREAM = 'lab: {"events": 12, "delay_between": "10ms"}'
_FAULTS = tuple(
    f"lab: {order}"
    for order in (
        '{"status": 400}',
        '{"status": 500}',
        '{"status": 429}',
        '{"cut": "in_head"}',
        '{"body": "garbage"}',
        '{"events": 9, "cut_after": 0}',
        '{"stall": "before_head"}',
    )
)
_STALL = 'lab: {"stall": "before_head"}'


class Load:
    """
    Clients that ask until they are told to stop. Used from one event loop.

    Attributes:
        had: cost in nano-dollars of every answer that came whole, by its id; None for streams, whose header has none.
        ends: how requests ended.
    """

    def __init__(self, urls: Sequence[str], key: str, seed: int) -> None:
        self._urls = urls
        self._key = key
        self._random = random.Random(seed)
        self._stopped = asyncio.Event()
        self.had: dict[str, int | None] = {}
        self.ends: Counter[str] = Counter()

    async def run(self) -> None:
        """Ask until `stop`."""
        async with AsyncExitStack() as opened:
            pools = [await opened.enter_async_context(pool(url, _CALLERS * 2)) for url in self._urls]
            clients = cycle([Client(connections, self._key, timeout_s=10.0) for connections in pools])
            await asyncio.gather(*(self._caller(next(clients)) for _ in range(_CALLERS)))

    def stop(self) -> None:
        """Let every caller end with its request."""
        self._stopped.set()

    async def _caller(self, client: Client) -> None:
        while not self._stopped.is_set():
            chance = self._random.random()
            try:
                if chance < 0.1:
                    await client.leave_after(chat_body(_STREAM, stream=True, max_tokens=50), 3)
                    self.ends["left"] += 1
                elif chance < 0.2:
                    fault, stream = self._random.choice(_FAULTS), chance < 0.15
                    status, _, _ = await client.exchange(chat_body(fault, stream=stream, max_tokens=50))
                    self.ends[f"fault, {status}"] += 1
                else:
                    await self._ask(client, stream=chance < 0.6)
            except (PenstockError, TimeoutError) as error:
                self.ends[type(error).__name__] += 1
                await asyncio.sleep(0.01)  # nobody listens, perhaps

    async def _ask(self, client: Client, *, stream: bool) -> None:
        body = chat_body(_STREAM if stream else _PLAIN, stream=stream, max_tokens=50)
        status, headers, content = await client.exchange(body)
        self.ends[f"{status}"] += 1
        whole = content.endswith(b"data: [DONE]\n\n") if stream else True
        if status == OK and whole:
            cost = headers.get(b"x-penstock-cost-usd")
            self.had[headers[b"x-request-id"].decode()] = None if cost is None else nano(cost.decode())


def nano(dollars: str) -> int:
    """Return dollars as a header writes them in nano-dollars."""
    whole, _, rest = dollars.partition(".")
    return int(whole) * NANO_PER_USD + int(rest.ljust(9, "0"))


class Place:
    """
    Where a Penstock runs, and what it keeps.

    Args:
        servers: the Redis and the PostgreSQL that it uses, if it does.
    Attributes:
        host: the second host, if there is one.
    """

    def __init__(self, home: Path, stack: str, servers: tuple[RedisServer, PostgresServer] | None = None) -> None:
        self.home = home
        self.host: Running | None = None
        self._host_stack = ""
        self._stack = stack
        self.servers = servers or ()
        self._environ: dict[str, str] = {}
        self._database = ""
        if servers is not None:
            redis, postgres = servers
            self._database = postgres.make()
            self._environ = {"REDIS_URL": redis.url, "DATABASE_URL": postgres.url(self._database)}

    def start(self) -> Running:
        """Start Penstock."""
        return start(self.home, self._stack, environ=self._environ)

    def join(self, control: Running) -> None:
        """Start the second host."""
        home = self.home / "second"
        if not self._host_stack:
            home.mkdir(mode=0o700)
            shutil.copy(self.home / "secret.key", home)
            ports = [free_port() for _ in range(2)]
            self._host_stack = (
                f"version: 1\ngateway: {{listen: 127.0.0.1:{ports[0]}, ops: 127.0.0.1:{ports[1]}, workers: 2}}\n"
            )
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(control.home.admin_socket))) as client:
                wanted = {"kind": "admin", "role": "gateway", "name": "second"}
                made = client.post("http://localhost/admin/v1/keys", json=wanted).json()
            self._environ["PENSTOCK_JOIN_KEY"] = made["key"]
        command = ("gateway", "--join", control.admin_url)
        self.host = start(home, self._host_stack, environ=self._environ, command=command)

    def rows(self) -> tuple[dict[str, tuple[str, int]], int]:
        """Return outcome and cost of every exchange in the ledger that was not refused, and how many are open."""
        ledger = "SELECT request_id, outcome, cost_nano FROM ledger WHERE outcome <> 'refused'"
        count = "SELECT COUNT(*) FROM opened"
        found: Iterable[Sequence[Any]]
        if self.servers:
            postgres = self.servers[1]
            found = [line.split("|") for line in postgres.tell(ledger, self._database).splitlines()]
            opened = int(postgres.tell(count, self._database))
        else:
            with contextlib.closing(sqlite3.connect(self.home / "penstock.db")) as database:
                found = database.execute(ledger).fetchall()
                (opened,) = database.execute(count).fetchone()
        return {request_id: (outcome, int(cost)) for request_id, outcome, cost in found}, opened


async def kill(running: Running, place: Place, draw: random.Random) -> tuple[str, Running]:
    """Kill one of the processes that are up; start the node again when it was that, or a server."""
    if place.servers and draw.random() < _SERVER_SHARE:
        server = draw.choice(place.servers)
        server.kill()
        await asyncio.sleep(draw.uniform(0.0, 0.5))
        await asyncio.to_thread(server.start)
        return type(server).__name__, running
    others = [child for child in running.processes() if child.title.startswith(_VICTIMS)]
    if place.host is not None:
        others += [child for child in place.host.processes() if child.title.startswith(_VICTIMS)]
        if draw.random() < _NODE_SHARE / 2:
            os.kill(place.host.process.pid, signal.SIGKILL)
            await asyncio.to_thread(place.host.stop)
            await asyncio.to_thread(place.join, running)
            return "node of the second host", running
    if others and draw.random() >= _NODE_SHARE:
        victim = draw.choice(sorted(others, key=lambda child: child.title))
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
        return victim.title.removeprefix("penstock "), running
    os.kill(running.process.pid, signal.SIGKILL)
    await asyncio.to_thread(running.stop)
    return "node", await asyncio.to_thread(place.start)


async def remaining(running: Running, key: str) -> tuple[int, int]:
    """Ask once more, when budgets can be told again; return what was left before it, and what the request cost."""
    body = chat_body("one", max_tokens=1)
    held = (len(body) * NANO_PER_USD + 2 * NANO_PER_USD) // 1_000_000  # the stack's prices: 1 and 2 dollars
    async with pool(running.url, 1) as connections:
        for _ in range(_PATIENCE_S):
            status, headers, content = await Client(connections, key).exchange(body)
            if status != UNAVAILABLE:
                break
            await asyncio.sleep(1.0)
    if status != OK:
        raise RuntimeError(f"the last request got {status}: {content[:200]!r}")
    return nano(headers[b"x-penstock-budget-remaining-usd"].decode()) + held, nano(
        headers[b"x-penstock-cost-usd"].decode()
    )


async def places(running: Running, key: str) -> int:
    """Return how many of many requests at the same time are let in."""
    async with pool(running.url, 3 * _PLACES) as connections:
        client = Client(connections, key)
        asking = [asyncio.create_task(client.exchange(chat_body(_STALL, max_tokens=1))) for _ in range(3 * _PLACES)]
        refused = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                for done in asyncio.as_completed(asking):
                    refused += (await done)[0] == 429
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return len(asking) - refused


async def folded(running: Running) -> None:
    """Wait until control answers and has folded what there is."""
    transport = httpx.AsyncHTTPTransport(uds=str(running.home.admin_socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for _ in range(600):
            with contextlib.suppress(httpx.HTTPError):
                if (await client.get("/admin/v1/usage", timeout=30)).status_code == OK:
                    return
            await asyncio.sleep(0.1)
    raise RuntimeError("control does not answer")


async def taken(host: Running) -> None:
    """Wait until control has all that the second host has written."""
    async with httpx.AsyncClient() as client:
        for _ in range(600):
            link = (await client.get(f"{host.ops_url}/readyz", timeout=30)).json()["uplink"]
            if link["reachable"] and not link["waiting_bytes"]:
                return
            await asyncio.sleep(0.1)
    raise RuntimeError("control does not take the journal of the second host")


async def chaos(place: Place, kills: int, seed: int, *, hosts: bool) -> dict[str, Any]:
    """Do it all; return the figures, with what is wrong under `problems`."""
    draw = random.Random(seed)
    running = await asyncio.to_thread(place.start)
    key, victims, began = running.key, Counter[str](), time.monotonic()
    if hosts:
        await asyncio.to_thread(place.join, running)
    load = Load([running.url, *([place.host.url] if place.host else [])], key, seed)
    loading = asyncio.create_task(load.run())
    try:
        for number in range(kills):
            await asyncio.sleep(draw.uniform(0.1, 0.8))
            victim, running = await kill(running, place, draw)
            victims[victim] += 1
            print(f"\r{number + 1} of {kills} kills, {len(load.had)} answers", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        await asyncio.sleep(2.0)
        load.stop()
        await loading
        await asyncio.sleep(_LENT_S)
        left, cost = await remaining(running, key)
        await folded(running)
        if place.host is not None:
            await taken(place.host)
        before = sum(paid for _, paid in place.rows()[0].values()) - cost
        early = _BUDGET_USD * NANO_PER_USD - before - left
        if place.host is not None:
            await asyncio.to_thread(place.host.stop)
        await asyncio.to_thread(running.stop)
        running = await asyncio.to_thread(place.start)
        left, cost = await remaining(running, key)
        admitted = await places(running, key)
        await folded(running)
        await asyncio.to_thread(running.stop)
    finally:
        loading.cancel()
        running.process.kill()
        if place.host is not None:
            place.host.process.kill()
    found, opened = place.rows()
    spent = sum(paid for _, paid in found.values())
    problems = [f"{name} is not in the ledger" for name in load.had if name not in found]
    problems += [
        f"{name} was told to cost {wanted} and is in the ledger with {found[name]}"
        for name, wanted in load.had.items()
        if name in found and (found[name][0] != "answered" or wanted not in (None, found[name][1]))
    ]
    if opened:
        problems.append(f"{opened} exchanges are still open")
    dearest = max((paid for _, paid in found.values()), default=0)
    if early > kills * dearest:  # a worker tells and writes one after the other, so a kill parts one exchange at most
        problems.append(f"the budget had {early} nano-dollars less left than the ledger says")
    if early < 0:
        problems.append(f"the budget had {-early} nano-dollars more left than the ledger says")
    if left != _BUDGET_USD * NANO_PER_USD - (spent - cost):
        problems.append(f"the budget had {usd(left)} left where the ledger has spent {usd(spent - cost)}")
    if admitted != _PLACES:
        problems.append(f"{admitted} requests were let in at the same time, not {_PLACES}")
    return {
        "machine": machine(),
        "kills": dict(victims),
        "seconds": round(time.monotonic() - began, 1),
        "answers": len(load.had),
        "ends": dict(load.ends),
        "ledger": dict(Counter(outcome for outcome, _ in found.values())),
        "spent_nano": spent,
        "unwritten_nano": early,
        "problems": problems,
    }


def summary(figures: dict[str, Any], command: str) -> str:
    """Say it in Markdown."""
    killed = ", ".join(f"{name} {count}" for name, count in sorted(figures["kills"].items()))
    ledger = ", ".join(f"{name} {count:,}" for name, count in sorted(figures["ledger"].items()))
    verdict = "All is accounted for." if not figures["problems"] else "NOT all is accounted for."
    return f"""# Kills under load

{sum(figures["kills"].values())} kills in {figures["seconds"]:.0f} s: {killed}. {verdict}

| | |
|---|---|
| exchanges | {sum(figures["ledger"].values()):,} |
| answers that clients had whole | {figures["answers"]:,} |
| the ledger | {ledger} |
| spent, USD | {usd(figures["spent_nano"])} |
| counted by the node and not written down, before its last start, USD | {usd(figures["unwritten_nano"])} |

{footer(command)}
"""


def main() -> int:
    """Entry of `python -m bench.chaos`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shared", action="store_true", help="with a Redis and a PostgreSQL, killed too")
    parser.add_argument("--hosts", action="store_true", help="with these, and a second host that joins, killed too")
    given = parser.parse_args()
    with lab() as (upstream, _), tempfile.TemporaryDirectory() as directory:
        stack = stack_text(upstream, workers=2, model=_MODEL) + _POLICIES
        with contextlib.ExitStack() as servers:
            if given.shared or given.hosts:
                stack += _SHARED
                place = Place(
                    Path(directory),
                    stack,
                    (servers.enter_context(RedisServer()), servers.enter_context(PostgresServer())),
                )
            else:
                place = Place(Path(directory), stack)
            figures = uvloop.run(chaos(place, given.kills, given.seed, hosts=given.hosts))
    kind = "hosts" if given.hosts else "shared" if given.shared else ""
    command = f'make chaos ARGS="--{kind}"' if kind else "make chaos"
    write(f"chaos-{kind}" if kind else "chaos", figures, summary(figures, command))
    for problem in figures["problems"][:20]:
        print(f"FAILED: {problem}")
    return 1 if figures["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
