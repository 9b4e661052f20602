"""How exchanges came to their seats, counted for the metrics. For one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from penstock.gateway.metering.metrics import Distribution
from penstock.types.priority import Priority

_WAITS_S = tuple(0.001 * 4**power for power in range(10))
_LABEL = "penstock_deployment"


class Queues(Collector):
    """
    Counts of one worker. Labels come from the configuration and from fixed sets.

    Args:
        waiting: returns how many wait now, by deployment.

    Attributes:
        kept: how often a seat that lay idle in the worker was used again, so that nobody was asked.
        asked: how often one was free when it was asked for.
        share: how often nobody answered, and the worker took one of its own share.
    """

    def __init__(self, registry: CollectorRegistry, waiting: Callable[[], Mapping[str, int]]) -> None:
        self.kept = 0
        self.asked = 0
        self.share = 0
        self._waiting = waiting
        self._known: set[str] = set()  # deployments for which somebody has waited: their gauge goes back to 0
        self._waits: dict[tuple[str, Priority], Distribution] = {}
        self._refused: dict[tuple[str, Priority, str], int] = {}
        registry.register(self)

    def waited(self, deployment: str, priority: Priority, seconds: float) -> None:
        """Count an exchange that got its seat after a wait."""
        waits = self._waits.get((deployment, priority))
        if waits is None:
            waits = self._waits[deployment, priority] = Distribution(_WAITS_S)
        waits.observe(seconds)

    def refused(self, deployment: str, priority: Priority, reason: str) -> None:
        """Count an exchange that got none; the reason is `full`, `displaced` or `expired`."""
        where = (deployment, priority, reason)
        self._refused[where] = self._refused.get(where, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """Yield everything as prometheus-client's families."""
        seated = CounterMetricFamily("penstock_seats_taken", "Seats that were taken without a wait.", labels=["by"])
        for by, count in (("worker", self.kept), ("node", self.asked), ("share", self.share)):
            seated.add_metric((by,), count)
        now = self._waiting()
        self._known.update(now)
        waiting = GaugeMetricFamily("penstock_queue_waiting", "Exchanges that wait for a seat.", labels=[_LABEL])
        for deployment in self._known:
            waiting.add_metric((deployment,), now.get(deployment, 0))
        waits = HistogramMetricFamily(
            "penstock_queue_wait_seconds",
            "How long exchanges waited that got their seat after a wait.",
            labels=[_LABEL, "priority"],
        )
        for (deployment, priority), distribution in self._waits.items():
            distribution.add_to(waits, (deployment, priority.word))
        refused = CounterMetricFamily(
            "penstock_queue_refused",
            "Exchanges that got no seat of a deployment.",
            labels=[_LABEL, "priority", "reason"],
        )
        for (deployment, priority, reason), count in self._refused.items():
            refused.add_metric((deployment, priority.word, reason), count)
        yield from (seated, waiting, waits, refused)
