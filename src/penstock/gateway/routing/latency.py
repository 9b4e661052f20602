"""How long a replica has taken to answer lately."""

from __future__ import annotations

import math

_FADES_S = 10.0  # after so long without answers a latency counts for 1/e of what it was, as in Finagle's `PeakEwma`


class Latency:
    """
    How long a replica has taken to answer lately: it rises to each peak at once and falls only gradually.

    After Finagle's `PeakEwma`: a replica that slows down is left at the first sign of it, and tried again in time.
    """

    __slots__ = ("_at", "_seconds")

    def __init__(self) -> None:
        self._at, self._seconds = 0.0, 0.0

    def add(self, seconds: float, now: float) -> None:
        """Take in the time of an answer that has just begun."""
        faded = self.at(now)
        kept = math.exp((self._at - now) / _FADES_S)
        self._seconds = seconds if seconds > faded else faded + seconds * (1 - kept)
        self._at = now

    def at(self, now: float) -> float:
        """Return seconds; 0 when nothing is known."""
        return self._seconds * math.exp((self._at - now) / _FADES_S)
