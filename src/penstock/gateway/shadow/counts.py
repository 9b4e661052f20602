"""What became of copies and how they compared, counted for the metrics. For one thread."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from penstock.gateway.metering.metrics import Distribution
from penstock.gateway.shadow.comparison import Comparison
from penstock.journal.records import Outcome

_LABELS = ("gen_ai_request_model", "penstock_deployment")
_RATIOS = tuple(2.0**power for power in range(-6, 7))
_SIMILARITIES = tuple(tenth / 10 for tenth in range(1, 11))

Pair = tuple[str, str]
"""The model, by its configured name, and the deployment that its copies go to."""


class Skipped(StrEnum):
    """Why an exchange that was drawn was not copied."""

    BUSY = "busy"  # too many copies are under way, or too much is held for them
    SAME = "same"  # the deployment that copies go to has answered itself
    STATE = "state"  # the request does more upstream than to be answered
    DRAINING = "draining"


class _Compared:
    """The comparisons of one pair."""

    __slots__ = ("different", "duration", "equal", "first", "similarity", "unknown")

    def __init__(self) -> None:
        self.equal = self.different = self.unknown = 0
        self.similarity = Distribution(_SIMILARITIES)
        self.duration = Distribution(_RATIOS)
        self.first = Distribution(_RATIOS)


class Counts(Collector):
    """
    Counts of one worker. Labels come from the configuration and from fixed sets.

    Attributes:
        in_flight: copies that are under way.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.in_flight = 0
        self._ended: dict[tuple[Pair, Outcome], int] = {}
        self._skipped: dict[tuple[Pair, Skipped], int] = {}
        self._compared: dict[Pair, _Compared] = {}
        registry.register(self)

    def skipped(self, pair: Pair, reason: Skipped) -> None:
        """Count an exchange that was drawn and not copied."""
        self._skipped[pair, reason] = self._skipped.get((pair, reason), 0) + 1

    def ended(self, pair: Pair, outcome: Outcome) -> None:
        """Count a copy."""
        self._ended[pair, outcome] = self._ended.get((pair, outcome), 0) + 1

    def compared(self, pair: Pair, comparison: Comparison) -> None:
        """Count how a copy that was answered compares."""
        counts = self._compared.get(pair)
        if counts is None:
            counts = self._compared[pair] = _Compared()
        counts.equal += comparison.equal is True
        counts.different += comparison.equal is False
        counts.unknown += comparison.equal is None
        for distribution, value in (
            (counts.similarity, comparison.similarity),
            (counts.duration, comparison.duration_ratio),
            (counts.first, comparison.first_ratio),
        ):
            if value is not None:
                distribution.observe(value)

    def collect(self) -> Iterator[Metric]:
        """Yield everything as prometheus-client's families."""
        ended = CounterMetricFamily("penstock_shadow_copies", "Copies by how they ended.", labels=[*_LABELS, "outcome"])
        for (pair, outcome), count in self._ended.items():
            ended.add_metric((*pair, outcome.value), count)
        skipped = CounterMetricFamily(
            "penstock_shadow_skipped", "Exchanges that were drawn and not copied.", labels=[*_LABELS, "reason"]
        )
        for (pair, reason), count in self._skipped.items():
            skipped.add_metric((*pair, reason.value), count)
        texts = CounterMetricFamily(
            "penstock_shadow_texts", "Answers to copies by how their text compares.", labels=[*_LABELS, "text"]
        )
        similarity = HistogramMetricFamily(
            "penstock_shadow_similarity", "Similarity of the texts, from 0 to 1.", labels=_LABELS
        )
        duration = HistogramMetricFamily(
            "penstock_shadow_duration_ratio", "Duration of a copy to that of the original.", labels=_LABELS
        )
        first = HistogramMetricFamily(
            "penstock_shadow_first_content_ratio",
            "Time to first content of a copy to that of the original.",
            labels=_LABELS,
        )
        for pair, counts in self._compared.items():
            for text in ("equal", "different", "unknown"):
                texts.add_metric((*pair, text), getattr(counts, text))
            counts.similarity.add_to(similarity, pair)
            counts.duration.add_to(duration, pair)
            counts.first.add_to(first, pair)
        flight = GaugeMetricFamily("penstock_shadow_in_flight", "Copies that are under way.", self.in_flight)
        yield from (ended, skipped, texts, similarity, duration, first, flight)
