"""
The metrics of all processes under this node, as one page.

Children send their samples, absolute since they started. Counters and histograms of dead children stay in the sum, so
that totals never go down; gauges are of the living only. Sums are exact before they are rounded once: added up in
another order after a child's end, fractions could come out a last digit lower, which Prometheus takes for a restart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

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
        self._dead: list[dict[str, Family]] = [{}, {}]  # the sum of the dead, and what rounding took from it

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
        lasting = {name: family for name, family in self._living.pop(child, {}).items() if family.kind in _LASTING}
        everything = [*self._dead, lasting]
        total = _sum(everything, self._most)
        self._dead = [total, _sum([*everything, _negative(total)], self._most)]

    def families(self) -> dict[str, Family]:
        """Return the sum of the living and the dead, by name."""
        return _sum([*self._dead, *self._living.values()], self._most)


def _sum(parts: Iterable[Mapping[str, Family]], most: int) -> dict[str, Family]:
    """Add families up by name; two that disagree on what a name is are not added: the first is believed."""
    total: dict[str, Family] = {}
    values: dict[tuple[str, tuple[str, Labels]], list[float]] = {}
    for families in parts:
        for name, family in families.items():
            if total.setdefault(name, Family(family.help, family.kind, {})).kind != family.kind:
                continue
            for key, value in family.samples.items():
                found = values.get((name, key))
                if found is not None:
                    found.append(value)
                elif len(values) < most:
                    values[name, key] = [value]
    for (name, key), several in values.items():
        family = total[name]
        family.samples[key] = max(several) if family.kind == "info" else math.fsum(several)
    return total


def _negative(families: Mapping[str, Family]) -> dict[str, Family]:
    return {
        name: Family(family.help, family.kind, {key: -value for key, value in family.samples.items()})
        for name, family in families.items()
    }


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
