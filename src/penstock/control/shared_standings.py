"""
What budgets have spent, for all workers of all hosts that count in Redis.

A worker holds what an exchange has cost until it is in the ledger, and control brings what is new in the ledger into
the sums, with the position in the journal, in one step. So at any moment what is spent is either held or in the sum;
and what Redis has lost, it is told anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from penstock.auth.secrets import SecretMissing, SecretRef, resolve
from penstock.control.fold import Fold
from penstock.control.standings import budgets_of, sums
from penstock.counters.redis import GONE, Unusable
from penstock.counters.sums import Amount, Sums
from penstock.journal.records import Settled
from penstock.journal.segment import writer_of
from penstock.pricing.period import DAY_S, bounds
from penstock.records.database import Database
from penstock.snapshot.config import Budget, Config
from penstock.snapshot.standings import subject, sum_name

_INTERVAL_S = 0.1
_PATIENCE_S = 5.0  # a configuration does not wait for longer
_KEPT_S = 5.0  # gateways follow a configuration within 0.1 s
_SILENT_S = 5.0  # a worker whose journal is folded to its end has ended by then
_GONE_S = 600.0  # a host that has not reported for so long is not waited for with what its workers hold
_MOST = 10_000  # batches of the fold that wait for Redis; with more, it is told everything anew

_log = logging.getLogger(__name__)


class _Posting(msgspec.Struct, frozen=True):
    """What one batch of the fold adds; one without an end says that the segment ends where it starts."""

    segment: str
    start: int
    end: int | None = None
    amounts: Sequence[Amount] = ()


class SharedBookkeeper:
    """
    Keeps the sums in Redis as the ledger has them, while the configuration names one. Follows the fold.

    Args:
        environ: where the address of Redis may be.
        now: seconds since the epoch.
        clock: seconds, monotonic.
    Attributes:
        problem: why Redis does not know what is spent, or empty; also where none is named.
        told: set once it knows for the first time.
    """

    def __init__(
        self,
        database: Database,
        environ: Mapping[str, str],
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._environ = environ
        self._now = now
        self._clock = clock
        self._turn = asyncio.Lock()
        self._reference: SecretRef | None = None
        self._sums: Sums | None = None
        self._budgets: dict[str, Budget] = {}  # as Redis knows them
        self._wanted: dict[str, Budget] = {}
        self._keep_until = 0.0
        self._postings: deque[_Posting] = deque()
        self._announced: set[str] = set()  # segments that Redis knows of
        self._ended: set[str] = set()  # writers that had a segment which will not grow; with no other, they have ended
        self._lost = True  # whether it has to be told everything anew
        self.problem = ""
        self.told = asyncio.Event()

    def folded(self, segment: str, start: int, end: int, settled: Sequence[Settled], *, anew: bool) -> None:
        """Take note of what is in the ledger now."""
        if self._reference is None:
            return
        self._lost = self._lost or anew or len(self._postings) >= _MOST
        if self._lost:
            return
        amounts: dict[tuple[str, int], int] = {}
        for record in settled:
            for budget in self._budgets.values() if record.cost_nano else ():
                if record.model in budget.models:
                    named = _named(budget, record)
                    amounts[named] = amounts.get(named, 0) + record.cost_nano
        listed = [(name, amount, ends) for (name, ends), amount in amounts.items()]
        self._postings.append(_Posting(segment, start, end, listed))

    def finished(self, segment: str, end: int) -> None:
        """Take note that nothing more comes from this segment."""
        if self._reference is None:
            return
        self._ended.add(writer_of(segment))
        if not self._lost:
            self._postings.append(_Posting(segment, end))

    async def run(self, fold: Fold, config: Callable[[], Config | None]) -> None:
        """Follow ledger and configuration for ever, until cancelled."""
        while True:
            await self._try(fold, config())
            await asyncio.sleep(_INTERVAL_S)

    async def prepare(self, fold: Fold, config: Config) -> None:
        """Tell of what a configuration will want, before gateways follow it; what they want now stays for a while."""
        self._keep_until = self._clock() + _KEPT_S
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._try(fold, config)
        except TimeoutError:
            _log.warning("Redis has not been told of all budgets yet; they wait")
            async with self._turn:
                self._disconnect()

    async def aclose(self) -> None:
        """Tell what is not told yet, and close."""
        async with self._turn:
            with contextlib.suppress(*GONE):
                if self._sums is not None and not self._lost:
                    await self._post()
            self._disconnect()

    async def _try(self, fold: Fold, config: Config | None) -> None:
        try:
            if config is not None:
                await self.step(fold, config)
                self.told.set()
        except SQLAlchemyError:
            _log.exception("what budgets have spent cannot be read; trying again")
        except GONE as error:
            async with self._turn:
                self._disconnect()
            reason = str(error) if isinstance(error, SecretMissing | Unusable) else type(error).__name__
            if not self.problem:
                _log.warning("Redis is away; trying again", extra={"fields": {"error": reason}})
            self.problem = reason

    async def step(self, fold: Fold, config: Config) -> None:
        """
        Tell Redis what it does not know yet.

        Raises:
            redis.GONE: it cannot be reached; nothing is lost by that.
            SQLAlchemyError: the ledger cannot be read.
        """
        async with self._turn:
            wanted = budgets_of(config)
            if self._clock() < self._keep_until:
                wanted = {**self._wanted, **wanted}
            self._wanted = wanted
            if config.gateway.counters != self._reference:
                self._disconnect()
                self._reference, self._lost = config.gateway.counters, True
            if self._reference is None:
                self.problem = ""
                return
            if self._sums is None:
                self._sums = await Sums.open(resolve(self._reference, self._environ))
                self.problem = ""
            named = set(fold.segments())  # before the rest is posted
            present = {writer_of(segment) for segment in named}
            known = await self._sums.budgets()
            if known is None or self._lost or not await self._announce(named) or not await self._post():
                await self._tell_all(fold, wanted)
            elif wanted.keys() != known.keys():
                await self._change(fold, wanted, known)
            await self._free(fold, present)

    async def _free(self, fold: Fold, present: set[str]) -> None:
        """Free what workers held that have ended, and those of hosts that have been silent for very long."""
        assert self._sums is not None, "connected"
        writers = await self._sums.writers()
        ended = fold.ended(writers)
        silent = {writer for writer in writers - ended if fold.silent_s(writer) >= _SILENT_S}
        await self._sums.excuse(silent)
        for writer in ended | {writer for writer in silent if fold.silent_s(writer) >= _GONE_S}:
            if await self._sums.free(writer, 0.0 if writer in self._ended and writer in ended else _SILENT_S):
                self._ended.discard(writer)
        self._ended &= present

    async def _announce(self, named: set[str]) -> bool:
        """Name every segment there is before a later one is, so that one that is not named is done with."""
        assert self._sums is not None, "connected"
        for segment in sorted(named - self._announced):
            if not await self._sums.post(writer_of(segment), segment, 0, 0, ()):
                return False
        self._announced = named
        return True

    async def _post(self) -> bool:
        """Post what has been folded; False when Redis does not know what that is to be added to."""
        assert self._sums is not None, "connected"
        while self._postings and not self._lost:
            first = self._postings[0]
            if first.end is None:
                known = await self._sums.finish(writer_of(first.segment), first.segment, first.start)
            else:
                writer = writer_of(first.segment)
                known = await self._sums.post(writer, first.segment, first.start, first.end, first.amounts)
            if not known:
                return False
            self._postings.popleft()
        return not self._lost

    async def _tell_all(self, fold: Fold, wanted: dict[str, Budget]) -> None:
        assert self._sums is not None, "connected"
        began = self._clock()
        await fold.step()  # so that nobody waits for workers that have ended
        async with fold.still() as positions:
            self._lost = True  # until all of it is done
            self._postings.clear()
            of_writers: dict[str, dict[str, int]] = {}
            for segment in {*fold.segments(), *positions}:
                of_writers.setdefault(writer_of(segment), {})[segment] = positions.get(segment, 0)
            days, amounts = await self._read(wanted)
            awaited = [writer for writer in of_writers if fold.silent_s(writer) < _SILENT_S]
            await self._sums.replace(days, amounts, of_writers, awaited)
            self._announced = {name for names in of_writers.values() for name in names}
            self._budgets, self._lost = wanted, False
        seconds = round(self._clock() - began, 3)
        _log.info("Redis knows what is spent", extra={"fields": {"sums": len(amounts), "seconds": seconds}})

    async def _change(self, fold: Fold, wanted: dict[str, Budget], known: Mapping[str, int]) -> None:
        assert self._sums is not None, "connected"
        async with fold.still():
            if not await self._post():
                self._lost = True
                return
            days, amounts = await self._read({name: wanted[name] for name in wanted.keys() - known.keys()})
            self._lost = True  # until all of it is done
            await self._sums.add(days, amounts)
            await self._sums.remove(known.keys() - wanted.keys())
            self._budgets, self._lost = wanted, False

    async def _read(self, budgets: Mapping[str, Budget]) -> tuple[dict[str, int], list[Amount]]:
        """Return the first days of the budgets' periods, and what the ledger has."""
        days: dict[str, int] = {}
        amounts: list[Amount] = []
        today = int(self._now()) // DAY_S
        async with self._database.read() as connection:
            async for budget, first, spent in sums(connection, budgets.values(), today):
                days[budget.id] = first
                ends = bounds(budget.period, first)[1] * DAY_S
                amounts += [(sum_name(budget.id, first, whom), amount, ends) for whom, amount in spent.items()]
        return days, amounts

    def _disconnect(self) -> None:
        if self._sums is not None:
            self._sums.close()
            self._sums = None


def _named(budget: Budget, record: Settled) -> tuple[str, int]:
    first, end = bounds(budget.period, record.at_ns // (DAY_S * 10**9))
    whom = subject(tuple(str(getattr(record, name)) for name in budget.per))
    return sum_name(budget.id, first, whom), end * DAY_S
