"""What was done about failing deployments, counted for the metrics. For one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from penstock.gateway.routing.zone import Spill
from penstock.gateway.upstream.breaker import State
from penstock.gateway.upstream.verdicts import Again

_LABEL = "penstock_deployment"


class Attempts(Collector):
    """
    Counts of one worker. Labels are the names of deployments and models, and words of fixed sets.

    Attributes:
        weights: returns model, target and weight in use, where weights adapt.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._states: dict[str, State] = {}
        self._became: dict[tuple[str, State], int] = {}
        self._retries: dict[tuple[str, str], int] = {}
        self._unpaid: dict[str, int] = {}
        self._fallbacks: dict[str, int] = {}
        self._ejected: dict[str, int] = {}
        self.weights: Callable[[], Iterable[tuple[str, str, float]]] = tuple
        self._spilled: dict[tuple[str, str], int] = {}
        registry.register(self)

    def follow(self, states: Mapping[str, State]) -> None:
        """Report the states of these deployments from now on, and of no others."""
        self._states = dict(states)

    def became(self, name: str, state: State) -> None:
        """Count a change of a breaker's state."""
        if name in self._states:
            self._states[name] = state
        self._became[name, state] = self._became.get((name, state), 0) + 1

    def retried(self, name: str, reason: Again) -> None:
        """Count that an exchange tries the same deployment again."""
        self._retries[name, reason.value] = self._retries.get((name, reason.value), 0) + 1

    def unpaid(self, name: str) -> None:
        """Count a retry that the deployment's budget had nothing left for."""
        self._unpaid[name] = self._unpaid.get(name, 0) + 1

    def fell_back(self, name: str) -> None:
        """Count an exchange that went on to another deployment from this one."""
        self._fallbacks[name] = self._fallbacks.get(name, 0) + 1

    def spilled(self, name: str, reason: Spill) -> None:
        """Count an exchange that went to this target, as nothing in the gateway's zone could take it."""
        self._spilled[name, reason.value] = self._spilled.get((name, reason.value), 0) + 1

    def ejected(self, name: str) -> None:
        """Count a replica that is left out."""
        self._ejected[name] = self._ejected.get(name, 0) + 1

    def collect(self) -> Iterator[Metric]:
        """Yield everything as prometheus-client's families."""
        state = GaugeMetricFamily("penstock_breakers", "Workers whose breaker is in a state.", labels=[_LABEL, "state"])
        for name, now in self._states.items():
            for each in State:
                state.add_metric((name, each.value), each is now)
        yield state
        changes = CounterMetricFamily(
            "penstock_breaker_changes", "Changes of a breaker to a state.", labels=[_LABEL, "state"]
        )
        for (name, became), count in self._became.items():
            changes.add_metric((name, became.value), count)
        yield changes
        retries = CounterMetricFamily(
            "penstock_retries", "Attempts made again at the same deployment.", labels=[_LABEL, "reason"]
        )
        for (name, reason), count in self._retries.items():
            retries.add_metric((name, reason), count)
        yield retries
        spilled = CounterMetricFamily(
            "penstock_spilled", "Exchanges that went to a target outside the gateway's zone.", labels=[_LABEL, "reason"]
        )
        for (name, reason), count in self._spilled.items():
            spilled.add_metric((name, reason), count)
        yield spilled
        weights = GaugeMetricFamily(
            "penstock_target_weight",
            "Weights in use where weights adapt, of all workers together.",
            labels=["gen_ai_request_model", _LABEL],
        )
        for model, name, weight in self.weights():
            weights.add_metric((model, name), weight)
        yield weights
        for metric, what, counts in (
            ("penstock_retries_refused", "Retries that the budget had nothing left for.", self._unpaid),
            ("penstock_fallbacks", "Exchanges that went on from a deployment to another.", self._fallbacks),
            ("penstock_replicas_ejected", "How often a replica was left out.", self._ejected),
        ):
            family = CounterMetricFamily(metric, what, labels=[_LABEL])
            for name, count in counts.items():
                family.add_metric((name,), count)
            yield family
