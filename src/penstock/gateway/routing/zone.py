"""Why an exchange leaves the zone of its gateway: no target in it is left, or none of them has room."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import Enum


class Spill(Enum):
    """Why an exchange goes to a target in another zone. The value is the reason, for metrics."""

    FULL = "full"  # those in the zone that may be asked have no free seat
    UNAVAILABLE = "unavailable"  # none of those that it has not tried may be asked now
    FAILED = "failed"  # it has tried all of them


def spill(near: Sequence[str], tried: Collection[str], usable: Collection[str]) -> Spill:
    """
    Return why none of the targets in the zone is used.

    Args:
        near: all of them.
        tried: those that have failed this exchange, and others.
        usable: those that may be asked now, and others.
    """
    left = [name for name in near if name not in tried]
    if not left:
        return Spill.FAILED
    return Spill.FULL if any(name in usable for name in left) else Spill.UNAVAILABLE
