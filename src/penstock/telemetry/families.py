"""Metric registries as plain data, to be sent from a process to its node."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

Families = list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]


def families(registry: CollectorRegistry) -> Families:
    """Return all samples of a registry but the creation times, as `penstock.telemetry.link.Metrics` carries them."""
    return [
        (
            family.name,
            family.documentation,
            family.type,
            [
                (sample.name, dict(sample.labels), float(sample.value))
                for sample in family.samples
                if not sample.name.endswith("_created")
            ],
        )
        for family in registry.collect()
    ]
