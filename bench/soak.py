"""
`make soak`: hours of production in 20 minutes. Plain requests and streams at half of what this client can offer, 10 %
left by their client, 5 % to an upstream that cuts, stalls, resets, answers nonsense or fails, through `penstock up`.
What is good is asked in every dialect, translated and not, of upstreams of two kinds; some answers are kept, some are
copied. Of the faults a part is among good answers, the rest keeps a breaker busy.

It fails when an answer is wrong or when something leaks: resident memory, descriptors, tasks, slots, exchanges in
progress. Memory is compared between the second quarter of the time and the last; the others have to come back to where
they were before the load. Figures go to `bench/results/soak.json`, what they say to `soak.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from bench.client import CHAT, MESSAGES, OK, RESPONSES, Client, chat_body, paced, pool, response_body
from bench.stack import MIB, descriptors, footer, lab, machine, penstock, samples, total, workers_of, write
from penstock.lab.running import Running, free_port, resident_bytes
from penstock.types.errors import PenstockError

GROWTH_ALLOWED = 0.05
CANCELLED, FAULTS, STREAMS = 0.10, 0.05, 0.5
_CALLERS = 128
_CEILING_CALLERS = 32
_SAMPLES = 20
_QUIET_S = 90.0  # idle connections to an upstream are kept for 30 s
_LEVELS = ("penstock_tasks", "penstock_connections", "penstock_slots_in_use", "penstock_exchanges_in_progress")
_OPENED = "penstock_breaker_changes_total"
_SPARE = {"descriptors": 4, "penstock_tasks": 2}
"""How far above the beginning a level may be at the end: a document being read, a sweep under way."""

_FAULTS = {
    "500": '{"status": 500}',
    "429": '{"status": 429, "retry_after": 1}',
    "reset before the head": '{"cut": "before_head", "cut_with": "rst"}',
    "cut in the body": '{"events": 9, "cut_after": N}',
    "reset in the body": '{"events": 9, "cut_after": N, "cut_with": "rst"}',
    "stall before the head": '{"stall": "before_head"}',
    "stall in the body": '{"events": 9, "stall_after": N}',
    "malformed head": '{"broken": "status_line"}',
    "malformed chunk": '{"events": 9, "broken": "chunk_size", "broken_after": N}',
    "malformed event": '{"events": 9, "broken": "event", "broken_after": N}',
    "garbage": '{"status": 200, "body": "garbage"}',
}
"""Orders to the lab; N is how many events of a stream are whole. A plain answer has only one."""

_WORDS = "one two three four five six seven eight"
_KEPT = 500  # questions to the model with a cache, which keeps the answers to each for a minute
_ENDS = {CHAT: b"data: [DONE]\n\n", MESSAGES: b"event: message_stop", RESPONSES: b"event: response.completed"}
"""What begins the last event of a stream."""


def stack(upstream: str, workers: int) -> str:
    """Return a stack whose models have a part each: a plain one, failing ones, other dialects, a cache, a shadow."""
    ports = [free_port() for _ in range(3)]
    price = "price: {input: 1, output: 2}"
    timeout = "timeout: {first_token: 2s, total: 5s}"
    return f"""
version: 1
gateway: {{listen: 127.0.0.1:{ports[0]}, ops: 127.0.0.1:{ports[1]}, workers: {workers}}}
admin: {{listen: 127.0.0.1:{ports[2]}}}
deployments:
  lab: {{provider: openai, base_url: "{upstream}/v1", model: chat, {price}}}
  other: {{provider: anthropic, base_url: "{upstream}/v1", api_key: "${{LAB_KEY}}", model: chat, {price}}}
  dying: {{provider: openai, base_url: "{upstream}/v1", model: chat, {price}}}
  dead: {{provider: openai, base_url: "http://127.0.0.1:9/v1", model: chat, {price}}}
models:
  chat: {{targets: [lab], {timeout}}}
  claude: {{targets: [other], {timeout}}}
  faulty: {{targets: [dying], {timeout}}}
  covered: {{targets: [dead], fallback: [lab], {timeout}}}
  kept: {{targets: [lab], policies: kept, {timeout}}}
  watched: {{targets: [lab], shadow: {{deployment: other, share: 50%}}, {timeout}}}
policies:
  kept: {{cache: {{ttl: 1m}}}}
