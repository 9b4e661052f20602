"""Starts a process for each target, follows what it says, and keeps the result."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

_PROGRESS = re.compile(r"#(\d+)\s.*?(?:cov: (\d+).*?)?exec/s: (\d+)")
_TOTAL = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_ERROR = re.compile(r"^(?:[\w.]*(?:Error|Finding|Exception|Failed|Warning)\b.*|ERROR: libFuzzer: .*)")
_REPORT_S = 10.0  # between progress lines where they are not written over each other
_KEPT = 40  # lines of a process that are shown when it fails


@dataclass
class Result:
    """
    What became of one target.

    Attributes:
        runs: inputs.
        coverage: edges of watched code that were reached; 0 when that is not known.
        found: what went wrong, in a line; empty when nothing did.
        saved: files with the inputs that show it.
    """

    name: str
    seconds: float = 0.0
    runs: int = 0
    rate: int = 0
    coverage: int = 0
    found: str = ""
    saved: list[Path] = field(default_factory=list)


async def run_all(names: list[str], seconds: int, jobs: int, folder: Path, *, plain: bool) -> list[Result]:
    """Fuzz each target for some seconds, `jobs` at a time."""
    slots = asyncio.Semaphore(jobs)
    results = [Result(name) for name in names]
    end = time.monotonic() + seconds * -(-len(names) // jobs)

    async def one(result: Result) -> None:
        async with slots:
            await _run(result, seconds, folder, end, plain=plain)

    await asyncio.gather(*(one(result) for result in results))
    return results


async def _run(result: Result, seconds: int, folder: Path, end: float, *, plain: bool) -> None:
    prefix = folder / "findings" / f"{result.name}-"
    command = [sys.executable, "-m", "tools.fuzz.child", result.name, f"--seconds={seconds}"]
    command += [f"--corpus={folder / 'corpus' / result.name}", f"--findings={prefix}", *(["--plain"] if plain else [])]
    before = set(prefix.parent.glob(f"{prefix.name}*"))
    begin = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, limit=1 << 24
    )
    assert process.stdout is not None
    said: list[str] = []
    try:
        told = begin
        async for raw in process.stdout:
            line = raw.decode("utf-8", "replace").rstrip()
            if match := _PROGRESS.match(line):
                result.runs, result.rate = int(match[1]), int(match[3])
                result.coverage = int(match[2] or result.coverage)
                now = time.monotonic()
                if now - told >= _REPORT_S:
                    told = now
                    _tell(result, end - now)
            elif total := _TOTAL.match(line):
                result.runs = int(total[1])
            else:
                said = [*said[1 - _KEPT :], line]
                if not result.found and _ERROR.match(line):
                    result.found = line
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    result.seconds = time.monotonic() - begin
    result.saved = sorted(set(prefix.parent.glob(f"{prefix.name}*")) - before)
    if status == 0 and not result.saved:
        result.found = ""
        return
    result.found = result.found or f"the process ended with status {status}"
    print("\n".join(f"  | {line[:400]}" for line in said), flush=True)


def _tell(result: Result, left: float) -> None:
    minutes, seconds = divmod(max(0, round(left)), 60)
    coverage = f", coverage {result.coverage}" if result.coverage else ""
    print(
        f"{result.name:<10}{result.runs:>10,} inputs, {result.rate:,}/s{coverage}, {minutes}:{seconds:02} left",
        flush=True,
    )
