"""The store of a process that counts for itself."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.counters.counter import Ask, Counter, Grant, Refusal, Return
from penstock.counters.tally import Tally


class Local:
    """
    A tally asked from inside its own process.

    Args:
        holder: number of whoever asks; several may share a tally.
    """

    def __init__(self, tally: Tally, holder: int = 0) -> None:
        self._tally = tally
        self._holder = holder

    async def take(self, asks: Sequence[Ask]) -> Sequence[Grant] | Refusal:
        """Take amounts, at once."""
        return self._tally.take(self._holder, asks)

    def give(self, returns: Sequence[Return]) -> None:
        """Give amounts back, at once."""
        self._tally.give(self._holder, returns)

    def settle(self, sums: Sequence[Counter], spent: int, back: int) -> None:
        """Count what is used up, at once."""
        self._tally.settle(self._holder, sums, spent, back)
