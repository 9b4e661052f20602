"""Where the node's sums of money begin: what control has published since the node started."""

from __future__ import annotations

import logging
from pathlib import Path

from penstock.counters.counter import Counter
from penstock.snapshot.file import Reader, UnknownFormat
from penstock.snapshot.standings import Standing, Standings

_log = logging.getLogger(__name__)


class Ledger:
    """An `Opening` out of `Standings`. What an earlier node's control left must be withdrawn before it is made."""

    def __init__(self, snapshot: Path) -> None:
        self._reader = Reader(snapshot, Standings)
        self._standings: Standings | None = None

    def telling(self, counter: Counter) -> int:
        """Return the version of the standings in which control told of the budget first; 0 while it has not."""
        try:
            self._standings = self._reader.changed() or self._standings
        except UnknownFormat as error:
            _log.error("standings not understood", extra={"fields": {"error": str(error)}})
        standing = self._standing(counter)
        return 0 if standing is None else standing.told

    def spent(self, counter: Counter) -> int | None:
        """Return what a sum begins with, as of the last `telling`; None while control has not told of its budget."""
        standing = self._standing(counter)
        if standing is None or counter.begins < standing.since_day:
            return None
        return standing.spent_nano.get(counter.subject, 0) if counter.begins == standing.since_day else 0

    def _standing(self, counter: Counter) -> Standing | None:
        return self._standings.budgets.get(counter.budget) if self._standings is not None else None
