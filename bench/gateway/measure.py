"""
One gateway, one round: everything that is measured of it, one load after the other.

What goes through is compared with what goes straight to the upstream at the same rate, moments apart.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.gateway import engine, instant, process, steady, streams, traffic, wrk
from bench.gateway.errors import Unavailable, reason
from bench.gateway.probe import check_stream
from bench.gateway.quantiles import added, quantile
from bench.gateway.serving import Gateway, Place, Serving

CONNECTIONS = (1, 32, 256)
HALF_OF = 32  # connections: half of the rate reached with so many is the rate at which latency is measured
STREAMS = 400
GAPS_MS = (20, 100, 500)  # between events of a stream; the next is tried when a gateway cannot keep up
_KEPT_UP = 0.9
_NEARLY = 0.5  # of the events came through: worth a second look
_WARM_S = 1
_SETTLE_S = 20.0
_STEP = 10_000_000  # numbers for one load, so that no request of any load is like another

Figures = dict[str, float | None]


@dataclass
class Bench:
    """
    What measurements share: cores, how long, where, and which numbers requests have had.

    Attributes:
        seconds: of each load.
        gap_ms: between events, as found for each gateway in the first round.
        remarks: on gateways, why a part of their figures is missing.
        direct_streams: of this round, straight to the upstream, by gap.
    """

    directory: Path
    gateway_core: int
    load_core: int
    seconds: int
    gap_ms: dict[str, int] = field(default_factory=dict)
    remarks: dict[str, str] = field(default_factory=dict)
    direct_streams: dict[int, streams.Figures] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(0, _STEP))
    _places: Iterator[int] = field(default_factory=itertools.count)

    def first(self) -> int:
        """Return the first number for a load."""
        number: int = next(self._numbers) % 10**traffic.DIGITS
        return number

    def place(self) -> Path:
        """Return a new directory."""
        path = self.directory / str(next(self._places))
        path.mkdir()
        return path

    def requests(self, serving: Serving, *, stream: bool = False) -> Path:
        """Write the requests for a gateway and return their file."""
        path = self.place() / "requests"
        traffic.write(traffic.prepare(serving.model, serving.headers, stream=stream), path)
        return path


def ceilings(bench: Bench) -> Figures:
    """Measure the load straight against the upstreams, with no gateway between."""
    figures: Figures = {}
    with instant.upstream(bench.load_core, bench.place()) as port:
        direct = Serving(port, "chat", b"", (), 0.0)
        requests = bench.requests(direct)
        for connections in CONNECTIONS:
            counts = wrk.load(port, requests, bench.first(), connections, bench.seconds, bench.load_core)
            figures[f"rps_{connections}"] = counts.rate
    bench.direct_streams.clear()
    straight = _direct_streams(bench, GAPS_MS[0])
    figures["gap_ms"] = float(GAPS_MS[0])
    figures["events_per_s"] = straight.events_per_s
    figures["first_p50_ms"] = quantile(straight.first_ms, 0.5)
    figures["first_p99_ms"] = quantile(straight.first_ms, 0.99)
    return figures


def measure(gateway: Gateway, bench: Bench) -> Figures:
    """
    Measure a gateway.

    Raises:
        Unavailable: it does not run here.
    """
    figures: Figures = {}
    directory = bench.place()
    with instant.upstream(bench.load_core, bench.place()) as upstream_port:
        place = Place(directory, upstream_port, False, bench.gateway_core, bench.load_core)
        with gateway.serve(place) as serving:
            figures["ready_s"] = serving.ready_s
            figures["worker_ready_s"] = serving.worker_ready_s
            figures |= _closed_loop(bench, serving)
            figures |= _half_load(bench, serving, upstream_port, (figures[f"rps_{HALF_OF}"] or 0.0) / 2)
            figures["resident_mb"] = process.resident(serving.pids) / 1e6
            figures["resident_all_mb"] = process.resident(serving.pids + serving.beside) / 1e6
    shutil.rmtree(directory, ignore_errors=True)
    if gateway.name not in bench.remarks:
        try:
            figures |= _streamed(gateway, bench)
        except Unavailable as error:
            bench.remarks[gateway.name] = reason(f"no streams: {error}")
    return figures


def _closed_loop(bench: Bench, serving: Serving) -> Figures:
    """Requests per second at each number of connections, and what a request costs."""
    figures: Figures = {}
    requests = bench.requests(serving)
    everything = serving.pids + serving.beside
    wrk.load(serving.port, requests, bench.first(), HALF_OF, _WARM_S, bench.load_core)
    process.settle(everything, _SETTLE_S)
    failed = total = 0
    for connections in CONNECTIONS:
        before, beside = process.cpu_ns(serving.pids), process.cpu_ns(serving.beside)
        counts = wrk.load(serving.port, requests, bench.first(), connections, bench.seconds, bench.load_core)
        used = process.cpu_ns(serving.pids) - before
        process.settle(everything, _SETTLE_S)  # so that all its work for these requests is counted, and none for others
        used_beside = process.cpu_ns(serving.beside) - beside
        failed += counts.refused + counts.broken
        total += counts.requests
        figures[f"rps_{connections}"] = counts.rate
        if counts.requests:
            figures[f"cpu_us_{connections}"] = used / 1e3 / counts.requests
            figures[f"beside_us_{connections}"] = used_beside / 1e3 / counts.requests
    figures["failed_share"] = failed / max(1, total)
    return figures


def _half_load(bench: Bench, serving: Serving, upstream_port: int, rate: float) -> Figures:
    """What the gateway adds to the time of a request at half of its own load."""
    if rate < 1:
        return {}
    direct = Serving(upstream_port, serving.model, serving.headers, (), 0.0)
    through = steady.load(serving.port, bench.requests(serving), bench.first(), rate, bench.seconds, bench.load_core)
    straight = steady.load(upstream_port, bench.requests(direct), bench.first(), rate, bench.seconds, bench.load_core)
    figures: Figures = {"half_rate": rate, "half_unanswered": float(through.unanswered)}
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        figures[f"added_{name}_us"] = added(through.micros, straight.micros, share)
        figures[f"direct_{name}_us"] = quantile(straight.micros, share)
    return figures


def _direct_streams(bench: Bench, gap_ms: int) -> streams.Figures:
    """The streams straight from the upstream, measured once a round for each gap."""
    if gap_ms not in bench.direct_streams:
        with engine.upstream(bench.load_core, bench.place(), gap_ms) as port:
            requests = bench.requests(Serving(port, "chat", b"", (), 0.0), stream=True)
            bench.direct_streams[gap_ms] = streams.load(
                port, requests, bench.first(), STREAMS, bench.seconds, bench.load_core, ()
            )
    return bench.direct_streams[gap_ms]


def _streamed(gateway: Gateway, bench: Bench) -> Figures:
    """Streams through the gateway, at the shortest gap between events that it keeps up with."""
    gap_ms, again = bench.gap_ms.get(gateway.name, GAPS_MS[0]), True
    while True:
        found, ready_s = _streams_once(gateway, bench, gap_ms)
        share = found.events_per_s / _direct_streams(bench, gap_ms).events_per_s
        if gateway.name in bench.gap_ms or share >= _KEPT_UP or gap_ms == GAPS_MS[-1]:
            break
        if again and share >= _NEARLY:
            again = False  # something else may have come between; all rounds would have the longer gap for it
        else:
            gap_ms, again = longer_gap(gap_ms, share), True
    bench.gap_ms[gateway.name] = gap_ms
    straight = _direct_streams(bench, gap_ms)
    return {
        "gap_ms": float(gap_ms),
        "events_per_s": found.events_per_s,
        "event_cpu_us": found.cpu_us,
        "first_added_p50_ms": added(found.first_ms, straight.first_ms, 0.5),
        "first_added_p99_ms": added(found.first_ms, straight.first_ms, 0.99),
        "first_count": float(len(found.first_ms)),
        "streams_lost": float(found.lost),
        "ready_again_s": ready_s,
    }


def longer_gap(gap_ms: int, share: float) -> int:
    """Return the gap to try after one of which only this share of the events came through."""
    longer = [gap for gap in GAPS_MS if gap > gap_ms]
    return next((gap for gap in longer if gap * share >= gap_ms), longer[-1])


def _streams_once(gateway: Gateway, bench: Bench, gap_ms: int) -> tuple[streams.Figures, float]:
    directory = bench.place()
    with engine.upstream(bench.load_core, bench.place(), gap_ms) as upstream_port:
        place = Place(directory, upstream_port, True, bench.gateway_core, bench.load_core)
        with gateway.serve(place) as serving:
            check_stream(serving.port, serving.headers, serving.model)
            requests = bench.requests(serving, stream=True)
            found = streams.load(
                serving.port, requests, bench.first(), STREAMS, bench.seconds, bench.load_core, serving.pids
            )
            ready_s = serving.ready_s
    shutil.rmtree(directory, ignore_errors=True)
    return found, ready_s
