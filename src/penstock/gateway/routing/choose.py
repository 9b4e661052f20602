"""The decisions of routing. No I/O: what they need is passed in, what they choose is returned."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Sequence
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


def drawn(share: float, draw: float) -> bool:
    """
    Tell whether an exchange is among the share that is copied.

    Args:
        share: up to 1, which is all.
        draw: a number in [0, 1), uniformly random.
    """
    return draw < share


def order(model: Model, target: int, near: Sequence[int] = ()) -> tuple[str, ...]:
    """
    Return the deployments to try: a target, then the others, then the fallbacks; each once.

    Args:
        target: the number of the one that comes first.
        near: the numbers of those that come before all others, this one among them, if there are any.
    """
    targets = [each.deployment for each in model.targets]
    return tuple(dict.fromkeys((targets[target], *(targets[each] for each in near), *targets, *model.fallback)))


def onward(
    names: Sequence[str], weights: Sequence[float], usable: Container[str], draw: float, near: int = 0
) -> str | None:
    """
    Return which deployment an exchange goes on to: a target drawn by weight, else the first fallback; None for none.

    Targets that are near are preferred, however heavy the others are.

    Args:
        names: from `order`.
        weights: of those that are targets, which are the first.
        usable: those that may be asked now, and have not failed this exchange.
        draw: a number in [0, 1), uniformly random.
        near: how many of the targets are; they are the first.
    """
    for part in (slice(near), slice(near, len(weights))):
        left = [(name, weight) for name, weight in zip(names[part], weights[part], strict=False) if name in usable]
        if left:
            return left[draw_target(shares([weight for _, weight in left]), draw)][0]
    return next((name for name in names[len(weights) :] if name in usable), None)
