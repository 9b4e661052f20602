"""How long to wait before something that died is started again."""

from __future__ import annotations

_FACTOR = 2.0
_FIRST_S = 0.1
_LONGEST_S = 10.0
STABLE_S = 60.0


class Backoff:
    """
    Doubles from 0.1 s to 10 s; a run of a minute makes the next wait the first again. Pure: callers pass the time.

    Args:
        first_free: the first wait is none at all.
    """

    def __init__(self, *, first_free: bool = False) -> None:
        self._first = 0.0 if first_free else _FIRST_S
        self._next = self._first
        self._started = 0.0

    def started(self, now: float) -> None:
        """Note that a run begins at `now`, in seconds of a monotonic clock."""
        self._started = now

    def ended(self, now: float) -> float:
        """Note that the run ended at `now`; return the seconds to wait before the next."""
        if now - self._started >= STABLE_S:
            self._next = self._first
        wait = self._next
        self._next = min(max(wait * _FACTOR, _FIRST_S), _LONGEST_S)
        return wait
