"""The decisions of routing. No I/O: what they need is passed in, what they choose is returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from penstock.snapshot.config import Model


class Loaded(Protocol):
    """Something that exchanges are sent to, with the number it has in progress from this process."""

    @property
    def outstanding(self) -> int:
        """Exchanges in progress."""


L = TypeVar("L", bound=Loaded)


def plan(model: Model, draw: float) -> tuple[str, ...]:
    """
    Return the deployments to try, in order: one target by weight, then the fallbacks.

    Args:
        draw: a number in [0, 1), uniformly random; the same draw gives the same plan.
    """
    remaining = draw * sum(target.weight for target in model.targets)
    chosen = model.targets[-1].deployment
    for target in model.targets:
        remaining -= target.weight
        if remaining < 0:
            chosen = target.deployment
            break
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
