"""Reports of other hosts that come late, and what spoils one of them."""

from __future__ import annotations

from pathlib import Path

from penstock.control.fold import Fold
from penstock.journal.host import writer_name
from penstock.journal.segment import Writer
from penstock.journal.shipping import Receipt
from tests.control.test_fold import World, in_world
from tests.control.test_receive import EU, HERE, Elsewhere, elsewhere, request
from tests.records.exchanges import opened as an_opened
from tests.records.exchanges import settled as a_settled


def test_a_report_that_comes_late_does_not_lose_what_a_later_writer_has_open(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        first = host.writer("gateway-0")
        first.append(a_settled(1))
        late = host.pieces()  # sent before the second writer began
        second = host.writer("gateway-1")
        second.append(an_opened(2))
        await world.fold.receive(EU, host.pieces(), (1, 2))
        assert await world.fold.receive(EU, late, (1, 1)) == Receipt({})
        assert await world.outcomes() == {request(1): "answered"}, "the writer of 2 lives"
        second.append(a_settled(2, cost_nano=5))
        for _ in range(3):
            await host.send(world.fold)
        assert (await world.outcomes())[request(2)] == "answered"
        first.close()
        second.close()

    elsewhere(tmp_path, case)


def test_a_late_report_of_a_removed_segment_leaves_no_position_behind(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        writer = host.writer("gateway-0")
        writer.append(an_opened(1))
        late = host.pieces()
        writer.append(a_settled(1))
        writer.close()
        while host.files():
            await host.send(world.fold)
        await host.send(world.fold)
        await world.fold.receive(EU, late)
        await host.send(world.fold)
        assert (await world.positions(), await world.open()) == ({}, set())

    elsewhere(tmp_path, case)


def test_a_segment_of_a_host_that_cannot_be_kept_stops_no_other(tmp_path: Path) -> None:
    """As `test_fold.test_a_segment_that_cannot_be_kept_stops_no_other` for our own."""

    async def case(world: World, host: Elsewhere) -> None:
        bad, good = host.writer("gateway-0"), host.writer("gateway-1")
        bad.append(a_settled(99, at_ns=2**64 - 1))  # no 64-bit signed number, so no column takes it
        good.append(a_settled(1))
        for _ in range(3):
            await host.send(world.fold)
        assert await world.outcomes() == {request(1): "answered"}
        bad.close()
        good.close()

    elsewhere(tmp_path, case)


def test_a_report_before_the_first_step_does_not_keep_that_from_settling_what_is_lost(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, writer_name(HERE, "gateway-0"))
        writer.append(an_opened(1))
        await Fold(world.journal, world.database, host=HERE).step()
        writer.close()
        for path in world.journal.iterdir():
            path.unlink()  # as a control that dies between removing the file and settling leaves it
        fold = Fold(world.journal, world.database, host=HERE)
        await fold.receive(EU, ())
        for _ in range(3):
            await fold.step()
        assert await world.outcomes() == {request(1): "lost"}

    in_world(tmp_path, case)


def test_a_segment_that_was_taken_away_on_its_host_leaves_no_position_behind(tmp_path: Path) -> None:
    """As own ones: a position without a file is found at the next start."""

    async def case(world: World, host: Elsewhere) -> None:
        writer = host.writer()
        writer.append(a_settled(1))
        await world.fold.receive(EU, host.pieces())
        writer.close()
        for path in host.journal.iterdir():
            path.unlink()
        await world.fold.receive(EU, host.pieces())
        fold = Fold(world.journal, world.database, host=HERE)
        await fold.receive(EU, host.pieces())
        await fold.step()
        assert await world.positions() == {}

    elsewhere(tmp_path, case)


def test_reports_of_another_run_are_not_late(tmp_path: Path) -> None:
    async def case(world: World, host: Elsewhere) -> None:
        host.writer().append(an_opened(1))
        for order in ((5, 9), (7, 1), (6, 1)):  # a clock may be set back; who checks the runs lets them in
            await world.fold.receive(EU, host.pieces(), order)
            host.courier.received(await world.fold.receive(EU, host.pieces(), (order[0], order[1] + 1)))
        assert await world.open() == {request(1)}

    elsewhere(tmp_path, case)