"""


class Load:
    """
    The mixture of requests. Drawn with a fixed seed; used from one event loop.

    Attributes:
        outcomes: how many of each kind there were, and how those with faults ended.
        wrong: answers that should have been good.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._random = random.Random(7)
        self._good = [
            (path, stream, body(_WORDS, model=model, stream=stream, **cap))
            for path, body, cap in (
                (CHAT, chat_body, {}),
                (MESSAGES, chat_body, {"max_tokens": 64}),
                (RESPONSES, response_body, {}),
            )
            for model in ("chat", "claude", "covered", "watched", "kept")
            for stream in (False, True)
        ]
        self._slow = chat_body('lab: {"delay": "500ms"}')
        self._endless = chat_body('lab: {"events": 200, "delay_between": "5ms"}', stream=True)
        self._broken = {
            (name, stream, model): chat_body(
                "lab: " + order.replace("N", "3" if stream else "0"), model=model, stream=stream
            )
            for name, order in _FAULTS.items()
            for stream in (False, True)
            for model in (("faulty",) if name == "429" else ("faulty", "chat", "chat"))  # all wait where one got a 429
        }
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def good(self) -> None:
        """Ask for an answer that has to be right."""
        path, stream, body = self._random.choice(self._good)
        body = body.replace(b"eight", b"%d" % self._random.randrange(_KEPT))
        status, headers, content = await self._client.exchange(body, path)
        self.outcomes["good stream" if stream else "good plain"] += 1
        if b"x-penstock-cache" in headers:
            self.outcomes[f"cache: {headers[b'x-penstock-cache'].decode()}"] += 1
        last = content.rstrip().rpartition(b"\n\n")[2]
        if status != OK or (stream and not last.startswith(_ENDS[path].rstrip())):
            self.wrong.append(f"{path.decode()} {status}: {content[-200:]!r}")

    async def any(self) -> None:
        """Ask for an answer, or leave before it has come, or meet a fault."""
        chance = self._random.random()
        if chance < CANCELLED:
            await self._leave()
        elif chance < CANCELLED + FAULTS:
            await self._fail()
        else:
            await self.good()

    async def _leave(self) -> None:
        if self._random.random() < STREAMS:
            self.outcomes["left stream"] += 1
            if not await self._client.leave_after(self._endless, 3):
                self.wrong.append("a stream brought nothing")
        else:
            self.outcomes["left plain"] += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await self._client.call(self._slow)

    async def _fail(self) -> None:
        name, stream, _ = key = self._random.choice(list(self._broken))
        try:
            status, _, content = await self._client.call(self._broken[key])
        except PenstockError as error:
            self.wrong.append(f"{name}: {error}")  # whatever the upstream does, clients get a whole answer
            return
        self.outcomes[f"fault: {name}, {'stream' if stream else 'plain'}: {status}"] += 1
        if status == OK and (not stream or content.endswith(b"data: [DONE]\n\n")):
            self.wrong.append(f"{name}: ended as if all were well")


