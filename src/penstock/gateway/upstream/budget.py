"""How often failed attempts at a deployment may be made again: a share of what it is asked, not to feed a fault."""

from __future__ import annotations

_SHARE = 0.1  # of a retry that each first attempt pays in; Finagle and Envoy give 0.2, and leave fallbacks to others
_PER_SECOND = 1.0  # that come in by themselves, so that what is seldom asked may be asked again
_LEAST = 10.0


class RetryBudget:
    """
    A bucket of retries, full at first. For one thread.

    Args:
        now: seconds, monotonic.
    Source: `com.twitter.finagle.service.RetryBudget`.
    """

    __slots__ = ("_at", "_left", "_most")

    def __init__(self, now: float) -> None:
        self._most = self._left = _LEAST
        self._at = now

    def resize(self, seats: int) -> None:
        """
        Hold a retry for each seat of the deployment, if that is more than there is room for.

        Whatever is in progress at a replica that dies is lost at once, and is to be asked again at another.
        """
        most = max(_LEAST, float(seats))
        self._left = min(most, self._left + max(0.0, most - self._most))
        self._most = most

    def asked(self) -> None:
        """Pay in for a first attempt."""
        if self._left < self._most:
            self._left = min(self._most, self._left + _SHARE)

    def take(self, now: float) -> bool:
        """Take a retry out; tell whether there was one."""
        self._left = min(self._most, self._left + max(0.0, now - self._at) * _PER_SECOND)
        self._at = max(self._at, now)
        if self._left < 1:
            return False
        self._left -= 1
        return True
