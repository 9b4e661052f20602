"""
Which of a deployment's replicas an exchange goes to. Adding a way: a function here, a line in `WAYS`, a test.

No I/O, no clock, no chance: what they need is passed in, what they choose is returned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from penstock.snapshot.config import Balance

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


class Loaded(Protocol):
    """Something that exchanges are sent to, as this process knows it."""

    @property
    def outstanding(self) -> int:
        """Exchanges in progress."""

    @property
    def latency(self) -> Latency:
        """How soon it answers."""


L = TypeVar("L", bound=Loaded)
Way = Callable[[Sequence[L], int, float], L]


def least_outstanding(candidates: Sequence[L], turn: int, _now: float) -> L:
    """
    Return the candidate with the fewest exchanges in progress.

    Args:
        candidates: at least one.
        turn: a growing number; among equals the choice rotates with it, so that idle replicas share the work.
    """
    count = len(candidates)
    best = candidates[turn % count]
    for position in range(1, count):
        candidate = candidates[(turn + position) % count]
        if candidate.outstanding < best.outstanding:
            best = candidate
    return best


def round_robin(candidates: Sequence[L], turn: int, _now: float) -> L:
    """Return one after the other, whatever they have to do."""
    return candidates[turn % len(candidates)]


def peak_ewma(candidates: Sequence[L], turn: int, now: float) -> L:
    """
    Return the better of two: the one that would answer sooner, by its latency times the exchanges that it then has.

    With two instead of all, processes that know the same do not all run to the same replica (Mitzenmacher, 2001). As
    the turn grows, every pair comes up equally often. Where of one no latency is known, fewer exchanges in progress
    decide, so that a new replica is not flooded.
    """
    count = len(candidates)
    if count == 1:
        return candidates[0]
    first = candidates[turn % count]
    second = candidates[(turn + 1 + turn // count % (count - 1)) % count]
    ours, theirs = first.latency.at(now), second.latency.at(now)
    if not ours or not theirs:
        ours = theirs = 1.0
    return second if theirs * (second.outstanding + 1) < ours * (first.outstanding + 1) else first


WAYS: Mapping[Balance, Way] = {  # type: ignore[type-arg]  # each works for whatever it is given
    Balance.LEAST_OUTSTANDING: least_outstanding,
    Balance.ROUND_ROBIN: round_robin,
    Balance.PEAK_EWMA: peak_ewma,
}
