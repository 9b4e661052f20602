"""The decisions of routing. No I/O: what they need is passed in, what they choose is returned."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol, TypeVar

from penstock.snapshot.config import Model


class Loaded(Protocol):
    """Something that exchanges are sent to, with the number it has in progress from this process."""

    @property
    def outstanding(self) -> int:
        """Exchanges in progress."""


L = TypeVar("L", bound=Loaded)


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


def least_outstanding(candidates: Sequence[L], turn: int) -> L | None:
    """
    Return the candidate with the fewest exchanges in progress, or None when there is none.

    Args:
        turn: a growing number; among equals the choice rotates with it, so that idle replicas share the work.
    """
    best: L | None = None
    count = len(candidates)
    for position in range(count):
        candidate = candidates[(turn + position) % count]
        if best is None or candidate.outstanding < best.outstanding:
            best = candidate
    return best
