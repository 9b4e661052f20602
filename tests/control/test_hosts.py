"""Hosts elsewhere: who is known, and whose reports are taken."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.control.bulletin import Unwelcome
from penstock.control.fold import Fold
from penstock.control.hosts import Hosts
from penstock.journal.host import writer_name
from penstock.journal.segment import Writer
from penstock.journal.shipping import Piece, Receipt, Report
from penstock.node.courier import Courier
from penstock.records import hosts as records
from penstock.records import ledger
from penstock.records.database import Database
from penstock.records.hosts import Host
from tests.conftest import Opener
from tests.records.exchanges import opened, settled

HERE, EU, US = "00000000c0de", "0123456789ab", "ba9876543210"
NONCE = "this control"
NUMBERS = itertools.count(1)
DAMAGED = b"\x01\0\0\0 no record"
SECOND = 10**9
START = 1_700_000_000 * SECOND


class World:
    """
    Attributes:
        now: nanoseconds since the epoch, as its controls have it.
        elsewhere: the journal of another host.
        fold: of the control that started last.
    """

    def __init__(self, directory: Path, database: Database, clock: Callable[[], float]) -> None:
        self.elsewhere = directory / "elsewhere"
        self.elsewhere.mkdir()
        self._journal = directory / "journal"
        self._journal.mkdir()
        self._database = database
        self._clock = clock
        self.now = START

    async def control(self, here: str = HERE, nonce: str = NONCE) -> Hosts:
        """A control that starts, on a host of this name."""
        self.fold = Fold(self._journal, self._database, None, here, self._clock)
        own = Host(here, "control", "1.0", self.now, self.now)
        return await Hosts.open(self._database, self.fold, own, lambda: self.now, nonce)

    async def kept(self) -> dict[str, Host]:
        async with self._database.read() as connection:
            return await records.load(connection)

    async def outcomes(self) -> dict[str, str]:
        async with self._database.read() as connection:
            return {entry.id: entry.outcome.value for entry in await ledger.page(connection, 1_000, None)}


def in_world(
    directory: Path,
    opener: Opener | None,
    case: Callable[[World], Awaitable[None]],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    async def whole() -> None:
        database = await (opener() if opener is not None else Database.open(directory / "p.db"))
        try:
            await case(World(directory, database, clock))
        finally:
            await database.close()

    asyncio.run(whole())


def report(run: int = 1, name: str = "eu-1", pieces: tuple[Piece, ...] = (), **more: Any) -> Report:
    """A report that is sent to a control of which the host has heard."""
    return Report(run, name, "1.0", pieces, **{"number": next(NUMBERS), "control": NONCE, **more})


def piece_of(worker: int = 0, host: str = EU) -> Piece:
    return Piece(f"{host}~gateway-{worker}-1-1-000000.journal", 0)


def test_a_host_that_reports_is_known_and_kept(tmp_path: Path, open_database: Opener) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        assert list(hosts.known) == [HERE]
        await hosts.report(EU, report(7, "eu-1"))
        eu = Host(EU, "eu-1", "1.0", 7, START)
        assert hosts.known[EU] == eu
        assert await world.kept() == {HERE: hosts.known[HERE], EU: eu}
        world.now += 60 * SECOND
        assert (await world.control("000000000001")).known.keys() == {HERE, EU, "000000000001"}

    in_world(tmp_path, open_database, case)


def test_when_a_host_was_seen_is_kept_now_and_then_and_what_changes_at_once(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        seen = []
        for _ in range(25):
            await hosts.report(EU, report())
            seen.append((await world.kept())[EU].seen_at_ns)
            assert hosts.silent_s(hosts.known[EU]) == 0
            world.now += SECOND
        assert sorted(set(seen)) == [START, START + 10 * SECOND, START + 20 * SECOND]
        await hosts.report(EU, report(2, "renamed"))
        assert (await world.kept())[EU] == Host(EU, "renamed", "1.0", 2, world.now)

    in_world(tmp_path, None, case)


def test_how_long_a_host_has_been_silent(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        await hosts.report(EU, report())
        world.now += 42 * SECOND
        assert hosts.silent_s(hosts.known[EU]) == 42
        assert hosts.silent_s(hosts.known[HERE]) == 0
        world.now -= 50 * SECOND  # somebody sets the clock
        assert hosts.silent_s(hosts.known[EU]) == 0

    in_world(tmp_path, None, case)


def test_of_two_nodes_with_one_name_the_later_is_heard(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        await hosts.report(EU, report(7))
        await hosts.report(EU, report(7))
        await hosts.report(EU, report(8, "eu-2"))
        for control in (hosts, await world.control("000000000001")):
            world.now += 4 * SECOND
            with pytest.raises(Unwelcome, match=r"a node that started later reports under the same name.*host\.id"):
                await control.report(EU, report(7))
            await control.report(EU, report(8, "eu-2"))
        assert (await world.kept())[EU].name == "eu-2"

    in_world(tmp_path, None, case)


def test_where_a_clock_was_set_back_the_host_is_heard_once_it_has_been_silent(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        await hosts.report(EU, report(8))
        world.now += 9 * SECOND
        for control in ("", "of another control", NONCE):
            with pytest.raises(Unwelcome, match="a node that started later"):
                await hosts.report(EU, report(7, control=control))
        assert hosts.known[EU].run == 8
        world.now += SECOND
        await hosts.report(EU, report(7))
        await hosts.report(EU, report(7))
        assert (hosts.known[EU].run, (await world.kept())[EU].run) == (7, 7)

    in_world(tmp_path, None, case)


def test_nobody_speaks_with_another_key_for_a_host_that_is_heard(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        await hosts.report(EU, report(7), "eu")
        for run, name in ((7, "eu-1"), (2**62, "else")):
            for control in ("", NONCE):
                with pytest.raises(Unwelcome, match="reports with another key"):
                    await hosts.report(EU, report(run, name, control=control), "us")
        assert hosts.known[EU] == Host(EU, "eu-1", "1.0", 7, START)
        await hosts.report(US, report(7), "us")
        await hosts.report(EU, report(7), "eu")
        world.now += 9 * SECOND
        with pytest.raises(Unwelcome):
            await hosts.report(EU, report(8), "us")
        world.now += SECOND
        await hosts.report(EU, report(8), "us")  # one that was made in place of the other
        with pytest.raises(Unwelcome):
            await hosts.report(EU, report(8), "eu")

    in_world(tmp_path, None, case)


def test_a_host_that_has_left_may_come_back_with_another_key(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        await hosts.report(EU, report(7, leaving=True), "eu")
        await hosts.report(EU, report(6), "us")
        world.now += 10 * SECOND
        assert await hosts.forget(EU)
        await hosts.report(EU, report(5), "eu")
        assert hosts.known[EU].run == 5

    in_world(tmp_path, None, case)


@pytest.mark.parametrize("control", ["", "the one before"])
def test_a_report_that_another_control_may_have_overtaken_changes_nothing(tmp_path: Path, control: str) -> None:
    """It was sent before the host had a second writer, which another control has been told of since."""

    async def case(world: World) -> None:
        courier = Courier(world.elsewhere, EU)
        first = Writer(world.elsewhere, writer_name(EU, "gateway-0"))
        first.append(settled(1))
        overtaken = report(pieces=courier.pieces(), control=control)
        second = Writer(world.elsewhere, writer_name(EU, "gateway-1"))
        second.append(opened(2))
        before = await world.control()
        courier.received(await before.report(EU, report(pieces=courier.pieces())))
        positions = {piece.segment: piece.start for piece in courier.pieces()}
        hosts = await world.control("000000000001", "the one that leads now")
        known = hosts.known
        world.now += SECOND
        assert await hosts.report(EU, overtaken) == Receipt(
            {piece.segment: positions[piece.segment] for piece in overtaken.pieces}, control="the one that leads now"
        )
        assert await world.outcomes() == {settled(1).id: "answered"}, "2 is in progress"
        assert hosts.known == known
        assert (await world.kept())[EU].seen_at_ns == START
        first.close()
        second.close()

    in_world(tmp_path, None, case)


def test_a_host_is_heard_by_another_control_after_one_more_round(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        courier = Courier(world.elsewhere, EU)
        writer = Writer(world.elsewhere, writer_name(EU, "gateway-0"))
        for record in (opened(1), opened(2), settled(1)):
            writer.append(record)
        heard = ""
        for nonce in ("one", "two"):
            hosts = await world.control("000000000001", nonce)
            for round_ in range(2):
                receipt = await hosts.report(EU, report(pieces=courier.pieces(), control=heard))
                assert receipt.control == nonce
                assert (EU in hosts.known and hosts.segments(hosts.known[EU]) == 1) is (round_ == 1)
                courier.received(receipt)
                heard = receipt.control
            assert await world.outcomes() == {settled(1).id: "answered"}
        writer.append(settled(2))
        writer.close()
        for _ in range(2):
            courier.received(await hosts.report(EU, report(pieces=courier.pieces(), control=heard)))
        assert await world.outcomes() == {settled(1).id: "answered", settled(2).id: "answered"}
        assert list(world.elsewhere.iterdir()) == []

    in_world(tmp_path, None, case)


@pytest.mark.parametrize("control", ["", "the one before"])
def test_who_leaves_without_having_heard_of_this_control_is_asked_again(tmp_path: Path, control: str) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        await hosts.report(EU, report())
        assert (await hosts.report(EU, report(control=control, leaving=True))).control == NONCE
        assert EU in hosts.known
        await hosts.report(EU, report(leaving=True))
        assert EU not in hosts.known

    in_world(tmp_path, None, case)


def test_each_control_has_a_nonce_of_its_own(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        assert len({(await world.control(nonce="")).nonce for _ in range(3)} - {""}) == 3

    in_world(tmp_path, None, case)


def test_the_name_of_control_itself_is_refused(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        own = hosts.known[HERE]
        with pytest.raises(Unwelcome, match="the name of control's own data directory"):
            await hosts.report(HERE, report(2**62))
        assert (hosts.known, await world.kept()) == ({HERE: own}, {HERE: own})

    in_world(tmp_path, None, case)


@pytest.mark.parametrize(
    "segment",
    [
        f"{US}~gateway-0-1-1-000000.journal",
        f"{HERE}~gateway-0-1-1-000000.journal",
        "gateway-0-1-1-000000.journal",
        "",
        EU,
        f"{EU}~",
        f"{EU}~.journal",
        f"{EU}~gateway-0-1-1-000000",
        f"{EU}~gateway-0-1-1-000000.journal\n",
        f"{EU}~gateway 0-1-1-000000.journal",
        f"{EU}~gateway-0-1-1-000000.journal.damaged",
        f"{EU}~../gateway-0-1-1-000000.journal",
        f"{EU}~{US}~gateway-0-1-1-000000.journal",
        f"{EU}~g\0-1-1-000000.journal",
        f"{EU}~gäteway-0-1-1-000000.journal",
        f"{EU}~{'x' * 101}.journal",
    ],
)
def test_a_report_about_segments_of_another_host_is_refused(tmp_path: Path, segment: str) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        own = piece_of()
        with pytest.raises(Unwelcome, match="segments of another host"):
            await hosts.report(EU, report(pieces=(own, Piece(segment, 0))))
        with pytest.raises(Unwelcome, match="segments of another host"):
            await hosts.report(EU, report(pieces=(own, Piece(segment, 0)), control=""))
        assert EU not in hosts.known
        assert (await hosts.report(EU, report(pieces=(own,)))).positions == {own.segment: 0}

    in_world(tmp_path, None, case)


def test_the_segments_of_each_host_are_counted(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        pieces = tuple(piece_of(worker) for worker in range(3))
        await hosts.report(EU, report(pieces=pieces))
        await hosts.report(US, report())
        assert [hosts.segments(hosts.known[name]) for name in (HERE, EU, US)] == [0, 3, 0]

    in_world(tmp_path, None, case)


def test_a_forgotten_host_is_gone_and_may_come_back(tmp_path: Path, open_database: Opener) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        await hosts.report(EU, report(7))
        world.now += 10 * SECOND
        assert not await hosts.forget(US)
        with pytest.raises(Unwelcome, match="this is the host that control is on"):
            await hosts.forget(HERE)
        assert await hosts.forget(EU)
        assert not await hosts.forget(EU)
        assert hosts.known.keys() == (await world.kept()).keys() == {HERE}
        await hosts.report(EU, report(6))
        assert hosts.known.keys() == (await world.kept()).keys() == {HERE, EU}

    in_world(tmp_path, open_database, case)


def test_a_host_that_reports_is_not_forgotten(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        courier = Courier(world.elsewhere, EU)
        writer = Writer(world.elsewhere, writer_name(EU, "gateway-0"))
        writer.append(opened(1))
        await hosts.report(EU, report(pieces=courier.pieces()))
        for control in (hosts, await world.control("000000000001")):
            world.now += 4 * SECOND
            with pytest.raises(Unwelcome, match="this host reports; stop it first"):
                await control.forget(EU)
            assert EU in control.known
        assert (await world.outcomes(), EU in await world.kept()) == ({}, True)
        world.now += 2 * SECOND
        assert await control.forget(EU)
        assert await world.outcomes() == {opened(1).id: "lost"}
        writer.close()

    in_world(tmp_path, None, case)


def test_nothing_is_kept_of_hosts_that_came_and_left(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()

        def sizes() -> list[int]:
            kept = [*vars(hosts).values(), *vars(world.fold).values()]
            return [len(each) for each in kept if isinstance(each, (dict, set, frozenset))]

        async def come_and_leave(number: int) -> None:
            host = f"{number:012x}"
            pieces = (msgspec.structs.replace(piece_of(host=host), data=DAMAGED), piece_of(1, host))
            await hosts.report(host, report(pieces=pieces))
            await hosts.report(host, report(pieces=(msgspec.structs.replace(pieces[1], closed=True),)))
            await hosts.report(host, report(leaving=True))

        await come_and_leave(1)
        before = sizes()
        for number in range(2, 12):
            now[0] += 3600.0  # what became of a host is known for that long
            await come_and_leave(number)
        assert sizes() == before

    now = [1000.0]
    in_world(tmp_path, None, case, lambda: now[0])


def test_a_host_that_leaves_is_not_known_any_more(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        piece = piece_of()
        await hosts.report(EU, report(7, pieces=(piece,)))
        with pytest.raises(Unwelcome):
            await hosts.report(EU, report(6, leaving=True))  # of a node before it
        await hosts.report(EU, report(7, pieces=(piece,), leaving=True))
        assert EU in hosts.known, "there is something yet that will come"
        await hosts.report(EU, report(7, leaving=True))
        assert hosts.known.keys() == (await world.kept()).keys() == {HERE}

    in_world(tmp_path, None, case)


def test_what_a_host_calls_itself_is_kept_whatever_it_is(tmp_path: Path, open_database: Opener) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        await hosts.report(EU, msgspec.structs.replace(report(name="nul \0 " + "x" * 1_000), version="9" * 1_000))
        kept = (await world.kept())[EU]
        assert "\0" not in kept.name
        assert len(kept.name) <= 255
        assert len(kept.version) <= 64

    in_world(tmp_path, open_database, case)
