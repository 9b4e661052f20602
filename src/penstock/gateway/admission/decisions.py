"""What admission decided, counted for the metrics. For one thread."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from penstock.snapshot.config import Budget, Limit, Outage


class Decisions(Collector):
    """
    Counts of one worker. Labels come from the configuration.

    Attributes:
        held: how often what was held was enough, so that nobody was asked; limits and budgets each count.
        asked: how often the store was asked.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.held = 0
        self.asked = 0
        self._refused: dict[tuple[str, str, str], int] = {}
        self._outages: dict[Outage, int] = {}
        registry.register(self)

    def refused(self, by: Limit | Budget) -> None:
        """Count an exchange that a limit or a budget has no room for."""
        measure = by.measure.value if isinstance(by, Limit) else "usd"
        where = (by.policy, "+".join(by.per), measure)
        self._refused[where] = self._refused.get(where, 0) + 1

    def outage(self, action: Outage) -> None:
        """Count an exchange that was decided without the store."""
        self._outages[action] = self._outages.get(action, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """Yield everything as prometheus-client's families."""
        decided = CounterMetricFamily(
            "penstock_limits_decided", "Decisions about limits and budgets by what made them.", labels=["by"]
        )
        decided.add_metric(("lease",), self.held)
        decided.add_metric(("store",), self.asked)
        refused = CounterMetricFamily(
            "penstock_limits_reached",
            "Exchanges refused because a limit was reached.",
            labels=["policy", "per", "measure"],
        )
        for where, count in self._refused.items():
            refused.add_metric(where, count)
        outages = CounterMetricFamily(
            "penstock_counters_outages",
            "Exchanges decided while the store of the counters was away, by what was done.",
            labels=["action"],
        )
        for action, count in self._outages.items():
            outages.add_metric((action.value,), count)
        yield from (decided, refused, outages)
