"""
Replicas of a deployment that fail while others answer are left out for a while, as by Envoy's outlier detection.

At most half of a deployment's replicas are left out at once, and at least one never is: where most of them fail it is
not they that are odd, and the rest is not to carry everything.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar

_IN_A_ROW = 3  # broken answers; Envoy's is 5, over an interval of 10 s
_FIRST_S = 1.0  # the fleet's own verdict on a dead replica takes no longer
_LONGEST_S = 30.0


class Record:
    """What is known of one replica's failures. For one thread."""

    __slots__ = ("_ejections", "_row", "until")

    def __init__(self) -> None:
        self.until = 0.0  # when it may be used again
        self._row = 0  # failures since the last success
        self._ejections = 0

    def failed(self, now: float, *, unreachable: bool) -> bool:
        """
        Take note of a failure; tell whether the replica is left out because of it.

        Args:
            unreachable: no connection could be made, which is no accident.
        """
        self._row += 1
        if now < self.until or (self._row < _IN_A_ROW and not unreachable):
            return False
        self.until = now + min(_LONGEST_S, _FIRST_S * 2 ** min(self._ejections, 16))
        self._ejections += 1
        self._row = 0
        return True

    def succeeded(self) -> None:
        """Take note of a good answer; what was before is forgotten step by step."""
        self._row = 0
        if self._ejections:
            self._ejections -= 1


class Recorded(Protocol):
    """A replica."""

    @property
    def record(self) -> Record:
        """What is known of its failures."""


R = TypeVar("R", bound=Recorded)


def candidates(replicas: Sequence[R], failed: Collection[R], now: float) -> Sequence[R]:
    """
    Return the replicas that an exchange may go to; empty only when all have failed it.

    Args:
        failed: those that have failed this very exchange.
    """
    out = [replica for replica in replicas if replica.record.until > now]
    if not out:
        return [replica for replica in replicas if replica not in failed] if failed else replicas
    # Of too many, those come back that would be first to.
    out.sort(key=lambda replica: replica.record.until)
    ejected = out[len(out) - min(len(out), len(replicas) // 2) :]
    left = [replica for replica in replicas if replica not in failed]
    return [replica for replica in left if replica not in ejected] or left
