"""Journals of other hosts: whatever is repeated, late or lost on the way, every exchange is in the ledger once."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.control.bulletin import Unwelcome
from penstock.control.elsewhere import LateReport
from penstock.control.fold import BATCH, Fold
from penstock.control.hosts import Hosts
from penstock.journal.host import writer_name
from penstock.journal.records import Settled
from penstock.journal.segment import Writer, segments
from penstock.journal.shipping import Piece, Receipt, Report
from penstock.node.courier import Courier
from penstock.records import offsets
from penstock.records.database import Unreachable
from penstock.records.hosts import Host
from tests.control.test_fold import World, dying, in_world
from tests.records.exchanges import opened as an_opened
from tests.records.exchanges import settled as a_settled

HERE, EU, US = "00000000c0de", "0123456789ab", "ba9876543210"


class Elsewhere:
    """The journal of another host, and what it sends."""

    def __init__(self, directory: Path, name: str = EU) -> None:
        self.name = name
        self.journal = directory / name
        self.journal.mkdir()
        self.courier = Courier(self.journal, name)

    def writer(self, worker: str = "gateway-0", segment_bytes: int = 1_000_000) -> Writer:
        return Writer(self.journal, writer_name(self.name, worker), segment_bytes)

    def pieces(self, positions: dict[str, int] | None = None) -> tuple[Piece, ...]:
        """All there is, each segment from the position given or its start."""
        found = []
        for segment in segments(self.journal):
            start = (positions or {}).get(segment.path.name, 0)
            found.append(Piece(segment.path.name, start, segment.raw(start, 1 << 30), segment.closed()))
        return tuple(found)

    async def send(self, fold: Fold) -> Receipt:
        receipt = await fold.receive(self.name, self.courier.pieces())
        self.courier.received(receipt)
        return receipt

    def files(self) -> list[str]:
        return sorted(path.name for path in self.journal.iterdir())


def elsewhere(tmp_path: Path, case: Callable[[World, Elsewhere], Awaitable[None]]) -> None:
    async def whole(world: World) -> None:
        world.fold = Fold(world.journal, world.database, host=HERE)
        await case(world, Elsewhere(tmp_path))

    in_world(tmp_path, whole)


def request(number: int) -> str:
    return a_settled(number).id


def test_what_a_host_sends_is_in_the_ledger_with_its_cost(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        writer = host.writer()
        for record in (an_opened(1), an_opened(2), a_settled(1, cost_nano=77)):
            writer.append(record)
        (piece,) = host.pieces()
        receipt = await world.fold.receive(EU, [piece])
        assert receipt == Receipt({piece.segment: len(piece.data)}, {})
        assert await world.entries() == {request(1): a_settled(1, cost_nano=77)}
        assert await world.open() == {request(2)}
        writer.close()

    elsewhere(tmp_path, case)


def test_a_report_that_comes_again_changes_nothing(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        writer = host.writer()
        writer.append(a_settled(1))
        writer.append(an_opened(2))
        pieces = host.pieces()
        first = await world.fold.receive(EU, pieces)
        for _ in range(3):
            assert await world.fold.receive(EU, pieces) == first
        assert await world.outcomes() == {request(1): "answered"}
        assert await world.open() == {request(2)}
        writer.append(a_settled(2))
        assert await world.fold.receive(EU, host.pieces(first.positions)) != first
        await world.fold.receive(EU, pieces)
        assert await world.outcomes() == {request(1): "answered", request(2): "answered"}
        assert await world.open() == set(), "an exchange that was settled since is not open again"
        writer.close()

    elsewhere(tmp_path, case)


@pytest.mark.parametrize("start", [-1, 1, 10**6, 2**64])
def test_a_piece_out_of_position_is_left_alone_and_the_right_one_is_told(tmp_path: Path, start: int) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        writer = host.writer()
        writer.append(a_settled(1))
        (first,) = host.pieces()
        writer.append(a_settled(2))
        (whole,) = host.pieces()
        known = await world.fold.receive(EU, [first])
        writer.close()
        ahead = Piece(whole.segment, start, whole.data, closed=True)
        assert await world.fold.receive(EU, [ahead]) == known
        assert await world.outcomes() == {request(1): "answered"}

    elsewhere(tmp_path, case)


def test_more_records_than_a_batch_come_in_one_piece(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        writer = host.writer()
        for number in range(2 * BATCH + 1):
            writer.append(a_settled(number))
        (piece,) = host.pieces()
        assert (await world.fold.receive(EU, [piece])).positions == {piece.segment: len(piece.data)}
        assert len(await world.entries()) == 2 * BATCH + 1
        writer.close()

    elsewhere(tmp_path, case)


def test_a_control_that_takes_over_goes_on_where_the_other_was(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        writer = host.writer()
        for record in (an_opened(1), an_opened(2), a_settled(1)):
            writer.append(record)
        known = await world.fold.receive(EU, host.pieces())
        writer.append(a_settled(2))
        successor = Fold(tmp_path / "of the other control", world.database, host="000000000001")
        assert await successor.receive(EU, [Piece(name, 0) for name in known.positions]) == known
        await successor.receive(EU, host.pieces(known.positions))
        assert await world.outcomes() == {request(1): "answered", request(2): "answered"}
        assert await world.open() == set()
        writer.close()

    elsewhere(tmp_path, case)


def test_a_closed_segment_is_done_until_the_host_does_not_name_it_any_more(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        done, going_on = host.writer("gateway-0"), host.writer("gateway-1")
        done.append(a_settled(1))
        done.close()
        going_on.append(a_settled(2))
        closed, open_one = host.pieces()
        for _ in range(3):
            receipt = await world.fold.receive(EU, [closed, open_one])
            assert receipt.done == {closed.segment: len(closed.data)}
            assert receipt.positions == {open_one.segment: len(open_one.data)}
        assert await world.positions() == {open_one.segment: len(open_one.data)}
        assert (await world.fold.receive(EU, [open_one])).done == {}
        assert await world.outcomes() == {request(1): "answered", request(2): "answered"}
        going_on.close()

    elsewhere(tmp_path, case)


def test_a_segment_is_done_only_when_its_last_piece_has_come(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        writer = host.writer()
        writer.append(a_settled(1))
        (first,) = host.pieces()
        writer.append(a_settled(2))
        writer.close()
        assert (await world.fold.receive(EU, [first])).done == {}
        last = host.pieces({first.segment: len(first.data)})
        assert (await world.fold.receive(EU, last)).done == {first.segment: len(first.data) + len(last[0].data)}

    elsewhere(tmp_path, case)


def test_a_done_segment_that_comes_again_to_another_control_is_in_the_ledger_once(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        writer = host.writer()
        writer.append(an_opened(1))
        writer.append(a_settled(1))
        writer.close()
        pieces = host.pieces()
        assert (await world.fold.receive(EU, pieces)).done  # and the host does not get to know
        successor = Fold(world.journal, world.database, host=HERE)
        assert (await successor.receive(EU, [Piece(pieces[0].segment, 99)])).positions == {pieces[0].segment: 0}
        assert (await successor.receive(EU, pieces)).done == {pieces[0].segment: len(pieces[0].data)}
        await successor.receive(EU, ())
        assert await world.entries() == {request(1): a_settled(1)}
        assert (await world.open(), await world.positions()) == (set(), {})

    elsewhere(tmp_path, case)


def test_what_is_open_is_lost_only_once_the_host_says_that_its_writer_is_gone(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        writer = host.writer("gateway-0", segment_bytes=1)  # a new segment after each record
        other = host.writer("gateway-1")
        writer.append(an_opened(1))
        writer.append(an_opened(2))
        writer.append(a_settled(2))
        other.append(an_opened(3))
        await host.send(world.fold)
        await host.send(world.fold)
        await host.send(world.fold)
        assert await world.outcomes() == {request(2): "answered"}
        assert len(host.files()) == 2, "full segments are gone, and each writer has one"
        writer.close()
        await host.send(world.fold)
        assert await world.outcomes() == {request(1): "lost", request(2): "answered"}
        assert await world.open() == {request(3)}
        assert (await world.entries())[request(1)].cost_nano == 0
        other.close()

    elsewhere(tmp_path, case)


def test_a_silent_host_loses_nothing(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        (tmp_path / "other").mkdir()
        other = Elsewhere(tmp_path / "other", US)
        writer = host.writer()
        writer.append(an_opened(1))
        await world.fold.receive(EU, host.pieces())
        positions = await world.positions()
        for fold in (world.fold, Fold(world.journal, world.database, host=HERE)):
            await fold.step()
            await other.send(fold)
            assert (await world.outcomes(), await world.positions()) == ({}, positions)
            assert await world.open() == {request(1)}
        writer.append(a_settled(1))
        await fold.receive(EU, host.pieces(positions))
        assert await world.outcomes() == {request(1): "answered"}
        writer.close()

    elsewhere(tmp_path, case)


def test_a_writer_that_went_while_no_control_was_there_has_lost_what_it_had_open(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        writer = host.writer()
        writer.append(an_opened(1))
        await world.fold.receive(EU, host.pieces())
        await Fold(world.journal, world.database, host=HERE).receive(EU, ())
        assert await world.outcomes() == {request(1): "lost"}
        writer.close()

    elsewhere(tmp_path, case)


def test_own_segments_and_those_of_hosts_leave_each_other_alone(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        here = Writer(world.journal, writer_name(HERE, "gateway-0"))
        there = host.writer()
        here.append(an_opened(1))
        there.append(an_opened(2))
        (piece,) = host.pieces()
        await world.fold.step()
        await world.fold.receive(EU, [piece])
        async with world.database.write() as connection:  # of own ones that are no more, with a host's name and without
            await offsets.store(connection, f"{HERE}~gateway-9-1-1-000000.journal", 7)
            await offsets.store(connection, "gateway-9-1-1-000000.journal", 7)
        positions = await world.positions()
        fold = Fold(world.journal, world.database, host=HERE)
        await fold.step()
        assert await world.positions() == {name: at for name, at in positions.items() if "gateway-9" not in name}
        await fold.receive(EU, [piece])
        await fold.receive(US, ())
        await fold.step()
        assert (await world.outcomes(), await world.open()) == ({}, {request(1), request(2)})
        here.close()
        await fold.step()
        assert (await world.outcomes(), await world.open()) == ({request(1): "lost"}, {request(2)})
        await fold.receive(EU, ())
        assert await world.outcomes() == {request(1): "lost", request(2): "lost"}
        there.close()

    elsewhere(tmp_path, case)


def undecodable() -> bytes:
    payload = b"\xc1 not MessagePack"
    return len(payload).to_bytes(4, "little") + crc32(payload).to_bytes(4, "little") + payload


def test_a_record_that_cannot_be_read_stops_its_segment_alone(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        bad, good = host.writer("gateway-0"), host.writer("gateway-1")
        bad.append(a_settled(1))
        good.append(a_settled(2))
        first, second = host.pieces()
        stuck = Piece(first.segment, 0, first.data + undecodable() + first.data)
        receipt = await world.fold.receive(EU, [stuck, second])
        assert receipt.stuck == (first.segment,)
        assert receipt.positions == {first.segment: len(first.data), second.segment: len(second.data)}
        assert await world.outcomes() == {request(1): "answered", request(2): "answered"}
        closed = Piece(first.segment, len(first.data), undecodable(), closed=True)
        receipt = await world.fold.receive(EU, [closed, second])
        assert (receipt.done, receipt.stuck) == ({}, (first.segment,)), "what is not in the ledger is not done"
        bad.close()
        good.close()

    elsewhere(tmp_path, case)


def test_a_database_that_fails_for_a_while_takes_the_report_when_it_comes_again(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        writer = host.writer()
        writer.append(an_opened(1))
        writer.append(a_settled(1))
        writer.append(an_opened(2))
        writer.close()
        pieces = host.pieces()
        async with world.database.write() as connection:
            await connection.exec_driver_sql("ALTER TABLE ledger RENAME TO elsewhere")
        with pytest.raises(SQLAlchemyError):
            await world.fold.receive(EU, pieces)
        assert await world.positions() == {}
        async with world.database.write() as connection:
            await connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO ledger")
        assert (await world.fold.receive(EU, pieces)).done == {pieces[0].segment: len(pieces[0].data)}
        assert await world.outcomes() == {request(1): "answered", request(2): "lost"}

    elsewhere(tmp_path, case)


def test_a_commit_of_which_control_does_not_hear_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        writer = host.writer()
        writer.append(a_settled(1))
        (piece,) = host.pieces()
        await world.fold.receive(EU, [Piece(piece.segment, 0)])
        write = world.database.write

        @asynccontextmanager
        async def unheard() -> AsyncIterator[AsyncConnection]:
            async with write() as connection:
                yield connection
            raise Unreachable("the connection was lost")

        with monkeypatch.context() as patched:
            patched.setattr(world.database, "write", unheard)
            with pytest.raises(Unreachable):
                await world.fold.receive(EU, [piece])
        asked = await world.fold.receive(EU, [Piece(piece.segment, 0)])
        assert asked.positions == await world.positions() == {piece.segment: len(piece.data)}
        writer.close()

    elsewhere(tmp_path, case)


@pytest.mark.parametrize("same_control", [True, False])
def test_a_report_that_ends_in_front_of_any_statement_may_be_sent_again(tmp_path: Path, same_control: bool) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        first, second = host.writer("gateway-0"), host.writer("gateway-1")
        expected: dict[str, str] = {}
        for moment in range(24):
            numbers = range(3 * moment, 3 * moment + 3)
            first.append(an_opened(numbers[0]))
            first.append(a_settled(numbers[0]))
            second.append(an_opened(numbers[1]))
            second.append(an_opened(numbers[2]))
            second.append(a_settled(numbers[2]))
            expected |= dict(zip(map(request, numbers), ("answered", "lost", "answered"), strict=True))
            if moment % 3 == 2:
                second.close()
                second = host.writer("gateway-1")
            async with dying(world.database, moment):
                await world.fold.receive(EU, host.courier.pieces())
            if not same_control:
                world.fold = Fold(world.journal, world.database, host=HERE)
            await host.send(world.fold)
        first.close()
        second.close()
        while host.files():
            await host.send(world.fold)
        await host.send(world.fold)
        assert await world.outcomes() == expected
        assert (await world.open(), await world.positions()) == (set(), {})

    elsewhere(tmp_path, case)


def test_a_host_that_is_given_up_has_lost_what_it_had_open(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        (tmp_path / "other").mkdir()
        other = Elsewhere(tmp_path / "other", US)
        ours, theirs = host.writer(), other.writer()
        ours.append(an_opened(1))
        ours.append(a_settled(2))
        theirs.append(an_opened(3))
        await world.fold.receive(EU, host.pieces())
        kept = await world.fold.receive(US, other.pieces())
        assert world.fold.ended([ours.name, theirs.name]) == set()
        await world.fold.give_up(EU)
        assert await world.outcomes() == {request(1): "lost", request(2): "answered"}
        assert await world.open() == {request(3)}
        assert await world.positions() == kept.positions
        assert world.fold.ended([ours.name, theirs.name]) == {ours.name}, "nobody waits for what it holds"
        assert world.fold.segments() == list(kept.positions)
        await world.fold.receive(EU, host.pieces())  # it comes again
        assert world.fold.ended([ours.name, theirs.name]) == set()
        for writer in (ours, theirs):
            writer.close()

    elsewhere(tmp_path, case)


def test_what_became_of_a_host_is_known_for_an_hour(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        now = 100.0
        fold = Fold(world.journal, world.database, host=HERE, clock=lambda: now)
        writers = {f"{name}~gateway-0-1-1" for name in (EU, US)}
        assert fold.ended(writers) == set()
        await fold.give_up(EU)
        now += 3599.0
        await fold.give_up(US)
        assert fold.ended(writers) == writers
        now += 2.0
        await fold.give_up("000000000001")
        assert fold.ended(writers) == {f"{US}~gateway-0-1-1"}
        assert host.files() == []

    elsewhere(tmp_path, case)


def test_a_host_can_be_given_up_by_a_control_that_never_heard_of_it(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        writer = host.writer()
        writer.append(an_opened(1))
        await world.fold.receive(EU, host.pieces())
        await Fold(world.journal, world.database, host=HERE).give_up(EU)
        assert (await world.outcomes(), await world.positions()) == ({request(1): "lost"}, {})
        writer.close()

    elsewhere(tmp_path, case)


def test_it_is_known_who_reports_and_which_segments_there_are(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        now = 100.0
        here, early = Writer(world.journal, writer_name(HERE, "gateway-0")), Writer(world.journal, "gateway-1")
        there = host.writer()
        fold = Fold(world.journal, world.database, host=HERE, clock=lambda: now)
        names = [writer.name for writer in (here, early, there)]
        now = 107.0
        own = [segment.path.name for segment in segments(world.journal)]
        assert fold.segments() == own
        assert fold.ended(names) == set()
        assert [fold.silent_s(name) for name in names] == [0.0, 0.0, 7.0]
        (piece,) = host.pieces()
        await fold.receive(EU, [piece])
        assert fold.segments() == [*own, piece.segment]
        now = 110.0
        assert fold.ended(names) == set()
        assert [fold.silent_s(name) for name in names] == [0.0, 0.0, 3.0]
        there.close()
        await fold.receive(EU, host.pieces())
        assert fold.segments() == own, "what is in the ledger to its end is not awaited"
        assert fold.ended(names) == {there.name}
        assert fold.silent_s(there.name) == 0.0
        here.close()
        early.close()
        await fold.step()
        assert fold.ended(names) == set(names)

    elsewhere(tmp_path, case)


def test_a_writer_has_ended_once_a_later_list_of_segments_has_none_of_it(tmp_path: Path) -> None:
    async def case(world: World, _: Elsewhere) -> None:
        def piece(born_ns: int) -> Piece:
            return Piece(f"{EU}~gateway-0-{born_ns}-7-000000.journal", 0)

        writers = [f"{EU}~gateway-0-{born_ns}-7" for born_ns in (100, 200, 300)]
        assert world.fold.ended(writers) == set(), "nothing was heard of it"
        await world.fold.receive(EU, [piece(100)], (1, 1), 200)
        assert world.fold.ended(writers) == set(), "nor of those that were born since it was last heard"
        await world.fold.receive(EU, [piece(300)], (1, 2), 250)
        assert world.fold.ended(writers) == {writers[0], writers[1]}
        with pytest.raises(LateReport):
            await world.fold.receive(EU, [piece(100)], (1, 1), 400)
        assert world.fold.ended(writers) == {writers[0], writers[1]}
        await world.fold.receive(EU, [], (1, 3), 400)
        assert world.fold.ended([*writers, f"{US}~gateway-0-100-7"]) == set(writers)

    elsewhere(tmp_path, case)


class Notes:
    """Takes note of what is folded."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def folded(self, segment: str, start: int, end: int, settled: Sequence[Settled], *, anew: bool) -> None:
        self.told.append((segment, start, end, [each.id for each in settled], anew))

    def finished(self, segment: str, end: int) -> None:
        self.told.append((segment, end))


