"""
`make fuzz`: every target in turn, each for an equal share of the time, each in a process of its own.

What is found is saved in `.fuzz/findings`, with the command that runs it again; the exit status is then 1. Inputs that
reached something new are kept in `.fuzz/corpus` for the next run.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import importlib.util
import sys
import traceback
from pathlib import Path

from tools.fuzz.runner import Result, run_all
from tools.fuzz.targets import TARGETS

FOLDER = Path(".fuzz")
FINDINGS = FOLDER / "findings"


def main() -> int:
    """Fuzz, or run one saved input again."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="in all, shared by the targets (default: 10)")
    parser.add_argument("--only", choices=TARGETS, action="append", help="this target; may be given several times")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time (default: 1)")
    parser.add_argument("--plain", action="store_true", help="without coverage; so it is where atheris is missing")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one saved input and say what it shows")
    given = parser.parse_args()
    if given.replay is not None:
        return replay(given.replay, given.only[0] if given.only else given.replay.name.partition("-")[0])
    plain = given.plain or importlib.util.find_spec("atheris") is None
    if plain:
        print("Without atheris: inputs are mutated blindly.")
    names = given.only or list(TARGETS)
    jobs = min(max(1, given.jobs), len(names))
    seconds = max(1, round(given.minutes * 60 * jobs / len(names)))
    FINDINGS.mkdir(parents=True, exist_ok=True)
    try:
        results = asyncio.run(run_all(names, seconds, jobs, FOLDER, plain=plain))
    except KeyboardInterrupt:
        print("\nInterrupted.")
        return 130
    return summary(results)


def replay(file: Path, name: str) -> int:
    """Run an input in this process."""
    if name not in TARGETS:
        print(f"{file} does not say its target: add --only and one of {', '.join(TARGETS)}.", file=sys.stderr)
        return 2
    faulthandler.dump_traceback_later(30, exit=True, file=2)  # the input may be a hang
    loop = asyncio.new_event_loop()
    try:
        TARGETS[name].open(loop)(file.read_bytes())
    except Exception:  # noqa: BLE001  whatever comes out is the finding
        traceback.print_exc()
        return 1
    finally:
        loop.close()
        faulthandler.cancel_dump_traceback_later()
    print(f"{name}: nothing is wrong with this input.")
    return 0


def summary(results: list[Result]) -> int:
    """Print a table, and the findings; return the exit status."""
    print(f"\n{'target':<10}{'seconds':>9}{'inputs':>12}{'inputs/s':>10}{'coverage':>10}  result")
    for each in results:
        rate = round(each.runs / each.seconds) if each.seconds else 0
        verdict = "FOUND" if each.found else "nothing found"
        print(f"{each.name:<10}{each.seconds:>9.0f}{each.runs:>12,}{rate:>10,}{each.coverage or '-':>10}  {verdict}")
    for each in results:
        if each.found:
            print(f"\n{each.name}: {each.found}")
        for saved in each.saved:
            print(f'  run it again with: make fuzz ARGS="--replay {saved}"')
    return 1 if any(each.found for each in results) else 0


if __name__ == "__main__":
    sys.exit(main())
