"""The tables of a run, in Markdown: medians over the rounds, and ratios to nginx and to the best Rust router."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

from bench import stack
from bench.gateway.quantiles import median, ratio

_NONE = "–"
_MORE_IS_BETTER = ("rps_", "events_per_s")
_INTRO = """\
# Gateways side by side

Each gateway ran alone on one core, against an upstream that answers at once, with the load and the upstream on another
core. Rounds: {rounds}, each in another order, every load for {seconds} s; figures are medians over the rounds. No two
requests were the same: 64 prepared chats of different lengths, with a number written into each. *× nginx* is the ratio
to nginx as a plain proxy, *× Rust* to the better of the Rust routers, both in this run. Penstock {penstock}, Python
{python}, {system}, {cores} cores of {cpu}. The run took {minutes} min; the load average
before it was {load_average}. Repeat it with `{command}`.
"""
_AFTERWORD = """\
- The rows without a gateway are the load straight against the upstreams: the ceiling of this measurement.
- CPU time is that of the processes that carry requests, as the kernel's scheduler counts it, over the requests of the
  load with 32 connections; *core busy* says whether the gateway was what held the load up. *Beside* is the CPU time of
  its other processes per request, until they rest (for Penstock those of node and control, which write the ledger).
- Added time is a quantile through the gateway less the same quantile straight to the upstream at the same rate, which
  is half of what the gateway reached with 32 connections. Requests leave on time whether or not others are answered.
- Streams: 400 at once, an event each gap. A gateway that passed on less than 90 % of the events was measured again with
  a longer gap; only equal gaps are set against each other. Added time to the first token is through less without.
- Start-up is from the command to the first good answer.
"""

Row = dict[str, Any]
Medians = dict[str, float | None]


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {**stack.machine(), "system": f"Linux {platform.release().split('-')[0]}"}


def medians(rounds: Sequence[Medians]) -> Medians:
    """Return the median of each figure over the rounds that have it."""
    names = {name for figures in rounds for name in figures}
    return {name: median(figures.get(name) for figures in rounds) for name in sorted(names)}


def rows_of(results: dict[str, Any]) -> list[Row]:
    """Return the gateways with the medians of their figures; those that failed before the first have none."""
    return [{**gateway, "figures": medians(gateway["rounds"])} for gateway in results["gateways"]]


def best_rust(rows: Sequence[Row], name: str) -> float | None:
    """Return the best of a figure among the Rust routers."""
    values = [row["figures"][name] for row in rows if row["rust"] and row["figures"].get(name) is not None]
    if not values:
        return None
    best: float = max(values) if name.startswith(_MORE_IS_BETTER) else min(values)
    return best


def markdown(results: dict[str, Any]) -> str:
    """Return all tables of a run."""
    rows, direct, run = rows_of(results), medians(results["direct"]), results["run"]
    measured = [row for row in rows if row["figures"]]
    intro = _INTRO.format(**run, minutes=max(1, round(run["took_s"] / 60)))
    tables = (_requests(measured, direct), _latency(measured), _streams(measured, direct), _footprint(measured))
    return "\n".join((intro, *tables, _versions(rows), _AFTERWORD))


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; rows that are too short are filled up."""
    filled = [[*cells, *[""] * (len(head) - len(cells))] for cells in body]
    lines = [list(head), ["---"] * len(head), *filled]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def number(value: float | None) -> str:
    """Return a figure with three significant digits, or all of those before the point."""
    if value is None:
        return _NONE
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _cells(row: Row, *names: str) -> list[str]:
    return [number(row["figures"].get(name)) for name in names]


def _ratios(rows: Sequence[Row], row: Row, name: str) -> list[str]:
    """Return a figure in terms of that of nginx and of the best Rust router, of those with the same gap."""
    gap = row["figures"].get("gap_ms") if name.startswith("event") else None
    alike = [each for each in rows if gap is None or each["figures"].get("gap_ms") == gap]
    nginx = next((each["figures"].get(name) for each in alike if each["name"] == "nginx"), None)
    own = row["figures"].get(name)
    found = (ratio(own, nginx), ratio(own, best_rust(alike, name)))
    return [_NONE if value is None else f"{value:.2f}" for value in found]


def _requests(rows: Sequence[Row], direct: Medians) -> str:
    head = ["gateway", "requests/s, 1 connection", "32", "256", "32: × nginx", "× Rust"]
    head += ["CPU µs per request", "× nginx", "× Rust", "core busy", "beside", "failed"]
    rates = ("rps_1", "rps_32", "rps_256")
    body = [["no gateway", *(number(direct.get(name)) for name in rates)]]
    for row in rows:
        cells = [row["title"], *_cells(row, *rates), *_ratios(rows, row, "rps_32")]
        busy = (row["figures"].get("cpu_us_32") or 0.0) * (row["figures"].get("rps_32") or 0.0) / 1e6
        cells += [*_cells(row, "cpu_us_32"), *_ratios(rows, row, "cpu_us_32"), f"{busy:.0%}"]
        cells += _cells(row, "beside_us_32")
        body.append([*cells, f"{row['figures'].get('failed_share') or 0.0:.1%}"])
    return "## Requests\n\n" + table(head, body)


def _latency(rows: Sequence[Row]) -> str:
    head = ["gateway", "requests/s", "added p50, µs", "added p99, µs", "without it p50, µs", "p99, µs", "unanswered"]
    names = ("half_rate", "added_p50_us", "added_p99_us", "direct_p50_us", "direct_p99_us", "half_unanswered")
    return "## Added time at half load\n\n" + table(head, [[row["title"], *_cells(row, *names)] for row in rows])


def _streams(rows: Sequence[Row], direct: Medians) -> str:
    head = ["gateway", "gap, ms", "events/s", "CPU µs per event", "× nginx", "× Rust"]
    head += ["added to the first token p50, ms", "p99, ms", "begun", "lost"]
    times = ("first_added_p50_ms", "first_added_p99_ms", "first_count", "streams_lost")
    alone = [number(direct.get(name)) for name in ("gap_ms", "events_per_s")]
    body = [["no gateway", *alone]]
    for row in rows:
        cells = [row["title"], *_cells(row, "gap_ms", "events_per_s", "event_cpu_us")]
        body.append([*cells, *_ratios(rows, row, "event_cpu_us"), *_cells(row, *times)])
    return "## 400 streams\n\n" + table(head, body)


def _footprint(rows: Sequence[Row]) -> str:
    head = ["gateway", "resident after load, MB", "with all its processes, MB", "start-up, s"]
    names = ("resident_mb", "resident_all_mb", "ready_s")
    text = "## Memory and start-up\n\n" + table(head, [[row["title"], *_cells(row, *names)] for row in rows])
    ages = [(row["title"], row["figures"].get("worker_ready_s")) for row in rows]
    lines = [
        f"\n{title}: of its start-up, {number(age)} s are from the start of the worker's process to that answer.\n"
        for title, age in ages
        if age is not None
    ]
    return text + "".join(lines)


def _versions(rows: Sequence[Row]) -> str:
    body = []
    for row in rows:
        outcome = f"left out: {row['failure']}" if row["failure"] else "measured"
        body.append([row["title"], row["about"], f"{outcome}; {row['remark']}" if row["remark"] else outcome])
    return "## What was compared\n\n" + table(["gateway", "version", ""], body)
