"""
The metrics of all processes under this node, as one page.

Children send their samples, absolute since they started. Counters and histograms of dead children stay in the sum, so
that totals never go down; gauges are of the living only.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from penstock.telemetry.link import Metrics

_MAX_SERIES = 100_000  # more would be a defect of a child, and must not fill the node's memory
_LASTING = ("counter", "histogram", "summary")

Labels = tuple[tuple[str, str], ...]


class Family(msgspec.Struct, frozen=True):
    """
    Samples under one name.

    Attributes:
        kind: Prometheus type.
        samples: (sample name, sorted labels) → value.
    """

    help: str
    kind: str
    samples: dict[tuple[str, Labels], float]


class Totals:
    """
    Sums the children's metrics. Belongs to the node.

    Args:
        most: series in the sum; further ones are left out.
    """

    def __init__(self, most: int = _MAX_SERIES) -> None:
        self._most = most
        self._living: dict[str, dict[str, Family]] = {}
        self._dead: dict[str, Family] = {}

    def update(self, child: str, metrics: Metrics) -> None:
        """Take the newest samples of a child instead of its earlier ones of the same names and labels."""
        families = self._living.setdefault(child, {})
        room = self._most - sum(len(family.samples) for family in families.values())
        for name, text, kind, samples in metrics.families:
            family = families.setdefault(name, Family(text, kind, {}))
            for sample, labels, value in samples:
                key = (sample, tuple(sorted(labels.items())))
                if sample.endswith("_created"):
                    continue  # times; their sum would mean nothing
                if key not in family.samples:
                    if room <= 0:
                        continue
                    room -= 1
                family.samples[key] = value

    def retire(self, child: str) -> None:
        """Note that a child has ended: what it counted stays counted."""
        for name, family in self._living.pop(child, {}).items():
            if family.kind in _LASTING:
                _add(self._dead, name, family, self._most)

    def families(self) -> dict[str, Family]:
        """Return the sum of the living and the dead, by name."""
        total: dict[str, Family] = {}
        for families in (self._dead, *self._living.values()):
            for name, family in families.items():
                _add(total, name, family, self._most)
        return total


def _add(total: dict[str, Family], name: str, family: Family, most: int) -> None:
    into = total.get(name)
    if into is None:
        into = total[name] = Family(family.help, family.kind, {})
    if into.kind != family.kind:
        return  # two processes disagree on what it is; the first is believed
    room = most - sum(len(each.samples) for each in total.values())
    for key, value in family.samples.items():
        if key in into.samples:
            into.samples[key] = max(into.samples[key], value) if into.kind == "info" else into.samples[key] + value
        elif room > 0:
            into.samples[key] = value
            room -= 1


def gauge(text: str, name: str, values: Iterable[tuple[dict[str, str], float]]) -> tuple[str, Family]:
    """Make a family of the node's own from labels and values."""
    return name, Family(text, "gauge", {(name, tuple(sorted(labels.items()))): value for labels, value in values})


def counter(text: str, name: str, values: Iterable[tuple[dict[str, str], float]]) -> tuple[str, Family]:
    """Make a counter of the node's own; `name` is without `_total`."""
    samples = {(f"{name}_total", tuple(sorted(labels.items()))): value for labels, value in values}
    return name, Family(text, "counter", samples)


class _Page(Collector):
    def __init__(self, families: dict[str, Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        for name, family in sorted(self._families.items()):
            metric = Metric(name, family.help, family.kind)
            for (sample, labels), value in family.samples.items():
                metric.add_sample(sample, dict(labels), value)
            yield metric


def page(families: dict[str, Family]) -> bytes:
    """Return the families in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(families))
    return generate_latest(registry)
