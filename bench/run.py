"""
`make bench`: the figures of the README, measured on this machine by running `penstock up` as a user would.

Start-up time is from the command to the ready line with an empty data directory, several times; memory is the resident
size of each process after the load; tokens per second are those that clients receive from `bundled:mini`, for one
client and for eight at once. Medians and ranges go to `bench/results/readme.json` and, as a table, to `readme.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop
import xllamacpp

from bench.client import Client, chat_body, pool
from bench.stack import MIB, machine, write
from penstock.lab.running import Running, free_port, resident_bytes, start

_QUESTIONS = [f"What is {a} + {b}?" for a, b in ((27, 45), (12, 34), (56, 17), (80, 11), (23, 39), (64, 18))]
_TOPIC = "Topic of this message: my parcel has not arrived and the tracking page shows nothing new since Monday."


def stack_text() -> str:
    """Return a stack with `mini` alone on free ports."""
    ports = [free_port() for _ in range(3)]
    return f"""
version: 1
gateway: {{listen: 127.0.0.1:{ports[0]}, ops: 127.0.0.1:{ports[1]}}}
admin: {{listen: 127.0.0.1:{ports[2]}}}
deployments:
  mini: {{engine: llama.cpp, weights: "bundled:mini"}}
models:
  chat: {{targets: [mini]}}
"""


async def decode_speed(penstock: Running, streams: int, seconds: float) -> float:
    """Return the output tokens per second that `streams` clients receive together, as the engine counts them."""
    tokens = 0
    async with pool(penstock.url, streams) as connections:
        client = Client(connections, penstock.key)
        # Longer answers than the tasks need: sampling goes on past the end so that decoding is what is measured.
        body = chat_body(_TOPIC, max_tokens=256, ignore_eos=True, temperature=0)
        status, _, content = await client.call(body)
        assert status == 200, content
        began = time.monotonic()
        until = began + seconds

        async def caller() -> None:
            nonlocal tokens
            while time.monotonic() < until:
                status, _, content = await client.call(body)
                assert status == 200, content
                tokens += json.loads(content)["usage"]["completion_tokens"]

        await asyncio.gather(*(caller() for _ in range(streams)))
        return tokens / (time.monotonic() - began)


async def latency(penstock: Running, calls: int) -> list[float]:
    """Return the seconds of short questions, one after the other."""
    async with pool(penstock.url, 1) as connections:
        client = Client(connections, penstock.key)
        seconds = []
        for number in range(calls):
            began = time.monotonic()
            status, _, content = await client.call(chat_body(_QUESTIONS[number % len(_QUESTIONS)], temperature=0))
            assert status == 200, content
            seconds.append(time.monotonic() - began)
        return seconds


def measure(starts: int, seconds: float) -> dict[str, Any]:
    """Run everything; return raw figures."""
    start_s: list[float] = []
    figures: dict[str, Any] = {}
    for number in range(starts):
        print(f"start {number + 1} of {starts}", file=sys.stderr)
        with (
            tempfile.TemporaryDirectory() as directory,
            start(Path(directory), stack_text(), environ={"PENSTOCK_LOG_LEVEL": "error"}) as penstock,
        ):
            start_s.append(penstock.ready_s)
            if number == starts - 1:
                figures["latency_s"] = uvloop.run(latency(penstock, 60))
                figures["tokens_per_s"] = {
                    str(streams): [uvloop.run(decode_speed(penstock, streams, seconds)) for _ in range(3)]
                    for streams in (1, 8)
                }
                figures["memory_mib"] = {
                    "penstock node": resident_bytes(penstock.process.pid) / MIB,
                    **{child.title: resident_bytes(child.pid) / MIB for child in penstock.processes()},
                }
    figures["start_s"] = start_s
    figures["machine"] = {**machine(), "xllamacpp": xllamacpp.__version__}
    return figures


def table(figures: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    machine = figures["machine"]
    rows = [
        ("start to ready line, empty data directory", _spread(figures["start_s"], "s")),
        ("one short question to `mini`, through the gateway", _spread([s * 1000 for s in figures["latency_s"]], "ms")),
        ("`mini`, output tokens per second, 1 client", _spread(figures["tokens_per_s"]["1"], "")),
        ("`mini`, output tokens per second, 8 clients", _spread(figures["tokens_per_s"]["8"], "")),
        *((f"resident memory, `{title}`", f"{mib:.0f} MiB") for title, mib in figures["memory_mib"].items()),
        ("resident memory, all", f"{sum(figures['memory_mib'].values()):.0f} MiB"),
    ]
    lines = ["| what | median (range) |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    lines.append("")
    lines.append(
        f"Penstock {machine['penstock']}, Python {machine['python']}, xllamacpp {machine['xllamacpp']}, "
        f"{machine['cores']} cores of {machine['cpu']}. Repeat with `make bench`."
    )
    return "\n".join(lines)


def _spread(values: list[float], unit: str) -> str:
    median, low, high = statistics.median(values), min(values), max(values)
    digits = 2 if median < 10 else 0
    return f"{median:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f})".replace("  ", " ")


def main() -> int:
    """Entry of `python -m bench.run`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each decoding run")
    given = parser.parse_args()
    figures = measure(given.starts, given.seconds)
    write("readme", figures, table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
