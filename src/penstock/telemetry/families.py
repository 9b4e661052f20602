"""Metric registries as plain data, to be sent from a process to its node."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry

Families = list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]


def gauge(name: str, text: str, value: float) -> tuple[str, str, str, list[tuple[str, dict[str, str], float]]]:
    """Return a family of one sample without labels, for what is counted where it is sent."""
    return name, text, "gauge", [(name, {}, float(value))]


_SAMPLES = 2_000  # in one message; some 300 KiB as JSON


def families(registry: CollectorRegistry) -> Iterator[Families]:
    """
    Yield all samples of a registry but the creation times, each time as many as one message may carry.

    A family with more samples comes in several parts.
    """
    part: Families = []
    room = _SAMPLES
    for family in registry.collect():
        samples = [
            (sample.name, dict(sample.labels), float(sample.value))
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]
        for start in range(0, max(1, len(samples)), _SAMPLES):
            piece = samples[start : start + _SAMPLES]
            if len(piece) > room:
                yield part
                part, room = [], _SAMPLES
            part.append((family.name, family.documentation, family.type, piece))
            room -= len(piece)
    if part:
        yield part
