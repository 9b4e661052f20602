"""
Replicas of a deployment that fail while others answer are left out for a while, as by Envoy's outlier detection.

At most half of a deployment's replicas are left out at once, and at least one never is: where most of them fail it is
not they that are odd, and the rest is not to carry everything.

It takes fewer failures in a row than the deployment's breaker does, of fewer outcomes: so what one replica does is not
laid to the deployment's charge.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar

from penstock.gateway.upstream.outcomes import Outcomes
from penstock.types.errors import UpstreamError, UpstreamTimeout, UpstreamUnreachable

_IN_A_ROW = 3  # failures where there is little traffic; Envoy's is 5, over an interval of 10 s
# Where there is much. Each broken answer costs a retry, and of a tenth that break eight in a row at a thousand a second
# come once a day; but timeouts cost none, and come together: deadlines are looked at ten times a second.
_MOST_BROKEN = 8
_MOST_TIMEOUTS = 28
_FIRST_S = 1.0  # the fleet's own verdict on a dead replica takes no longer
_LONGEST_S = 30.0


class Record:
    """
    What is known of one replica's failures. For one thread.

    Attributes:
        until: when it may be used again.
    """

    __slots__ = ("_ejections", "_outcomes", "until")

    def __init__(self) -> None:
        self.until = 0.0
        self._outcomes = Outcomes()
        self._ejections = 0

    def failed(self, now: float, error: UpstreamError) -> bool:
        """
        Take note of a failure; tell whether the replica is left out because of it.

        That no connection can be made is no accident: once is enough. What fails while it is left out was asked before,
        and says nothing of how it is behind that.
        """
        if now < self.until:
            return False
        _, seen = self._outcomes.failed(now)
        most = _MOST_TIMEOUTS if isinstance(error, UpstreamTimeout) else _MOST_BROKEN
        if not isinstance(error, UpstreamUnreachable) and not self._outcomes.too_many(_IN_A_ROW, most, seen):
            return False
        self.until = now + min(_LONGEST_S, _FIRST_S * 2 ** min(self._ejections, 16))
        self._ejections += 1
        self._outcomes.forget()
        return True

    def succeeded(self, now: float) -> None:
        """Take note of a good answer; what was before is forgotten step by step."""
        self._outcomes.succeeded(now)
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
