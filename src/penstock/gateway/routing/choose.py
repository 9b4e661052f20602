"""The decisions of routing. No I/O: what they need is passed in, what they choose is returned."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from penstock.snapshot.config import Model


def shares(weights: Sequence[float]) -> tuple[float, ...]:
    """Return where the share of each target ends within [0, 1), for `draw_target`; the last has no end."""
    total = sum(weights)
    return tuple(end / total for end in accumulate(weights[:-1]))


def draw_target(ends: tuple[float, ...], draw: float) -> int:
    """
    Return the number of a target.

    Args:
        ends: from `shares`.
        draw: a number in [0, 1), uniformly random; the same draw gives the same target.
    """
    return bisect_right(ends, draw)


def order(model: Model, target: int) -> tuple[str, ...]:
    """Return the deployments to try, in order: the target with this number, then the fallbacks."""
    chosen = model.targets[target].deployment
    return (chosen, *(name for name in model.fallback if name != chosen))
