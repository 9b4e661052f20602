"""`make bench-gateway`: measure the gateways in turns and write `bench/results/gateway.{json,md,svg}`."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from bench.gateway import plot, report
from bench.gateway.errors import Unavailable, reason
from bench.gateway.measure import Bench, Figures, ceilings, measure
from bench.gateway.peers import PEERS
from bench.gateway.penstocks import EVERYTHING, PARTS
from bench.gateway.serving import Gateway

RESULTS = Path(__file__).parents[1] / "results"
_BUSY = 0.5  # load average of a machine that has something else to do

GATEWAYS: tuple[Gateway, ...] = (*PEERS, *PARTS, *EVERYTHING)


def main() -> int:
    """Run from the repository's root."""
    parser = argparse.ArgumentParser(prog="make bench-gateway", description=__doc__)
    names = [gateway.name for gateway in GATEWAYS]
    parser.add_argument("--peers", help=f"which, separated by commas: {', '.join(names)}", default=",".join(names))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each load, in whole seconds")
    parser.add_argument("--minutes", type=float, default=18, help="no round begins that would end later than this")
    parser.add_argument("--quick", action="store_true", help="one round of one second: does it work?")
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory for the results")
    given = parser.parse_args()
    wanted = given.peers.split(",")
    if unknown := set(wanted) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    rounds, seconds = (1, 1) if given.quick else (max(1, given.rounds), max(1, given.seconds))
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        parser.error("two cores are needed: one for the gateway, one for the load")
    os.environ["PATH"] += ":/usr/sbin"  # where Debian has nginx, out of sight of everybody but root
    for tool in ("wrk", "nginx"):
        if shutil.which(tool) is None:
            parser.error(f"{tool} is missing; `make setup-bench` installs it or says how")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of every `finally`
    load_average = os.getloadavg()[0]
    if load_average > _BUSY:
        _say(f"this machine is busy (load average {load_average:.1f}); the figures will say little")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        bench = Bench(Path(directory), cores[0], cores[1], seconds)
        chosen = [gateway for gateway in GATEWAYS if gateway.name in wanted]
        try:
            results = _run(chosen, bench, rounds, began + 60 * given.minutes)
        except Unavailable as error:
            _say(f"the upstreams and the load do not work here: {error}")
            return 1
    flags = sys.argv[1:]
    results["run"] = {
        "command": "make bench-gateway" + (f' ARGS="{" ".join(flags)}"' if flags else ""),
        "rounds": len(results["direct"]),
        "load_average": round(load_average, 2),
        "seconds": seconds,
        "pinned": {"gateway": cores[0], "load": cores[1]},
        "took_s": round(time.monotonic() - began),
        **report.machine(),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "gateway.json").write_text(json.dumps(results, indent=1) + "\n")
    text = report.markdown(results)
    (given.out / "gateway.md").write_text(text)
    (given.out / "gateway.svg").write_text(plot.svg(results))
    print(text)
    return 0


def _run(gateways: list[Gateway], bench: Bench, rounds: int, deadline: float) -> dict[str, Any]:
    """
    Measure in rounds, each in another order; a gateway that fails once is left out from then on, with its reason.

    A round that would probably end after the deadline (of the monotonic clock) is not begun.
    """
    failures: dict[str, str] = {}
    for gateway in gateways:
        try:
            gateway.install()
        except Unavailable as error:
            _fail(failures, gateway, error)
    found: dict[str, list[Figures]] = {gateway.name: [] for gateway in gateways}
    direct: list[Figures] = []
    order = list(gateways)
    chance = random.Random(1)
    longest_s = 0.0
    for number in range(rounds):
        began = time.monotonic()
        if began + longest_s > deadline and number:
            _say(f"no time for round {number + 1} of {rounds}")
            break
        chance.shuffle(order)
        _say(f"round {number + 1} of {rounds}: the upstreams alone")
        direct.append(ceilings(bench))
        for gateway in order:
            if gateway.name in failures:
                continue
            _say(f"round {number + 1} of {rounds}: {gateway.name}")
            try:
                figures = measure(gateway, bench)
            except (Unavailable, OSError, ValueError, msgspec.MsgspecError) as error:
                _fail(failures, gateway, error)
                continue
            found[gateway.name].append(figures)
            _say(f"  {_brief(figures)}")
        longest_s = max(longest_s, time.monotonic() - began)
    return {
        "gateways": [
            {
                "name": gateway.name,
                "title": gateway.title,
                "about": gateway.about,
                "rust": gateway.rust,
                "failure": failures.get(gateway.name),
                "remark": bench.remarks.get(gateway.name),
                "rounds": found[gateway.name],
            }
            for gateway in gateways
        ],
        "direct": direct,
    }


def _fail(failures: dict[str, str], gateway: Gateway, error: Exception) -> None:
    failures[gateway.name] = reason(str(error))
    _say(f"  {gateway.name} is left out: {failures[gateway.name]}")


def _brief(figures: Figures) -> str:
    wanted = ("rps_1", "rps_32", "rps_256", "cpu_us_32", "added_p99_us", "events_per_s", "event_cpu_us", "ready_s")
    shown = ((name, figures.get(name)) for name in wanted)
    return ", ".join(f"{name} {value:.4g}" for name, value in shown if value is not None)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # all that was started has been ended on the way here
        sys.exit(130)
