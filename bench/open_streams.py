"""
`make bench-streams`: many open streams in one worker, each with a few events a second.

Reported for each rate: events delivered, how late they were (from the upstream's write to the client's read, by one
clock), and the CPU of worker, upstream and client, for any of the three may be what is full. What the worker waited for
a core is other work on the machine, and lateness that is not its own. Memory per stream is the growth of the worker's
resident memory by the number of streams. Lateness is called bounded when all streams took what they were sent and p99
in the second half of the time is within a second and not above 1.5 times that of the whole.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from bench.events import raise_descriptor_limit
from bench.stack import (
    MIB,
    child,
    cpu_seconds,
    footer,
    machine,
    penstock,
    stack_text,
    waited_seconds,
    workers_of,
    write,
)
from penstock.lab.running import resident_bytes

_SETTLE_S = 3.0
_WHILE_OPENING = 0.01  # events per second of each stream
_SPARE_DESCRIPTORS = 500
_GROWS = 1.5
_BOUND_MS = 1000.0


class End:
    """One end of the streams, as a process that takes orders."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def read(self) -> dict[str, Any]:
        """Return its next answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("one end of the streams has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def order(self, line: str) -> dict[str, Any]:
        """Give an order; return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self.read()


def measure(streams: int, rates: list[float], seconds: float) -> dict[str, Any]:
    """Run everything; return raw figures."""
    descriptors = raise_descriptor_limit(2 * streams + _SPARE_DESCRIPTORS)
    if descriptors < 2 * streams + _SPARE_DESCRIPTORS:
        streams = (descriptors - _SPARE_DESCRIPTORS) // 2
        print(f"this user may open {descriptors} descriptors in a process: {streams} streams", file=sys.stderr)
    command = [sys.executable, "-m", "bench.events"]
    with child([*command, "upstream"], orders=True) as upstream_process:
        upstream = End(upstream_process)
        address = f"http://127.0.0.1:{upstream.read()['port']}"
        text = stack_text(
            address,
            deployment=f", max_in_flight: {streams + 10}",
            model=", timeout: {first_token: 60s, total: 1h}",
        )
        with penstock(text) as running:
            (worker,) = workers_of(running)
            port = str(urlsplit(running.url).port)
            with child([*command, "client", "--port", port, "--key", running.key], orders=True) as client_process:
                client = End(client_process)
                upstream.order(str(_WHILE_OPENING))
                client.order("open 10")  # what is made once is not counted per stream
                before = resident_bytes(worker)
                began = time.monotonic()
                opened = client.order(f"open {streams - 10}")
                took = time.monotonic() - began
                if opened["lost"] or opened["refused"]:
                    raise RuntimeError(f"not all streams were opened: {opened}")
                runs = [_run(rate, seconds, streams, worker, upstream, client) for rate in rates]
                after = resident_bytes(worker)
    return {
        "machine": machine(),
        "streams": streams,
        "opened_per_s": round(streams / took),
        "resident_mib": round(after / MIB, 1),
        "bytes_per_stream": round((after - before) / streams),
        "runs": runs,
    }


def _run(rate: float, seconds: float, streams: int, worker: int, upstream: End, client: End) -> dict[str, Any]:
    """Measure one rate."""
    pids = {"worker": worker, "upstream": upstream.pid, "client": client.pid}
    upstream.order(str(rate))
    time.sleep(_SETTLE_S)  # the first events at a new rate come in a bunch
    upstream.order(str(rate))
    used = {name: cpu_seconds(pid) for name, pid in pids.items()}
    waited = waited_seconds(worker)
    began = time.monotonic()
    seen = client.order(f"measure {seconds}")
    took = time.monotonic() - began
    sent = upstream.order(str(rate))
    cpu = {name: (cpu_seconds(pid) - used[name]) / took for name, pid in pids.items()}
    late, second = seen["late_ms"], seen["second_half"]
    arrived = seen["events_per_s"] * seconds
    print(f"{rate:g} events/s in each stream: {seen['events_per_s']}/s, late {late}", file=sys.stderr)
    return {
        "rate": rate,
        "asked_per_s": round(rate * streams),
        "sent_per_s": round(sent["sent"] / took),
        "skipped": sent["skipped"],
        **seen,
        "cpu": {name: round(share, 3) for name, share in cpu.items()},
        "waited_for_a_core": round((waited_seconds(worker) - waited) / took, 3),
        "cpu_us_per_event": round(cpu["worker"] * took / max(1.0, arrived) * 1e6, 1),
        "bounded": bool(late)
        and not sent["skipped"]
        and not seen["lost"]
        and second["p99"] <= min(_BOUND_MS, late["p99"] * _GROWS),
    }


def summary(figures: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    story = (
        f"{figures['streams']:,} open streams in one worker: {figures['bytes_per_stream'] / 1024:.1f} KiB each, "
        f"{figures['resident_mib']:.0f} MiB in all; opened at {figures['opened_per_s']:,} streams/s."
    )
    heads = ("events/s, each", "asked, all", "delivered", "late p50", "p99", "p99.9", "max", "worker's CPU per event")
    lines = [
        story,
        "",
        f"| {' | '.join(heads)} | CPU of worker, upstream, client | worker waited for a core | bounded |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in figures["runs"]:
        late = {name: f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms" for name, value in run["late_ms"].items()}
        cells = [
            f"{run['rate']:g}",
            f"{run['asked_per_s']:,}",
            f"{run['events_per_s']:,}",
            *(late.get(name, "-") for name in ("p50", "p99", "p999", "max")),
            f"{run['cpu_us_per_event']:.1f} µs",
            ", ".join(f"{100 * run['cpu'][name]:.0f} %" for name in ("worker", "upstream", "client")),
            f"{100 * run['waited_for_a_core']:.0f} %",
            "yes" if run["bounded"] else "no",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", footer("make bench-streams")])


def main() -> int:
    """Entry of `python -m bench.open_streams`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--rates", default="1,2,3,5", help="events per second of each stream, one run each")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each run")
    given = parser.parse_args()
    figures = measure(given.streams, [float(rate) for rate in given.rates.split(",")], given.seconds)
    write("open_streams", figures, summary(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
