"""Where the node's sums of money begin: what control has published since the node started."""

from __future__ import annotations

import logging
from pathlib import Path

from penstock.counters.counter import Counter
from penstock.snapshot.file import Reader, UnknownFormat
from penstock.snapshot.standings import Standings

_log = logging.getLogger(__name__)


class Ledger:
    """An `Opening` out of `Standings`. What an earlier node's control left must be withdrawn before it is made."""

    def __init__(self, snapshot: Path) -> None:
        self._reader = Reader(snapshot, Standings)
        self._standings: Standings | None = None

    def spent(self, counter: Counter) -> int | None:
        """Return what a sum begins with; None while control has not told of its budget."""
        try:
            self._standings = self._reader.changed() or self._standings
        except UnknownFormat as error:
            _log.error("standings not understood", extra={"fields": {"error": str(error)}})
        standing = self._standings.budgets.get(counter.budget) if self._standings is not None else None
        if standing is None or counter.begins < standing.since_day:
            return None
        return standing.spent_nano.get(counter.subject, 0) if counter.begins == standing.since_day else 0
