"""Quantiles, medians and ratios of what was measured; nothing where there is nothing to say."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least this share of sorted values does not exceed; None of none."""
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def added(through: Sequence[float], direct: Sequence[float], share: float) -> float | None:
    """Return by how much a quantile through a gateway is above the same quantile without it."""
    with_it, without = quantile(through, share), quantile(direct, share)
    return None if with_it is None or without is None else with_it - without


def median(values: Iterable[float | None]) -> float | None:
    """Return the median of those that are there; None of none."""
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def ratio(value: float | None, to: float | None) -> float | None:
    """Return a value in terms of another; None where one is missing or the other is nothing."""
    return None if value is None or not to else value / to
