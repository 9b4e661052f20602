"""
The fold: takes the journal into the ledger, every exchange exactly once.

A batch of records and the position behind them are kept in one transaction, so whatever moment control dies at, a
record is either in the ledger and behind the position or neither. Request ids are unique in the ledger besides.

A segment that its writer has let go of is read to its end and removed. A writer that lives always has a segment, so
what is open of a writer that has none left is lost (`penstock.control.lost`).

Segments of other hosts come in pieces (`receive`), with the names of all that the host has. What is known of them, but
for that list, is in the database, so that any control can go on with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Container, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from penstock.control import lost
from penstock.control.elsewhere import Elsewhere, LateReport
from penstock.journal import segment as journal
from penstock.journal.host import host_of
from penstock.journal.records import Opened, Record, Settled
from penstock.journal.segment import Segment, adopt, dispose, segments, writer_of
from penstock.journal.shipping import Piece, Receipt
from penstock.records import ledger, offsets, opened
from penstock.records.database import Database, busy, unavailable

BATCH = 1000  # records in one transaction
_INTERVAL_S = 0.25
_RETRY_S = 5.0  # after a failure of the whole, such as a full disk
_GIVEN_UP_S = 3600.0  # for so long it is known what became of a host; by then nothing is asked of it any more
_REST = 20  # steps for which a segment is left alone that could not be folded

_log = logging.getLogger(__name__)


class Follower(Protocol):
    """Whoever is told what has just been folded. Called from the fold, so it only takes notes."""

    def folded(self, segment: str, start: int, end: int, settled: Sequence[Settled], *, anew: bool) -> None:
        """
        Take note of what is in the ledger now.

        Args:
            segment: the name of its file.
            start, end: between which positions of the segment these were.
            anew: some of them were in the ledger before.
        """

    def finished(self, segment: str, end: int) -> None:
        """Take note that nothing more comes from this segment, which is in the ledger up to here."""


class Fold:
    """
    Folds the journal of one data directory, and those of other hosts. Made once per control; shared by its tasks, which
    take turns inside.

    Args:
        host: the name of this data directory, see `penstock.journal.host`.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        journal: Path,
        database: Database,
        follower: Follower | None = None,
        host: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._database = database
        self._follower = follower
        self._host = host
        self._own = frozenset({"", host})
        self._clock = clock
        self._began = clock()
        self._elsewhere: dict[str, Elsewhere] = {}  # hosts that have reported
        self._given_up: dict[str, Elsewhere] = {}  # hosts that have left or were given up, lately
        self._turn = asyncio.Lock()
        self._positions: dict[str, int] | None = None  # as in the database; None: to be read from there
        self._looked = False  # for what was open when this control started
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
        positions = await self._load()
        self._adopt()
        removed = False
        for segment in list(segments(self._journal)):
            name = segment.path.name
            if self._rests(name):
                continue
            try:
                removed |= await self._fold(segment, positions)
                self._broken.pop(name, None)
            except FileNotFoundError:
                continue  # taken away by hand
            except Exception as error:  # noqa: BLE001  # whatever one segment holds, it is logged and the others go on
                positions = await self._isolate(name, error)
        if removed or not self._looked:
            await self._settle_lost(self._own, [each.path.name for each in segments(self._journal)])
            self._looked = True

    def _adopt(self) -> None:
        """Take over what bears another host's name here, as in a directory that was copied or has lost its name."""
        for segment in segments(self._journal):
            with contextlib.suppress(FileNotFoundError):  # taken away by hand
                if host_of(segment.path.name) not in self._own and segment.closed():
                    adopt(segment, self._host)

    def _rests(self, name: str) -> bool:
        """Tell whether a segment that could not be folded is to be left alone this time."""
        resting = self._broken.get(name, 0)
        if resting:
            self._broken[name] = resting - 1
        return resting > 0

    async def _isolate(self, name: str, error: Exception) -> dict[str, int]:
        """Let a segment rest that could not be folded, so that the others go on; return the positions as they are."""
        if unavailable(error):
            raise error  # the database as a whole: a full disk, say
        if name not in self._broken:
            _log.error("a segment of the journal cannot be folded", extra=_fields(name), exc_info=error)
        self._broken[name] = _REST
        return await self._reload()

    async def _fold(self, segment: Segment, positions: dict[str, int]) -> bool:
        """Fold one segment up to its present end, and remove it when it is done with. Return whether it was removed."""
        closed = segment.closed()  # before the last read: what comes after this look is seen by it
        name = segment.path.name
        end = segment.path.stat().st_size
        while (position := positions.get(name, 0)) < end:
            records, after = segment.read(position, BATCH)
            if not records:
                break
            await self._take(name, positions, records, after)
        if closed:
            position = positions.get(name, 0)
            await self._finish(segment, positions)
            if self._follower is not None:
                self._follower.finished(name, position)
        return closed

    async def _take(self, name: str, positions: dict[str, int], records: Sequence[Record], after: int) -> None:
        """Bring the next records of a segment into the ledger."""
        position = positions.get(name, 0)
        settled = [record for record in records if isinstance(record, Settled)]
        done = {record.id for record in settled}
        pending = [record for record in records if isinstance(record, Opened) and record.id not in done]
        async with self._database.write() as connection:
            added = await ledger.add(connection, settled)
            await opened.remove(connection, list(done))
            await opened.add(connection, writer_of(name), pending)
            await offsets.store(connection, name, after)
        positions[name] = after
        if self._follower is not None:
            self._follower.folded(name, position, after, settled, anew=added < len(settled))
        if added < len(settled):
            _log.warning("%d records were in the ledger already", len(settled) - added, extra=_fields(name))

    async def receive(
        self, host: str, pieces: Sequence[Piece], order: tuple[int, int] | None = None, listed_ns: int | None = None
    ) -> Receipt:
        """
        Fold what a host has sent.

        Pieces that do not begin where the ledger ends are left alone.

        Args:
            pieces: one for each segment that the host has.
            order: run and number of the report. None: they are known to be in order.
            listed_ns: when these were all segments, by the clock of the host. None: now, by ours.
        Raises:
            LateReport: nothing is changed by it.
            SQLAlchemyError: the database failed; what was folded before that stays, and the rest may be sent again.
        """
        async with self._turn:
            known = self._elsewhere.get(host, Elsewhere())
            left = self._given_up.get(host, known)
            if order is not None:
                if known.is_late(order) or left.is_late(order):
                    raise LateReport
                known.latest = order
            self._elsewhere[host] = known
            known.lists(
                (piece.segment for piece in pieces), time.time_ns() if listed_ns is None else listed_ns, self._clock()
            )
            try:
                return await self._receive(host, known, pieces)
            except BaseException:
                self._positions = None  # a commit that failed, or was cancelled, may still have happened
                raise

    async def _receive(self, host: str, known: Elsewhere, pieces: Sequence[Piece]) -> Receipt:
        positions = await self._load()
        names = {piece.segment for piece in pieces}
        gone = [name for name in positions if host_of(name) == host and name not in names]
        await self._forget(gone, positions)
        self._broken = {n: rest for n, rest in self._broken.items() if host_of(n) != host or n in names}
        stuck: list[str] = []
        for piece in pieces:
            name = piece.segment
            if name in known.done or piece.start != positions.get(name, 0) or self._rests(name):
                continue
            try:
                whole = await self._take_piece(piece, positions)
            except Exception as error:  # noqa: BLE001  # as for a segment of our own
                positions = await self._isolate(name, error)
                continue
            self._broken.pop(name, None)
            if not whole:
                stuck.append(name)
            elif piece.closed:
                end = positions.get(name, 0)
                await self._forget([name], positions)
                known.finish(name, end)
                if self._follower is not None:
                    self._follower.finished(name, end)
        if known.thinned:
            await self._settle_lost(frozenset({host}), known.segments)
            known.thinned = False
        open_ones = {name: positions.get(name, 0) for name in sorted(names - known.done.keys())}
        return Receipt(open_ones, done=dict(known.done), stuck=tuple(stuck))

    async def _take_piece(self, piece: Piece, positions: dict[str, int]) -> bool:
        """Bring a piece into the ledger; False when there is something in it that cannot be read."""
        records = journal.read(piece.data)
        for first in range(0, len(records), BATCH):
            part = records[first : first + BATCH]
            await self._take(piece.segment, positions, [record for record, _ in part], piece.start + part[-1][1])
        return (records[-1][1] if records else 0) == len(piece.data)

    async def give_up(self, host: str) -> None:
        """
        Wait no longer for a host that will not come again: what it had open is lost.

        Raises:
            SQLAlchemyError: the database failed; it may be tried again.
        """
        async with self._turn:
            positions = await self._load()
            await self._settle_lost(frozenset({host}), frozenset())
            await self._forget([name for name in positions if host_of(name) == host], positions)
            known, now = self._elsewhere.pop(host, Elsewhere()), self._clock()
            known.heard_at = now
            lately = {name: each for name, each in self._given_up.items() if now - each.heard_at < _GIVEN_UP_S}
            self._given_up = {**lately, host: known}
            self._broken = {name: rest for name, rest in self._broken.items() if host_of(name) != host}

    def ended(self, writers: Iterable[str]) -> set[str]:
        """Return those of the writers that are known to write no more."""
        here = {each.writer for each in segments(self._journal)}
        return {writer for writer in writers if self._has_ended(writer, here)}

    def _has_ended(self, writer: str, here: Container[str]) -> bool:
        host = host_of(writer)
        if host in self._own:
            return writer not in here
        known = self._elsewhere.get(host)
        return host in self._given_up if known is None else known.has_ended(writer)

    def silent_s(self, writer: str) -> float:
        """Return for how long the host of a writer has not reported, in seconds; 0 for this host."""
        host = host_of(writer)
        if host in self._own:
            return 0.0
        known = self._elsewhere.get(host)
        return self._clock() - (self._began if known is None else known.heard_at)

    def segments(self) -> list[str]:
        """Return the names of all segments that are there, as far as it is known."""
        here = [each.path.name for each in segments(self._journal)]
        return [*here, *(name for known in self._elsewhere.values() for name in known.segments)]

    async def _finish(self, segment: Segment, positions: dict[str, int]) -> None:
        """Take a segment out of the journal that is read to its end and will not grow."""
        name = segment.path.name
        dispose(segment, positions.get(name, 0))
        # The file goes first: a position without a file is found at the next start, and one file folded twice is too.
        await self._forget([name], positions)

    async def _forget(self, names: Iterable[str], positions: dict[str, int]) -> None:
        kept = [name for name in names if name in positions]
        if kept:
            async with self._database.write() as connection:
                for name in kept:
                    await offsets.forget(connection, name)
            for name in kept:
                del positions[name]

    async def _settle_lost(self, hosts: Container[str], present: Iterable[str]) -> None:
        """
        Settle what is open of the writers of these hosts that have no segment any more.

        Args:
            present: segments that are there, read after any was found closed: a writer that went on to a new one had it
                by then.
        """
        async with self._database.read() as connection:
            waiting = await opened.writers(connection)
        theirs = {writer for writer in waiting if host_of(writer) in hosts}
        for writer in sorted(theirs - {writer_of(name) for name in present}):
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
        async with self._database.read() as connection:
            positions = await offsets.load(connection)
        present = {each.path.name for each in segments(self._journal)}
        await self._forget([n for n in positions if host_of(n) in self._own and n not in present], positions)
        self._positions = positions
        return positions


def _fields(name: str) -> dict[str, dict[str, str]]:
    return {"fields": {"segment": name}}
