"""
The fold: takes the journal into the ledger, every exchange exactly once.

A batch of records and the position behind them are kept in one transaction, so whatever moment control dies at, a
record is either in the ledger and behind the position or neither. Request ids are unique in the ledger besides.

A segment that its writer has let go of is read to its end and removed. A writer that lives always has a segment, so
what is open of a writer that has none left is lost (`penstock.control.lost`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from penstock.control import lost
from penstock.journal.records import Opened, Settled
from penstock.journal.segment import Segment, segments
from penstock.records import ledger, offsets, opened
from penstock.records.database import Database, busy, unavailable

BATCH = 1000  # records in one transaction
_DAMAGED = ".damaged"
_INTERVAL_S = 0.25
_RETRY_S = 5.0  # after a failure of the whole, such as a full disk
_REST = 20  # steps for which a segment is left alone that could not be folded

_log = logging.getLogger(__name__)


class Follower(Protocol):
    """Whoever is told what has just been folded. Called from the fold, so it only takes notes."""

    def folded(self, segment: Segment, start: int, end: int, settled: Sequence[Settled], *, anew: bool) -> None:
        """
        Take note of what is in the ledger now.

        Args:
            start, end: between which positions of the segment these were.
            anew: some of them were in the ledger before.
        """

    def finished(self, segment: Segment, end: int) -> None:
        """Take note that nothing more comes from this segment, which is in the ledger up to here."""


class Fold:
    """
    Folds the journal of one data directory. Made once per control; shared by its tasks, which take turns inside.
    """

    def __init__(self, journal: Path, database: Database, follower: Follower | None = None) -> None:
        self._journal = journal
        self._database = database
        self._follower = follower
        self._turn = asyncio.Lock()
        self._positions: dict[str, int] | None = None  # as in the database; None: to be read from there
        self._broken: dict[str, int] = {}  # segments that could not be folded, and how many steps they still rest
        self._late: set[asyncio.Task[bool]] = set()  # passes that callers of `catch_up` may have left behind

    async def run(self) -> None:
        """Fold for ever, until cancelled."""
        while True:
            well = await self.step()
            await asyncio.sleep(_INTERVAL_S if well else _RETRY_S)

    async def catch_up(self, patience_s: float) -> None:
        """Fold what is in the journal now; after `patience_s` seconds go on with it without the caller."""
        task = asyncio.create_task(self.step(), name="catch-up")
        self._late.add(task)
        task.add_done_callback(self._late.discard)
        await asyncio.wait({task}, timeout=patience_s)

    async def step(self) -> bool:
        """
        Fold what is in the journal now. False when the database failed; nothing is lost by that.

        A segment that cannot be folded keeps no other from being folded; it is tried again some steps later.
        """
        async with self._turn:
            try:
                await self._fold_all()
                return True
            except (OSError, SQLAlchemyError) as error:
                self._positions = None  # a commit that failed may still have happened
                if busy(error):
                    _log.warning("the journal cannot be folded, the database is locked or away; trying again")
                else:
                    _log.exception("the journal cannot be folded; trying again")
                return False
            except asyncio.CancelledError:
                self._positions = None  # so may one that was cancelled
                raise

    @asynccontextmanager
    async def still(self) -> AsyncIterator[Mapping[str, int]]:
        """Yield how far each segment is in the ledger, those without a record left out; nothing is folded meanwhile."""
        async with self._turn:
            yield await self._load()

    def backlog(self) -> tuple[int, int]:
        """Return how many segments there are, and how many of their bytes are not in the ledger yet."""
        positions = self._positions or {}
        count = waiting = 0
        for segment in segments(self._journal):
            try:
                waiting += segment.waiting(positions.get(segment.path.name, 0))
            except FileNotFoundError:
                continue
            count += 1
        return count, waiting

    async def _fold_all(self) -> None:
        first = self._positions is None
        positions = await self._load()
        removed = False
        for segment in list(segments(self._journal)):
            name = segment.path.name
            if self._broken.get(name):
                self._broken[name] -= 1
                continue
            try:
                removed |= await self._fold(segment, positions)
                self._broken.pop(name, None)
            except FileNotFoundError:
                continue  # taken away by hand
            except Exception as error:  # whatever one segment holds, it is logged and the others go on
                if unavailable(error):
                    raise  # the database as a whole: a full disk, say
                if name not in self._broken:
                    _log.exception("a segment of the journal cannot be folded", extra=_fields(segment.path))
                self._broken[name] = _REST
                positions = await self._reload()
        if first or removed:
            await self._settle_lost()

    async def _fold(self, segment: Segment, positions: dict[str, int]) -> bool:
        """Fold one segment up to its present end, and remove it when it is done with. Return whether it was removed."""
        closed = segment.closed()  # before the last read: what comes after this look is seen by it
        name = segment.path.name
        end = segment.path.stat().st_size
        while (position := positions.get(name, 0)) < end:
            records, after = segment.read(position, BATCH)
            if not records:
                break
            settled = [record for record in records if isinstance(record, Settled)]
            done = {record.id for record in settled}
            pending = [record for record in records if isinstance(record, Opened) and record.id not in done]
            async with self._database.write() as connection:
                added = await ledger.add(connection, settled)
                await opened.remove(connection, list(done))
                await opened.add(connection, segment.writer, pending)
                await offsets.store(connection, name, after)
            positions[name] = after
            if self._follower is not None:
                self._follower.folded(segment, position, after, settled, anew=added < len(settled))
            if added < len(settled):
                _log.warning("%d records were in the ledger already", len(settled) - added, extra=_fields(segment.path))
        if closed:
            position = positions.get(name, 0)
            await self._finish(segment, positions)
            if self._follower is not None:
                self._follower.finished(segment, position)
        return closed

    async def _finish(self, segment: Segment, positions: dict[str, int]) -> None:
        """Take a segment out of the journal that is read to its end and will not grow."""
        name = segment.path.name
        if segment.damaged(positions.get(name, 0)):
            kept = segment.path.with_name(name + _DAMAGED)
            segment.path.rename(kept)
            _log.error(
                "a segment of the journal is damaged; what could be read is in the ledger, the file is kept",
                extra=_fields(kept, position=positions.get(name, 0)),
            )
        else:
            segment.path.unlink()
        # The file goes first: a position without a file is found at the next start, and one file folded twice is too.
        if positions.pop(name, None) is not None:
            async with self._database.write() as connection:
                await offsets.forget(connection, name)

    async def _settle_lost(self) -> None:
        async with self._database.read() as connection:
            waiting = await opened.writers(connection)
        # Read after any segment was found closed: a writer that went on to a new segment had it by then.
        gone = waiting - {segment.writer for segment in segments(self._journal)}
        for writer in sorted(gone):
            while True:
                async with self._database.write() as connection:
                    exchanges = await opened.of_writer(connection, writer, BATCH)
                    await ledger.add(connection, [lost.settle(exchange) for exchange in exchanges])
                    await opened.remove(connection, [exchange.id for exchange in exchanges])
                if not exchanges:
                    break
                _log.warning("%d exchanges are lost", len(exchanges), extra={"fields": {"writer": writer}})

    async def _load(self) -> dict[str, int]:
        return self._positions if self._positions is not None else await self._reload()

    async def _reload(self) -> dict[str, int]:
        """Read the positions from the database, dropping those whose segment is no more."""
        async with self._database.write() as connection:
            positions = await offsets.load(connection)
            present = {segment.path.name for segment in segments(self._journal)}
            for name in positions.keys() - present:
                await offsets.forget(connection, name)
        self._positions = {name: position for name, position in positions.items() if name in present}
        return self._positions


def _fields(path: Path, **more: object) -> dict[str, dict[str, object]]:
    return {"fields": {"segment": path.name, **more}}
