"""The gateway's metrics. Labels come from the configuration and from fixed sets only, so their number is bounded."""

from __future__ import annotations

from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from penstock.pricing.price import NANO_PER_USD
from penstock.types.usage import Usage

# Boundaries from the OpenTelemetry semantic conventions for generative AI.
_DURATION = tuple(0.01 * 2**power for power in range(14))
_TOKENS = tuple(float(4**power) for power in range(14))
_OTHER = "other"


Kind = tuple[str, str, str, str, str]
"""Operation, provider, model, deployment, outcome."""


class _Series(NamedTuple):
    """The children of one kind of exchange: looked up once, then only counted."""

    exchanges: Counter
    duration: Histogram
    first_content: Histogram
    input_tokens: Histogram
    output_tokens: Histogram
    cost: Counter


class Metrics:
    """All metrics of one worker, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ["gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "penstock_deployment"]
        self._exchanges = Counter(
            "penstock_exchanges", "Exchanges by how they ended.", [*labels, "outcome"], registry=self.registry
        )
        self._duration = Histogram(
            "gen_ai_client_operation_duration_seconds",
            "From the request's arrival to the end of its answer.",
            labels,
            buckets=_DURATION,
            registry=self.registry,
        )
        self._first = Histogram(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "From the request's arrival to the first content of a stream.",
            labels,
            buckets=_DURATION,
            registry=self.registry,
        )
        self._tokens = Histogram(
            "gen_ai_client_token_usage",
            "Tokens of an exchange.",
            [*labels, "gen_ai_token_type"],
            buckets=_TOKENS,
            registry=self.registry,
        )
        self._cost = Counter("penstock_cost_usd", "Cost of exchanges in US dollars.", labels, registry=self.registry)
        self._responses = Counter(
            "penstock_http_responses", "Answers on the data port by status.", ["status"], registry=self.registry
        )
        self.in_progress = Gauge("penstock_exchanges_in_progress", "Exchanges in progress.", registry=self.registry)
        self._series: dict[Kind, _Series] = {}
        self._statuses: dict[int, Counter] = {}

    def responded(self, status: int) -> None:
        """Count an answer on the data port."""
        counter = self._statuses.get(status)
        if counter is None:
            counter = self._statuses[status] = self._responses.labels(str(status))
        counter.inc()

    def settled(
        self, kind: Kind, *, usage: Usage, cost_nano: int, duration_s: float, first_content_s: float | None
    ) -> None:
        """Count an exchange. The model in `kind` is a configured name or `other`."""
        series = self._series.get(kind)
        if series is None:
            series = self._series[kind] = self._make(kind)
        series.exchanges.inc()
        series.duration.observe(duration_s)
        if usage.input_tokens or usage.output_tokens:
            series.input_tokens.observe(usage.input_tokens)
            series.output_tokens.observe(usage.output_tokens)
            series.cost.inc(cost_nano / NANO_PER_USD)
        if first_content_s is not None:
            series.first_content.observe(first_content_s)

    def _make(self, kind: Kind) -> _Series:
        operation, provider, model, deployment, outcome = kind
        labels = (operation, provider or _OTHER, model, deployment or _OTHER)
        return _Series(
            self._exchanges.labels(*labels, outcome),
            self._duration.labels(*labels),
            self._first.labels(*labels),
            self._tokens.labels(*labels, "input"),
            self._tokens.labels(*labels, "output"),
            self._cost.labels(*labels),
        )
