"""
The gateway's metrics. Labels come from the configuration and from fixed sets only, so their number is bounded.

Counting is on the hot path and happens in one thread, so what counts is plain numbers; prometheus-client's own counters
take a lock each. They become its metric families when somebody collects.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from penstock.pricing.price import NANO_PER_USD
from penstock.types.usage import Usage

# Boundaries from the OpenTelemetry semantic conventions for generative AI.
_DURATION = tuple(0.01 * 2**power for power in range(14))
_TOKENS = tuple(float(4**power) for power in range(14))
_OTHER = "other"
_LABELS = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "penstock_deployment")

Kind = tuple[str, str, str, str, str]
"""Operation, provider, model, deployment, outcome."""


class Distribution:
    """How often values fell between boundaries, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value; one that equals a boundary lies below it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Add this as one labelled histogram to a family."""
        buckets, seen = [], 0
        for bound, count in zip((*self._bounds, math.inf), self._counts, strict=True):
            seen += count
            buckets.append((floatToGoString(bound), float(seen)))  # type: ignore[no-untyped-call]  # it has no types
        family.add_metric(labels, buckets, self._sum)


class _Series:
    """What is known of the exchanges with the same labels, however they ended."""

    __slots__ = ("cost_nano", "duration", "first_content", "input_tokens", "output_tokens", "unpriced")

    def __init__(self) -> None:
        self.duration = Distribution(_DURATION)
        self.first_content = Distribution(_DURATION)
        self.input_tokens = Distribution(_TOKENS)
        self.output_tokens = Distribution(_TOKENS)
        self.cost_nano = 0
        self.unpriced = 0


class _Ended:
    """The exchanges of one series that ended in one way."""

    __slots__ = ("count", "series")

    def __init__(self, series: _Series) -> None:
        self.count = 0
        self.series = series


class Metrics(Collector):
    """
    All metrics of one worker, in a registry of its own. For one thread.

    Attributes:
        in_progress: exchanges that are dispatched and not settled.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.in_progress = 0
        self._series: dict[tuple[str, ...], _Series] = {}
        self._ended: dict[Kind, _Ended] = {}
        self._statuses: dict[int, int] = {}
        self.registry.register(self)

    def responded(self, status: int) -> None:
        """Count an answer on the data port."""
        self._statuses[status] = self._statuses.get(status, 0) + 1

    def settled(
        self, kind: Kind, usage: Usage, cost_nano: int | None, duration_s: float, first_content_s: float | None
    ) -> None:
        """Count an exchange. The model in `kind` is a configured name or `other`; a cost of None is not known."""
        ended = self._ended.get(kind)
        if ended is None:
            ended = self._ended[kind] = _Ended(self._series_of(kind))
        ended.count += 1
        series = ended.series
        series.duration.observe(duration_s)
        if usage.input_tokens or usage.output_tokens:
            series.input_tokens.observe(usage.input_tokens)
            series.output_tokens.observe(usage.output_tokens)
            if cost_nano is None:
                series.unpriced += 1
            else:
                series.cost_nano += cost_nano
        if first_content_s is not None:
            series.first_content.observe(first_content_s)

    def collect(self) -> Iterator[Metric]:
        """Yield everything as prometheus-client's families."""
        exchanges = CounterMetricFamily(
            "penstock_exchanges", "Exchanges by how they ended.", labels=[*_LABELS, "outcome"]
        )
        for (operation, provider, model, deployment, outcome), ended in self._ended.items():
            labels = (*_labels(operation, provider, model, deployment), outcome)
            exchanges.add_metric(labels, ended.count)
        duration = HistogramMetricFamily(
            "gen_ai_client_operation_duration_seconds",
            "From the request's arrival to the end of its answer.",
            labels=_LABELS,
        )
        first = HistogramMetricFamily(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "From the request's arrival to the first content of a stream.",
            labels=_LABELS,
        )
        tokens = HistogramMetricFamily(
            "gen_ai_client_token_usage", "Tokens of an exchange.", labels=[*_LABELS, "gen_ai_token_type"]
        )
        cost = CounterMetricFamily("penstock_cost_usd", "Cost of exchanges in US dollars.", labels=_LABELS)
        unpriced = CounterMetricFamily(
            "penstock_exchanges_unpriced", "Exchanges whose cost is not known, and is not in the sum.", labels=_LABELS
        )
        for labels, series in self._series.items():
            series.duration.add_to(duration, labels)
            series.first_content.add_to(first, labels)
            series.input_tokens.add_to(tokens, (*labels, "input"))
            series.output_tokens.add_to(tokens, (*labels, "output"))
            cost.add_metric(labels, series.cost_nano / NANO_PER_USD)
            unpriced.add_metric(labels, series.unpriced)
        responses = CounterMetricFamily(
            "penstock_http_responses", "Answers on the data port by status.", labels=["status"]
        )
        for status, count in self._statuses.items():
            responses.add_metric((str(status),), count)
        progress = GaugeMetricFamily("penstock_exchanges_in_progress", "Exchanges in progress.", self.in_progress)
        yield from (exchanges, duration, first, tokens, cost, unpriced, responses, progress)

    def _series_of(self, kind: Kind) -> _Series:
        labels = _labels(*kind[:4])
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _Series()
        return series


def _labels(operation: str, provider: str, model: str, deployment: str) -> tuple[str, ...]:
    return (operation, provider or _OTHER, model, deployment or _OTHER)
