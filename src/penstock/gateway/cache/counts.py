"""What the cache did, counted for the metrics. For one thread."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Result(StrEnum):
    """What a look-up came to, also as `x-penstock-cache` says it, but for `SHARED`, which is `exact` there."""

    EXACT = "exact"
    SHARED = "shared"  # the answer to an equal request that was under way
    MISS = "miss"
    BYPASS = "bypass"  # the client wanted it so


class Unkept(StrEnum):
    """Why an answer was not kept that would have been."""

    TOO_LARGE = "too_large"  # than `max_entry`
    NO_ROOM = "no_room"  # for what other exchanges are being answered


class Stores(Protocol):
    """What there is to tell of the stores."""

    @property
    def entries(self) -> int:
        """Answers in memory."""

    @property
    def used(self) -> int:
        """Bytes of memory that they take."""

    @property
    def evicted(self) -> int:
        """Answers that had to make room."""

    @property
    def recording(self) -> int:
        """Bytes of answers that are not complete yet."""

    @property
    def failures(self) -> int:
        """How often Redis was of no use."""


class Counts(Collector):
    """Counts of one worker. Models are labelled by their configured names."""

    def __init__(self, registry: CollectorRegistry, stores: Stores) -> None:
        self._stores = stores
        self._lookups: dict[tuple[str, Result], int] = {}
        self._stored: dict[str, int] = {}
        self._unkept: dict[tuple[str, Unkept], int] = {}
        registry.register(self)

    def looked_up(self, model: str, result: Result) -> None:
        """Count an exchange with a model that has a cache."""
        self._lookups[model, result] = self._lookups.get((model, result), 0) + 1

    def stored(self, model: str) -> None:
        """Count an answer that was kept."""
        self._stored[model] = self._stored.get(model, 0) + 1

    def unkept(self, model: str, why: Unkept) -> None:
        """Count an answer that was not."""
        self._unkept[model, why] = self._unkept.get((model, why), 0) + 1

    def collect(self) -> Iterator[Metric]:
        """Yield everything as prometheus-client's families."""
        lookups = CounterMetricFamily(
            "penstock_cache_lookups",
            "Exchanges with models that have a cache, by what was found.",
            labels=["gen_ai_request_model", "result"],
        )
        for (model, result), count in self._lookups.items():
            lookups.add_metric((model, result.value), count)
        stored = CounterMetricFamily(
            "penstock_cache_stored", "Answers that were kept.", labels=["gen_ai_request_model"]
        )
        for model, count in self._stored.items():
            stored.add_metric((model,), count)
        unkept = CounterMetricFamily(
            "penstock_cache_unkept",
            "Good answers that were not kept, by why.",
            labels=["gen_ai_request_model", "reason"],
        )
        for (model, why), count in self._unkept.items():
            unkept.add_metric((model, why.value), count)
        stores = self._stores
        yield lookups
        yield stored
        yield unkept
        yield CounterMetricFamily("penstock_cache_evicted", "Answers that made room for others.", stores.evicted)
        yield CounterMetricFamily("penstock_cache_outages", "Failures of the cache's Redis.", stores.failures)
        yield GaugeMetricFamily("penstock_cache_entries", "Answers in the memory of workers.", stores.entries)
        yield GaugeMetricFamily("penstock_cache_bytes", "Bytes of memory that they take.", stores.used)
        yield GaugeMetricFamily(
            "penstock_cache_recording_bytes", "Bytes of answers that are not complete.", stores.recording
        )
