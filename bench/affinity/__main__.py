"""
`python -m bench.affinity`: what balancing by prompts and by sessions is worth.

Simulated on a Mooncake trace (`--trace`, or PENSTOCK_MOONCAKE_TRACE; without it that part is skipped), measured on two
real engines, and what a choice costs. Writes `bench/results/affinity.md` and `.json`.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.affinity import cost, live
from bench.affinity.simulation import MADE_S, READ_S, SEATS, Outcome, Setting, Simulation, ideal
from bench.affinity.trace import TOKEN_BYTES, Request, requests
from bench.stack import footer, machine, write
from penstock.gateway.routing.prompts import UNKNOWN
from penstock.gateway.routing.ways import WAYS
from penstock.snapshot.config import Balance

REPLICAS = (4, 8)
CACHES = (131_072, 524_288, 2_097_152)  # tokens
LOADS = (0.5, 1.0, 1.5)
_WARM_LOAD = 0.5
_ENVIRONMENT = "PENSTOCK_MOONCAKE_TRACE"
_COLUMNS: dict[str, tuple[Balance | None, int, float]] = {
    **{str(way): (way, 1, 0.0 if way is not Balance.PREFIX else 1.0) for way in Balance},
    "prefix, cache not known": (Balance.PREFIX, 1, math.inf),
    "prefix, no memory": (Balance.PREFIX, 1, 0.0),
    "prefix, 4 workers": (Balance.PREFIX, 4, 1.0),
    "clairvoyant": (None, 1, 0.0),
}
"""The way, by how many workers, and what they remember as a multiple of their share of a replica's cache."""


def timed(some: Sequence[Request], load: float, replicas: int, after_s: float = 0.0) -> list[tuple[float, Request]]:
    """
    Return when requests come, so that reading all of them would take the replicas `load` of the time.

    Above 1 they keep up only with what is in their caches.
    """
    first = some[0].at_s
    lasts_s = some[-1].at_s - first
    scale = load * replicas * lasts_s / (sum(request.read for request in some) * READ_S)
    return [(after_s + (request.at_s - first) / scale, request) for request in some]


def simulate(
    warm: Sequence[Request], asked: Sequence[Request], setting: Setting, load: float, way: Balance | None
) -> Outcome:
    """Return what comes of one way: the caches are filled with `warm`, at half load, and `asked` counts."""
    before = timed(warm, _WARM_LOAD, setting.replicas)
    after = timed(asked, load, setting.replicas, after_s=before[-1][0])
    return Simulation(setting, None if way is None else WAYS[way]).run(before, after)


def simulated(trace: Sequence[Request]) -> dict[str, Any]:
    """Return figures of the second half of a trace, after the first."""
    half = len(trace) // 2
    warm, asked = trace[:half], trace[half:]
    rows = []
    for replicas in REPLICAS:
        for cache in CACHES:
            for load in LOADS:
                print(f"{replicas} replicas of {cache:,} tokens, load {load}", file=sys.stderr)
                row: dict[str, Any] = {"replicas": replicas, "cache": cache, "load": load}
                for name, (way, workers, share) in _COLUMNS.items():
                    kept = int(share * cache * TOKEN_BYTES / workers) if share < math.inf else UNKNOWN
                    found = simulate(warm, asked, Setting(replicas, cache, workers, remembered=kept), load, way)
                    row[name] = {
                        "cached": found.cached,
                        "mean_s": found.mean_s,
                        "p50_s": found.quantile_s(0.5),
                        "p90_s": found.quantile_s(0.9),
                    }
                rows.append(row)
    return {"requests": len(asked), "ideal": ideal(warm, asked), "rows": rows}


def simulated_text(found: dict[str, Any]) -> str:
    """Return the figures of the simulation as Markdown."""
    parts = [
        f"""Simulated on {found["requests"]:,} requests, the second half of Mooncake's synthetic trace; the first half
fills the caches. A replica reads {1 / READ_S:,.0f} prompt tokens per second, one prompt after the other, and makes a
token of each answer every {MADE_S * 1000:.0f} ms, for at most {SEATS} at once; its cache is least recently used, in
blocks of 512 tokens. With a load of 1 the replicas would be busy all the time if nothing were cached. The ways are the
gateway's own code, which sees the trace's hashes in place of text. What they weigh was set by reasoning and by trying
on the first half alone. A session is what begins with the same 512 tokens. `prefix` is told the size of the caches
(`prompt_cache`); `prefix, no memory` weighs what the replicas have yet to read, and remembers no prompts: so much of
the gain is not the cache's. `clairvoyant` sees the caches and
what is left to be read, and takes whichever replica will answer first. Each way but `prefix, 4 workers` is one process
that sees all requests. One cache without bounds, shared by all replicas, would know {100 * found["ideal"]:.1f} % of the
tokens."""
    ]
    for title, key, scale, digits in (
        ("Prompt tokens found in the cache, %", "cached", 100, 1),
        ("Time to the first token, mean, ms", "mean_s", 1000, 0),
        ("Time to the first token, p50, ms", "p50_s", 1000, 0),
        ("Time to the first token, p90, ms", "p90_s", 1000, 0),
    ):
        lines = [f"{title}:", "", f"| replicas | cache, tokens | load | {' | '.join(_COLUMNS)} |"]
        lines.append("|---" * (3 + len(_COLUMNS)) + "|")
        for row in found["rows"]:
            cells = " | ".join(f"{row[name][key] * scale:,.{digits}f}" for name in _COLUMNS)
            lines.append(f"| {row['replicas']} | {row['cache']:,} | {row['load']} | {cells} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def live_text(found: Sequence[dict[str, Any]]) -> str:
    """Return the figures of the real engines as Markdown."""
    return f"""Live: two llama.cpp replicas of `mini`, {live.QUESTIONS} questions about each document of some 1,400
tokens, shuffled, {live.CALLERS} at a time. What was known is what the engines say (`cached_tokens`). Were each document
read once, {100 * (1 - 1 / live.QUESTIONS):.1f} % would be known. The times are of whole answers, at most four tokens;
unlike the counts they depend on what else the machine does.

{live.table(list(found))}"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of `python -m bench.affinity`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", type=Path, default=os.environ.get(_ENVIRONMENT), help="mooncake_synthetic.jsonl")
    parser.add_argument("--no-live", action="store_true", help="start no engines")
    given = parser.parse_args(arguments)
    figures: dict[str, Any] = {"machine": machine()}
    parts = []
    if given.trace is not None and Path(given.trace).is_file():
        figures["simulated"] = simulated(requests(Path(given.trace)))
        parts.append(simulated_text(figures["simulated"]))
    else:
        where = given.trace or f"none given with --trace or {_ENVIRONMENT}"
        parts.append(f"The simulation was skipped: there is no trace ({where}).")
    if given.no_live:
        parts.append("The engines were skipped, as asked.")
    else:
        figures["live"] = [row for documents in live.DOCUMENTS for row in live.measure(documents)]
        parts.append(live_text(figures["live"]))
    figures["cost_us"] = cost.measure()
    parts.append(f"What a choice costs:\n\n{cost.table(figures['cost_us'])}")
    parts.append(footer("python -m bench.affinity --trace mooncake_synthetic.jsonl"))
    write("affinity", figures, "\n\n".join(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
