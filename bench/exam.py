"""
`make bench-exam`: the bundled models sit the exam through `penstock up`, and what their answers cost the engine.

The exam is `penstock evaluate`, as anybody would run it. Cost is CPU time of the engine's process, all it does for a
request included. Two exams tell what a token of a question and one of an answer cost: in the first, answers end after
one token. The work that a request causes whatever its length counts as the question's. Prices are that time at
`CORE_HOUR_USD`: tokens of this exam pay for just what it took, longer questions too much. Each model's figures go to
`bench/results/exam-NAME.json`, and what they say to `exam-NAME.md`, which its card quotes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from typing import Any, Final

import msgspec
import uvloop

from bench.client import Client, pool
from bench.stack import cpu_seconds, footer, machine, penstock, write
from penstock.bundled import MODELS
from penstock.lab.running import Running, free_port
from penstock.optimize.drills import FAMILIES
from penstock.optimize.drills.drill import LEVELS
from penstock.optimize.exam import Question, questions

CORE_HOUR_USD: Final = 0.04
"""A round figure for an hour of one rented core; only what follows from it, not the ratio of prices, depends on it."""
_PARALLEL: Final = 8


def stack_text() -> str:
    """Return a stack with all bundled models on free ports."""
    ports = [free_port() for _ in range(3)]
    engines = "\n".join(f'  {name}: {{engine: llama.cpp, weights: "bundled:{name}"}}' for name in MODELS)
    return f"""
version: 1
gateway: {{listen: 127.0.0.1:{ports[0]}, ops: 127.0.0.1:{ports[1]}}}
admin: {{listen: 127.0.0.1:{ports[2]}}}
deployments:
{engines}
models: {{{", ".join(f"{name}: {name}" for name in MODELS)}}}
"""


async def begun(running: Running, model: str, asked: list[Question]) -> tuple[int, int]:
    """Ask for the first token of each answer alone; returns the tokens of all questions, and those of the answers."""
    left = iter(asked)
    read = made = 0
    async with pool(running.url, _PARALLEL) as connections:
        client = Client(connections, running.key)

        async def caller() -> None:
            nonlocal read, made
            for question in left:
                messages = [msgspec.structs.asdict(each) for each in question.drill.messages]
                body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 1}
                usage = json.loads(await client.answer(json.dumps(body).encode()))["usage"]
                read, made = read + usage["prompt_tokens"], made + usage["completion_tokens"]

        await asyncio.gather(*(caller() for _ in range(_PARALLEL)))
    return read, made


def sat(running: Running, model: str, seed: int, count: int) -> dict[str, Any]:
    """Return what `penstock evaluate --json` says."""
    command = [sys.executable, "-m", "penstock.cli", "evaluate", model, "--home", str(running.home.root), "--json"]
    command += ["--seed", str(seed), "--count", str(count), "--parallel", str(_PARALLEL)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for row in found["results"]:
        del row["cost_usd"]  # at the price that an earlier measurement gave
    return found


def measure(running: Running, model: str, seed: int, count: int) -> dict[str, Any]:
    """Let one model sit the exam; returns its results, and seconds of CPU per token and per answer."""
    engine = running.pid_of(f"penstock engine {model}")
    # Another exam, since the engine remembers what it has just read; some questions of small families come again.
    asked = questions(list(FAMILIES), LEVELS, seed + 1, count)
    at_first = cpu_seconds(engine)
    read_once, made_once = uvloop.run(begun(running, model, asked))
    between = cpu_seconds(engine)
    exam = sat(running, model, seed, count)
    short, whole = between - at_first, cpu_seconds(engine) - between
    rows = [row for row in exam["results"] if row["family"] == "all"]
    read, made = (sum(row[key] for row in rows) for key in ("input_tokens", "output_tokens"))
    # short = read_once * a + made_once * b and whole = read * a + made * b.
    determinant = read_once * made - made_once * read
    per_read = (short * made - whole * made_once) / determinant
    per_made = (whole * read_once - short * read) / determinant
    answers = sum(row["total"] for row in rows)
    return {
        "exam": exam,
        "input_token_s": per_read,
        "output_token_s": per_made,
        "answer_s": whole / answers,
        "tokens_per_answer": [read / answers, made / answers],
        "price": {"input": usd_per_million(per_read), "output": usd_per_million(per_made)},
    }


def usd_per_million(token_s: float) -> float:
    """Return the price of a million tokens of which each takes so many seconds of a core, to two digits."""
    return float(f"{token_s * 1e6 / 3600 * CORE_HOUR_USD:.2g}")


def table(found: dict[str, Any], seed: int, count: int) -> str:
    """Return the results of one model as Markdown."""
    rows = {(row["family"], row["level"]): row for row in found["exam"]["results"]}
    lines = ["| family | easy | hard |", "|---|---|---|"]
    for family in (*FAMILIES, "all"):
        cells = " | ".join(_share(rows[family, level]) for level in LEVELS)
        lines.append(f"| {family} | {cells} |")
    read, made = found["tokens_per_answer"]
    read_us, made_us = found["input_token_s"] * 1e6, found["output_token_s"] * 1e6
    price = found["price"]
    asked = [each.drill.messages for each in questions(list(FAMILIES), LEVELS, seed, count)]
    lines.append(
        f"""
Share of right answers, with its 95 % interval, of {count} questions in each cell (`--seed {seed}`,
{_PARALLEL} at a time). Of all {len(asked)} questions {len(set(asked))} are different: the small families have no more.

An answer took {found["answer_s"] * 1000:.2f} ms of one core on average, for {read:.0f} tokens of question and
{made:.1f} of answer: a token of a question {read_us:.0f} µs, one of an answer {made_us:.0f} µs. With an hour of a core
at {CORE_HOUR_USD} USD that is {price["input"]} USD for a million tokens of questions and {price["output"]} USD for a
million of answers.

{footer("make bench-exam")}"""
    )
    return "\n".join(lines)


def _share(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return f"{100 * row['share']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def main() -> int:
    """Entry of `python -m bench.exam`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the exam (default 1)")
    parser.add_argument("--count", type=int, default=200, help="questions of each family and level (default 200)")
    given = parser.parse_args()
    with penstock(stack_text()) as running:
        for model in MODELS:
            print(f"{model} sits the exam", file=sys.stderr)
            found = measure(running, model, given.seed, given.count)
            figures = {**found, "core_hour_usd": CORE_HOUR_USD, "machine": machine()}
            write(f"exam-{model}", figures, table(found, given.seed, given.count))
    return 0


if __name__ == "__main__":
    sys.exit(main())
