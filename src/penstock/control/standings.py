"""
What budgets have spent, for the node that counts on from there.

The node asks for each sum once, when somebody first spends of it, and counts all that is spent from then on itself. So
what is published has to be whole: everything that gateways wrote before this node started must be in the ledger.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

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
_PATIENCE_S = 5.0  # a configuration does not wait for longer
_KEPT_S = 5.0  # gateways follow a configuration within 0.1 s

_log = logging.getLogger(__name__)


class Bookkeeper:
    """
    Publishes `Standings` whenever there are other budgets than the last ones have.

    Args:
        since_ns: when the node started, nanoseconds since the epoch; who wrote before belongs to an earlier one.
        before: the configuration that is in force already, where another control has published it.
        now: seconds since the epoch.

    Attributes:
        told: set once everything that is wanted has been published.
    """

    def __init__(
        self,
        journal: Path,
        fold: Fold,
        database: Database,
        published: Published[Standings],
        since_ns: int,
        before: Config | None = None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._fold = fold
        self._database = database
        self._published = published
        self._since_ns = since_ns
        self._now = now
        self._clock = clock
        self._mentioned: set[str] = set()
        self._turn = asyncio.Lock()
        self._wanted = _local(before) if before is not None else {}  # as it was published last
        self._in_force = set(self._wanted)  # by the configuration that was prepared last
        self._anew: set[str] = set()  # what has come into force and is to be told anew
        self._keep_until = 0.0
        self.told = asyncio.Event()

    async def run(self, config: Callable[[], Config | None]) -> None:
        """Follow the configuration for ever, until cancelled."""
        while True:
            try:
                if await self.step(config()):
                    self.told.set()
            except (OSError, SQLAlchemyError):
                _log.exception("what budgets have spent cannot be told; trying again")
            await asyncio.sleep(_INTERVAL_S)

    async def prepare(self, config: Config) -> None:
        """Tell of what a configuration will want, before gateways follow it; what they want now stays for a while."""
        self._keep_until = self._clock() + _KEPT_S
        wanted = _local(config)
        self._anew |= wanted.keys() - self._in_force
        self._in_force = set(wanted)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self.step(config)
        except TimeoutError:
            _log.warning("the journal is long; budgets wait until it is in the ledger")
        except (OSError, SQLAlchemyError):
            _log.exception("what budgets have spent cannot be told; trying again")

    async def step(self, config: Config | None) -> bool:
        """
        Publish what is wanted and not there, if it can be told. False when it has to wait for the journal.

        Raises:
            OSError, SQLAlchemyError: the ledger cannot be read, or the document not be written.
        """
        async with self._turn:
            wanted = _local(config) if config is not None else {}
            if self._clock() < self._keep_until:
                wanted = {**self._wanted, **wanted}
            return await self._publish(wanted)

    async def _publish(self, wanted: dict[str, Budget]) -> bool:
        known = self._published.current.budgets if self._published.current is not None else {}
        self._anew &= wanted.keys()
        if wanted.keys() == known.keys() and not self._anew:
            return True
        if not await self._fold.step():
            return False
        for segment in segments(self._journal):
            if segment.born_ns < self._since_ns:  # its writer lives yet, or it is not folded to its end
                if segment.path.name not in self._mentioned:
                    self._mentioned.add(segment.path.name)
                    _log.warning("budgets wait for a segment of an earlier node", extra=_fields(segment.path))
                return False
        version = self._published.next_version
        anew = self._anew | (wanted.keys() - known.keys())
        tellings = {name: version if name in anew else known[name].told for name in wanted}
        today = int(self._now()) // DAY_S
        async with self._database.read() as connection:
            found = {
                budget.id: Standing(first, spent, tellings[budget.id])
                async for budget, first, spent in sums(connection, wanted.values(), today)
            }
        await self._published.replace(Standings(version, found))
        self._wanted, self._anew = wanted, set()
        _log.info("standings published", extra={"fields": {"budgets": len(found)}})
        return True


async def sums(
    connection: AsyncConnection, budgets: Iterable[Budget], today: int
) -> AsyncIterator[tuple[Budget, int, dict[str, int]]]:
    """Yield each budget with the first day of its period, and what has been spent in it by subject."""
    for budget in budgets:
        first, _ = bounds(budget.period, today)
        spent: dict[str, int] = {}
        for tally in await usage.tallies(connection, Selection(since_ns=first * DAY_NS), (*budget.per, "model")):
            if tally.model in budget.models and tally.cost_nano:
                whom = subject(tuple(str(getattr(tally, name)) for name in budget.per))
                spent[whom] = spent.get(whom, 0) + tally.cost_nano
        yield budget, first, spent


def budgets_of(config: Config) -> dict[str, Budget]:
    """Return all budgets by their ids."""
    return {budget.id: budget for model in config.models.values() for budget in model.budgets}


def _local(config: Config) -> dict[str, Budget]:
    """Return those that the node counts."""
    return {} if config.gateway.counters is not None else budgets_of(config)


def _fields(path: Path) -> dict[str, dict[str, object]]:
    return {"fields": {"segment": path.name}}
