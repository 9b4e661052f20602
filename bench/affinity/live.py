"""
Two real engines behind a gateway, asked about documents that many questions have in common.

Each way gets a stack of its own, `penstock up` with two llama.cpp replicas of the bundled `mini`, and the same
questions in the same order. What the engines had read before is what they say themselves: `usage` with `cached_tokens`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from random import Random
from typing import Any

import uvloop

from bench.client import Client, pool
from bench.stack import penstock
from penstock.lab.running import Running, free_port
from penstock.snapshot.config import Balance

WAYS = ((Balance.ROUND_ROBIN, 1), (Balance.LEAST_OUTSTANDING, 1), (Balance.PEAK_EWMA, 1), (Balance.SESSION, 1),
        (Balance.PREFIX, 1), (Balance.PREFIX, 2))  # fmt: skip
DOCUMENTS = (16, 48)
QUESTIONS = 8  # of each document
CALLERS = 4
_SENTENCES = 60


def stack_text(balance: Balance, workers: int) -> str:
    """Return a stack whose model `chat` is two replicas, balanced so."""
    ports = [free_port() for _ in range(3)]
    return f"""
version: 1
gateway: {{listen: 127.0.0.1:{ports[0]}, ops: 127.0.0.1:{ports[1]}, workers: {workers}}}
admin: {{listen: 127.0.0.1:{ports[2]}}}
deployments:
  mini: {{engine: llama.cpp, weights: bundled:mini, replicas: 2, balance: {balance}}}
models:
  chat: {{targets: [mini]}}
"""


def questions(documents: int, each: int, seed: int = 1) -> list[bytes]:
    """Return requests: so many questions about each of so many documents, shuffled."""
    random = Random(seed)  # the same each time
    texts = []
    for number in range(documents):
        rules = (f"Rule {number}: valve {random.randrange(1000)} opens at noon. " for _ in range(_SENTENCES))
        texts.append("".join(rules))
    made = [
        {
            "model": "chat",
            "messages": [
                {"role": "system", "content": texts[number]},
                {"role": "user", "content": f"What is {turn} + {random.randrange(100)}?"},
            ],
            "user": f"reader {number}",
            "max_tokens": 4,
            "temperature": 0,
        }
        for number in range(documents)
        for turn in range(each)
    ]
    random.shuffle(made)
    return [json.dumps(body).encode() for body in made]


async def ask(running: Running, bodies: list[bytes], callers: int) -> dict[str, Any]:
    """Let some callers ask everything; returns tokens read and known before, and how long the answers took."""
    usage, took_s = list[dict[str, Any]](), list[float]()
    left = iter(bodies)

    async def caller(client: Client) -> None:
        for body in left:
            began = time.perf_counter()
            answer = await client.answer(body)
            took_s.append(time.perf_counter() - began)
            usage.append(json.loads(answer)["usage"])

    async with pool(running.url, callers) as connections:
        # Each caller on a connection of its own, so that they are spread over the workers.
        await asyncio.gather(*(caller(Client(connections, running.key)) for _ in range(callers)))
    return {
        "tokens": sum(each["prompt_tokens"] for each in usage),
        "cached": sum(each["prompt_tokens_details"]["cached_tokens"] for each in usage),
        "mean_s": statistics.fmean(took_s),
        "p50_s": statistics.median(took_s),
        "p90_s": statistics.quantiles(took_s, n=10)[-1],
    }


def measure(documents: int, each: int = QUESTIONS) -> list[dict[str, Any]]:
    """Return what was found of each way."""
    found = []
    bodies = questions(documents, each)
    for balance, workers in WAYS:
        print(f"{documents} documents, {balance}, {workers} workers", file=sys.stderr)
        with penstock(stack_text(balance, workers)) as running:
            figures = uvloop.run(ask(running, bodies, CALLERS))
        found.append({"balance": str(balance), "workers": workers, "documents": documents, **figures})
    return found


def table(found: list[dict[str, Any]]) -> str:
    """Return it as Markdown."""
    lines = [
        "| documents | `balance` | known to the engine | mean, ms | p50, ms | p90, ms |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        ways = f"`{row['balance']}`" + (f", {row['workers']} workers" if row["workers"] > 1 else "")
        times = " | ".join(f"{row[key] * 1000:.0f}" for key in ("mean_s", "p50_s", "p90_s"))
        lines.append(f"| {row['documents']} | {ways} | {100 * row['cached'] / row['tokens']:.1f} % | {times} |")
    return "\n".join(lines)
