"""
`make soak`: 50,000 requests and 5,000 streams that their clients abandon, through one gateway worker.

The worker's memory is read after a warm-up and at the end; more than 10 % growth fails. The upstream is the lab's.
The curve is written to `bench/results/soak.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from bench.client import Client, chat_body, pool
from penstock.lab.running import Running, free_port, resident_bytes, start

RESULTS = Path(__file__).parent / "results"
GROWTH_ALLOWED = 0.10
_CONNECTIONS = 32
_SAMPLES = 40


def stack_text(upstream: str) -> str:
    """Return a stack whose only model is the lab upstream."""
    ports = [free_port() for _ in range(3)]
    return f"""
version: 1
gateway: {{listen: 127.0.0.1:{ports[0]}, ops: 127.0.0.1:{ports[1]}}}
admin: {{listen: 127.0.0.1:{ports[2]}}}
deployments:
  lab: {{provider: openai, base_url: "{upstream}/v1", model: lab, price: {{input: 1, output: 2}}}}
models:
  chat: {{targets: [lab]}}
"""


async def soak(penstock: Running, requests: int, streams: int) -> dict[str, Any]:
    """Run the load; return figures and the memory curve."""
    worker = penstock.pid_of("penstock gateway 0")
    curve: list[tuple[int, int]] = []
    failures: list[str] = []
    async with pool(penstock.url, _CONNECTIONS * 2) as connections:
        client = Client(connections, penstock.key)
        plain = chat_body("one two three four five six seven eight")
        endless = chat_body('lab: {"events": 200, "delay_between": "5ms"}', stream=True)

        async def one_plain() -> None:
            status, _, content = await client.call(plain)
            if status != 200:
                failures.append(f"{status}: {content[:200]!r}")

        async def one_abandoned() -> None:
            if await client.leave_after(endless, 3) == 0:
                failures.append("a stream brought nothing")

        done = 0

        async def many(total_plain: int, total_streams: int) -> None:
            nonlocal done
            left = [total_plain, total_streams]

            async def runner() -> None:
                nonlocal done
                while left[0] > 0 or left[1] > 0:
                    # Ten requests to each abandoned stream, as long as there are both.
                    if left[1] > 0 and left[0] <= left[1] * (total_plain / max(1, total_streams)):
                        left[1] -= 1
                        await one_abandoned()
                    elif left[0] > 0:
                        left[0] -= 1
                        await one_plain()
                    else:
                        left[1] -= 1
                        await one_abandoned()
                    done += 1
                    if done % step == 0:
                        curve.append((done, resident_bytes(worker)))

            await asyncio.gather(*(runner() for _ in range(_CONNECTIONS)))

        step = max(1, (requests + streams) // _SAMPLES)
        await many(requests // 10, streams // 10)
        warm = resident_bytes(worker)
        warm_at = done
        began = time.monotonic()
        await many(requests, streams)
        seconds = time.monotonic() - began
    return {
        "requests": requests,
        "abandoned_streams": streams,
        "seconds": round(seconds, 1),
        "failures": len(failures),
        "first_failures": failures[:5],
        "warm_bytes": warm,
        "end_bytes": resident_bytes(worker),
        "growth": round(resident_bytes(worker) / warm - 1, 4),
        "warm_after": warm_at,
        "curve": curve,
    }


def main() -> int:
    """Entry of `python -m bench.soak`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--streams", type=int, default=5_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        lab = subprocess.Popen(
            [sys.executable, "-m", "penstock.lab.upstream", "--listen", "127.0.0.1:0", "--json"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert lab.stdout is not None
            address = json.loads(lab.stdout.readline())["url"]
            with start(Path(directory), stack_text(address), environ={"PENSTOCK_LOG_LEVEL": "warning"}) as penstock:
                figures = uvloop.run(soak(penstock, given.requests, given.streams))
        finally:
            lab.terminate()
            lab.wait()
            if lab.stdout is not None:
                lab.stdout.close()
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "soak.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps({name: value for name, value in figures.items() if name != "curve"}, indent=1))
    if figures["failures"]:
        print("FAILED: some requests were not answered")
        return 1
    if figures["growth"] > GROWTH_ALLOWED:
        print(f"FAILED: the worker grew by {figures['growth']:.1%}, more than {GROWTH_ALLOWED:.0%}")
        return 1
    print(f"passed: the worker's memory changed by {figures['growth']:+.1%} after warm-up")
    return 0


if __name__ == "__main__":
    sys.exit(main())