def test_who_follows_is_told_of_each_piece_once(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        notes = Notes()
        fold = Fold(world.journal, world.database, notes, HERE)
        writer = host.writer()
        writer.append(a_settled(1))
        (first,) = host.pieces()
        writer.append(a_settled(2))
        writer.close()
        (whole,) = host.pieces()
        middle, end = len(first.data), len(whole.data)
        last = Piece(whole.segment, middle, whole.data[middle:], closed=True)
        for piece in (first, first, last, last, first):
            await fold.receive(EU, [piece])
        assert notes.told == [
            (whole.segment, 0, middle, [request(1)], False),
            (whole.segment, middle, end, [request(2)], False),
            (whole.segment, end),
        ]

    elsewhere(tmp_path, case)


class Fleet:
    """Several hosts with writers that work and die, and a control that may start again at any moment."""

    def __init__(self, world: World, directory: Path, segment_bytes: int) -> None:
        self.world = world
        self.hosts = [Elsewhere(directory, name) for name in (EU, US)]
        self._segment_bytes = segment_bytes
        self._writers: dict[tuple[int, int], Writer] = {}
        self._open: dict[tuple[int, int], list[int]] = {}
        self._late: list[list[Receipt]] = [[] for _ in self.hosts]
        self._delayed: list[list[Report]] = [[] for _ in self.hosts]
        self._runs = [0 for _ in self.hosts]
        self._heard = ["" for _ in self.hosts]
        self._number = 0
        self._controls = 0
        self._next = 0
        self.expected: dict[str, tuple[str, int]] = {}  # the outcome and the cost

    async def restart(self) -> None:
        """Let another control take over."""
        self.world.fold = Fold(self.world.journal, self.world.database, host=HERE)
        own = Host(HERE, "control", "1.0", 1, 1)
        self._controls += 1
        self.control = await Hosts.open(self.world.database, self.world.fold, own, nonce=str(self._controls))

    def work(self, place: int, worker: int) -> None:
        """Let a worker settle the older of two exchanges that it has open, or else open another."""
        at = place, worker
        if at not in self._writers:
            journal, name = (
                (self.hosts[place].journal, self.hosts[place].name)
                if place < len(self.hosts)
                else (self.world.journal, HERE)
            )
            self._writers[at] = Writer(journal, writer_name(name, f"gateway-{worker}"), self._segment_bytes)
            self._open[at] = []
        if len(self._open[at]) == 2:
            number = self._open[at].pop(0)
            self._writers[at].append(a_settled(number, cost_nano=number + 1))
            self.expected[request(number)] = "answered", number + 1
        else:
            self._writers[at].append(an_opened(self._next))
            self._open[at].append(self._next)
            self.expected[request(self._next)] = "lost", 0
            self._next += 1

    def die(self, place: int, worker: int) -> None:
        if writer := self._writers.pop((place, worker), None):
            writer.close()

    def die_all(self) -> None:
        for at in list(self._writers):
            self.die(*at)

    def begin_again(self, place: int) -> None:
        """End the node of a host with all its workers, and start another."""
        for worker in range(2):
            self.die(place, worker)
        if place < len(self.hosts):
            self.hosts[place].courier = Courier(self.hosts[place].journal, self.hosts[place].name)
            self._late[place].clear()
            self._runs[place] += 1
            self._heard[place] = ""

    async def _send(self, place: int, report: Report) -> Receipt | None:
        with contextlib.suppress(Unwelcome):  # of a run before
            return await self.control.report(self.hosts[place].name, report)
        return None

    async def arrive_late(self, place: int) -> None:
        """Let what was on the way arrive; nobody waits for its receipt any more."""
        if place == len(self.hosts):
            return
        delayed, self._delayed[place] = self._delayed[place], []
        for report in delayed:
            await self._send(place, report)

    async def report(self, place: int, fate: str) -> None:
        """Let a host report, and the way do to it what it does."""
        if place == len(self.hosts):
            await self.world.fold.step()
            return
        host, late = self.hosts[place], self._late[place]
        self._number += 1
        listed_ns = time.time_ns()
        report = Report(
            self._runs[place],
            "eu",
            "1.0",
            host.courier.pieces(),
            number=self._number,
            at_ns=listed_ns,
            control=self._heard[place],
        )
        if fate == "report lost":
            return
        if fate == "report late":
            self._delayed[place].append(report)
            return
        receipt = await self._send(place, report)
        if fate == "report repeated":
            await self._send(place, report)
        if receipt is None or fate == "receipt lost":
            return
        if fate == "receipt late":
            late.append(receipt)
            return
        for each in (receipt, receipt, *late) if fate == "receipt repeated" else (receipt,):
            self._heard[place] = each.control
            host.courier.received(each)
        late.clear()


FATES = [
    "arrives",
    "report lost",
    "report late",
    "report repeated",
    "receipt lost",
    "receipt late",
    "receipt repeated",
]
# A report from before a second worker began, which control hears of first; the same, where another control has since.
OVERTAKEN = [
    ("report", 0, "arrives"),
    ("work", 0, 0),
    ("report", 0, "report late"),
    ("work", 0, 1),
    ("report", 0, "report repeated"),
]
LATE = [("late reports arrive", 0), ("work", 0, 1), ("work", 0, 1)]
PLACES, WORKERS = st.integers(0, 2), st.integers(0, 1)
EVENTS = st.one_of(
    st.tuples(st.just("work"), PLACES, WORKERS),
    st.tuples(st.just("work"), PLACES, WORKERS),
    st.tuples(st.just("report"), PLACES, st.sampled_from(FATES)),
    st.tuples(st.just("late reports arrive"), PLACES),
    st.tuples(st.just("die"), PLACES, WORKERS),
    st.tuples(st.just("begin again"), PLACES),
    st.tuples(st.just("restart")),
)


@settings(max_examples=30, deadline=None)
@example(events=[*OVERTAKEN, *LATE], segment_bytes=100_000)
@example(events=[*OVERTAKEN, ("restart",), *LATE], segment_bytes=100_000)
@given(events=st.lists(EVENTS, max_size=60), segment_bytes=st.sampled_from([1, 700, 100_000]))
def test_whatever_happens_on_the_way_every_exchange_is_in_the_ledger_once(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[object, ...]], segment_bytes: int
) -> None:
    directory = tmp_path_factory.mktemp("fleet")

    async def case(world: World) -> None:
        fleet = Fleet(world, directory, segment_bytes)
        await fleet.restart()
        for event in events:
            match event:
                case ("work", int(place), int(worker)):
                    fleet.work(place, worker)
                case ("die", int(place), int(worker)):
                    fleet.die(place, worker)
                case ("report", int(place), str(fate)):
                    await fleet.report(place, fate)
                case ("late reports arrive", int(place)):
                    await fleet.arrive_late(place)
                case ("begin again", int(place)):
                    fleet.begin_again(place)
                case _:
                    await fleet.restart()
        fleet.die_all()
        for _ in range(4):  # each hears of the control, sends, removes, and says that it has nothing left
            for place in range(3):
                await fleet.report(place, "arrives")
                await fleet.arrive_late(place)
        entries = await world.entries()
        assert {name: (entry.outcome.value, entry.cost_nano) for name, entry in entries.items()} == fleet.expected
        assert (await world.open(), await world.positions()) == (set(), {})
        assert [*world.files(), *(name for host in fleet.hosts for name in host.files())] == []

    in_world(directory, case)