class Levels:
    """What must not grow, sampled on the way."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._workers = workers_of(running)
        self._began = time.monotonic()
        self.curve: list[dict[str, float]] = []

    def look(self) -> dict[str, float]:
        """Return the levels now, in all workers together."""
        seen = samples(self._running)
        return {
            "second": round(time.monotonic() - self._began, 1),
            "resident_mib": round(sum(map(resident_bytes, self._workers)) / MIB, 1),
            "descriptors": sum(map(descriptors, self._workers)),
            **{name: total(seen, name) for name in _LEVELS},
        }

    async def sample(self, every_s: float) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(every_s)
            self.curve.append(await asyncio.to_thread(self.look))

    async def quiet(self, before: dict[str, float]) -> tuple[dict[str, float], list[str]]:
        """Wait until all is as it was; return the last look, and what was not."""
        until = time.monotonic() + _QUIET_S
        while True:
            now = await asyncio.to_thread(self.look)
            names = ("descriptors", *_LEVELS)
            left = [name for name in names if now[name] > before[name] + _SPARE.get(name, 0)]
            if not left or time.monotonic() > until:
                return now, [f"{name}: {before[name]:g} before, {now[name]:g} after" for name in left]
            await asyncio.sleep(1)


async def soak(running: Running, minutes: float, ceiling_s: float) -> dict[str, Any]:
    """Run the load; return the figures."""
    levels = Levels(running)
    async with pool(running.url, 1) as connections:
        client = Client(connections, running.key)
        for model in ("chat", "claude", "kept", "watched"):
            await client.answer(chat_body(_WORDS, model=model))
    await asyncio.sleep(2)  # metrics are sent once a second
    before = await asyncio.to_thread(levels.look)
    async with pool(running.url, _CALLERS * 2) as connections:
        load = Load(Client(connections, running.key, timeout_s=60))
        done, took = await _ceiling(load.good, ceiling_s)
        ceiling = done / took
        load.outcomes.clear()
        print(f"ceiling: {ceiling:.0f} requests/s of good ones; {minutes:g} minutes at half of it", file=sys.stderr)
        sampler = asyncio.create_task(levels.sample(minutes * 60 / _SAMPLES))
        try:
            done, _ = await paced(load.any, ceiling / 2, _CALLERS, minutes * 60)
        finally:
            sampler.cancel()
    after, leaks = await levels.quiet(before)
    resident = [point["resident_mib"] for point in levels.curve]
    quarter = max(1, len(resident) // 4)
    early, late = statistics.median(resident[quarter : 2 * quarter] or resident), statistics.median(resident[-quarter:])
    growth = late / early - 1
    if growth > GROWTH_ALLOWED:
        leaks.append(f"resident memory: {early:.1f} MiB in the second quarter, {late:.1f} MiB in the last")
    return {
        "machine": machine(),
        "minutes": minutes,
        "ceiling_per_s": round(ceiling, 1),
        "offered_per_s": round(done / minutes / 60, 1),
        "requests": done,
        "outcomes": dict(sorted(load.outcomes.items())),
        "wrong": len(load.wrong),
        "first_wrong": load.wrong[:5],
        "breakers_opened": await asyncio.to_thread(opened, running),
        "leaks": leaks,
        "growth": round(growth, 4),
        "before": before,
        "after": after,
        "curve": {name: [point[name] for point in levels.curve] for name in before},
    }


def opened(running: Running) -> dict[str, float]:
    """Return how often the breakers of each deployment opened."""
    changes = {key: count for key, count in samples(running).items() if key.startswith(_OPENED)}
    names = {re.search(r'deployment="([^"]+)"', key): count for key, count in changes.items() if '"open"' in key}
    return {name[1]: count for name, count in names.items() if name}


async def _ceiling(ask: Callable[[], Awaitable[None]], seconds: float) -> tuple[int, float]:
    """Ask as fast as the answers come; return how many came in how many seconds."""
    began, done = time.monotonic(), 0

    async def caller() -> None:
        nonlocal done
        while time.monotonic() - began < seconds:
            await ask()
            done += 1

    await asyncio.gather(*(caller() for _ in range(_CEILING_CALLERS)))
    return done, time.monotonic() - began


def summary(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    outcomes = figures["outcomes"]
    faults = sum(count for name, count in outcomes.items() if name.startswith("fault"))
    left = sum(count for name, count in outcomes.items() if name.startswith("left"))
    before, after = figures["before"], figures["after"]
    middle = {name: curve[len(curve) // 2] for name, curve in figures["curve"].items()}
    share = 100 / figures["requests"]
    story = (
        f"{figures['minutes']:g} minutes, {figures['requests']:,} requests at {figures['offered_per_s']:.0f}/s, half "
        f"of the {figures['ceiling_per_s']:.0f}/s that the client reached: {share * left:.1f} % left by their client, "
        f"{share * faults:.1f} % to a faulty upstream. {figures['wrong']} wrong answers, {len(figures['leaks'])} leaks."
    )
    breakers = ", ".join(f"{name} {count:.0f}" for name, count in figures["breakers_opened"].items())
    lines = [
        story,
        "",
        f"Breakers opened, by deployment: {breakers}.",
        "",
        "| level, all workers | before | half-way | after |",
        "|---|---|---|---|",
        *(
            f"| {name} | {before[key]:g} | {middle[key]:g} | {after[key]:g} |"
            for name, key in (
                ("resident memory, MiB", "resident_mib"),
                ("open descriptors", "descriptors"),
                ("tasks", "penstock_tasks"),
                ("client connections", "penstock_connections"),
                ("slots in use", "penstock_slots_in_use"),
                ("exchanges in progress", "penstock_exchanges_in_progress"),
            )
        ),
        "",
        f"Memory, second quarter to last: {figures['growth']:+.1%}.",
        "",
        footer("make soak"),
    ]
    return "\n".join(lines)


def main() -> int:
    """Entry of `python -m bench.soak`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--ceiling", type=float, default=10.0, help="seconds of the measurement of the ceiling")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    with lab() as (upstream, _), penstock(stack(upstream, given.workers), environ={"LAB_KEY": "any"}) as running:
        figures = uvloop.run(soak(running, given.minutes, given.ceiling))
    write("soak", figures, summary(figures))
    for problem in (*figures["leaks"], *figures["first_wrong"]):
        print(f"FAILED: {problem}")
    return 1 if figures["leaks"] or figures["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
