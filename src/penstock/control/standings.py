"""
What budgets have spent, for the node that counts on from there.

The node asks for each sum once, when somebody first spends of it, and counts all that is spent from then on itself. So
what is published has to be whole: everything that gateways wrote before this node started must be in the ledger.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from penstock.control.fold import Fold
from penstock.control.publish import Published
from penstock.journal.segment import segments
from penstock.pricing.period import DAY_S, bounds
from penstock.records import usage
from penstock.records.database import Database
from penstock.records.usage import DAY_NS, Selection
from penstock.snapshot.config import Budget, Config
from penstock.snapshot.standings import Standing, Standings, subject

_INTERVAL_S = 0.25

_log = logging.getLogger(__name__)


class Bookkeeper:
    """
    Publishes `Standings` whenever there are budgets that the last ones do not have.

    Args:
        since_ns: when the node started, nanoseconds since the epoch; who wrote before belongs to an earlier one.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        journal: Path,
        fold: Fold,
        database: Database,
        published: Published[Standings],
        since_ns: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._fold = fold
        self._database = database
        self._published = published
        self._since_ns = since_ns
        self._now = now

    async def run(self, config: Callable[[], Config | None]) -> None:
        """Follow the configuration for ever, until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            try:
                await self.step(config())
            except (OSError, SQLAlchemyError):
                _log.exception("what budgets have spent cannot be told; trying again")

    async def step(self, config: Config | None) -> bool:
        """
        Publish what is wanted and not there, if it can be told. False when it has to wait for the journal.

        Raises:
            OSError, SQLAlchemyError: the ledger cannot be read, or the document not be written.
        """
        wanted = {budget.id: budget for model in config.models.values() for budget in model.budgets} if config else {}
        known = self._published.current.budgets if self._published.current is not None else {}
        if wanted.keys() <= known.keys():
            return True
        if not await self._fold.step():
            return False
        if any(segment.born_ns < self._since_ns for segment in segments(self._journal)):
            return False  # its writer lives yet, or it is not folded to its end
        found = await self._sum(wanted.values())
        await self._published.replace(Standings(self._published.next_version, found))
        _log.info("standings published", extra={"fields": {"budgets": len(found)}})
        return True

    async def _sum(self, budgets: Iterable[Budget]) -> dict[str, Standing]:
        today = int(self._now()) // DAY_S
        found: dict[str, Standing] = {}
        async with self._database.read() as connection:
            for budget in budgets:
                first, _ = bounds(budget.period, today)
                selection = Selection(since_ns=first * DAY_NS)
                spent: dict[str, int] = {}
                for tally in await usage.tallies(connection, selection, (*budget.per, "model")):
                    if tally.model in budget.models and tally.cost_nano:
                        whom = subject(tuple(str(getattr(tally, name)) for name in budget.per))
                        spent[whom] = spent.get(whom, 0) + tally.cost_nano
                found[budget.id] = Standing(first, spent)
        return found
