"""What is known of the journal of one other host, since this control began."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from penstock.journal.segment import born_ns, writer_of


class LateReport(Exception):
    """One that was sent after it has arrived before it: it tells how things were."""


class Elsewhere(msgspec.Struct):
    """
    Attributes:
        segments: that it has and that are not done.
        listed_ns: when these were all, by its own clock, nanoseconds since the epoch.
        heard_at: when it last reported, by our clock, seconds.
        latest: run and number of its last report.
        done: segments that it may not know yet to be done, and their ends.
        thinned: it has fewer segments than before, and what was open of those that are gone is not settled yet.
    """

    segments: frozenset[str] = frozenset()
    listed_ns: int = 0
    heard_at: float = 0.0
    latest: tuple[int, int] = (0, 0)
    done: dict[str, int] = {}
    thinned: bool = True

    def is_late(self, order: tuple[int, int]) -> bool:
        """Tell whether a report was sent before one of the same run that has arrived."""
        return order[0] == self.latest[0] and order[1] <= self.latest[1]

    def lists(self, names: Iterable[str], listed_ns: int, now: float) -> None:
        """Note all segments that it has."""
        there = frozenset(names)
        self.done = {name: end for name, end in self.done.items() if name in there}
        self.thinned = self.thinned or bool(self.segments - there)
        self.segments = there - self.done.keys()
        self.listed_ns, self.heard_at = listed_ns, now

    def finish(self, segment: str, end: int) -> None:
        """Note that a segment is in the ledger to its end."""
        self.done[segment] = end
        self.segments -= {segment}
        self.thinned = True

    def has_ended(self, writer: str) -> bool:
        """Tell whether a writer will write no more: it began before the segments were listed, and none is its."""
        return born_ns(writer) < self.listed_ns and writer not in {writer_of(name) for name in self.segments}
