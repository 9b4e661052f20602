"""Reports of other hosts that come late, and what spoils one of them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from penstock.control.elsewhere import LateReport
from penstock.control.fold import Fold
from penstock.journal import segment as journal
from penstock.journal.host import writer_name
from penstock.journal.segment import Writer
from penstock.node.courier import Courier
from tests.control.test_fold import World, in_world
from tests.control.test_receive import EU, HERE, US, Elsewhere, elsewhere, request
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
        with pytest.raises(LateReport):
            await world.fold.receive(EU, late, (1, 1))
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


def test_what_an_earlier_control_could_not_read_a_later_one_takes_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = journal._decode

    def earlier(payload: bytes) -> object:
        if b"of a later version" in payload:
            raise msgspec.DecodeError("unknown")
        return decode(payload)

    async def case(world: World, host: Elsewhere) -> None:
        now = 1000.0
        host.courier = Courier(host.journal, host.name, lambda: now)
        writer = host.writer()
        for record in (a_settled(1), an_opened(2), a_settled(2, error="of a later version"), a_settled(3)):
            writer.append(record)
        with monkeypatch.context() as patched:
            patched.setattr(journal, "_decode", earlier)
            for _ in range(3):
                await host.send(world.fold)
            writer.close()  # the host is stopped in between
            for _ in range(3):
                await host.send(world.fold)
        assert await world.outcomes() == {request(1): "answered"}
        assert await world.open() == {request(2)}, "which is not lost while its segment is there"
        assert len(host.files()) == 1
        world.fold = Fold(world.journal, world.database, host=HERE)
        await host.send(world.fold)
        assert len(await world.outcomes()) == 1, "it is left alone for a while"
        now += 61.0
        for _ in range(3):
            await host.send(world.fold)
        assert await world.outcomes() == {request(number): "answered" for number in (1, 2, 3)}
        assert (host.files(), await world.positions(), await world.open()) == ([], {}, set())

    elsewhere(tmp_path, case)


def test_what_was_written_before_a_host_had_its_name_is_in_the_ledger_once(tmp_path: Path) -> None:
    """As where `host.id` was removed, since it was that of another data directory."""

    async def case(world: World, host: Elsewhere) -> None:
        for name in (writer_name(US, "gateway-0"), "gateway-1"):
            writer = Writer(host.journal, name)
            writer.append(an_opened(1 if "~" in name else 2))
            writer.append(a_settled(3 if "~" in name else 4))
            writer.close()
        for _ in range(4):
            await host.send(world.fold)
        assert await world.outcomes() == {
            request(1): "lost", request(2): "lost", request(3): "answered", request(4): "answered",
        }  # fmt: skip
        assert (host.files(), await world.positions(), await world.open()) == ([], {}, set())

    elsewhere(tmp_path, case)


def test_a_segment_that_cannot_be_removed_is_in_the_ledger_once_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied")

    async def case(world: World, host: Elsewhere) -> None:
        first, second = host.writer("gateway-0"), host.writer("gateway-1")
        first.append(a_settled(1))
        first.close()
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", refuse)
            for number in (2, 3, 4):
                second.append(a_settled(number))
                await host.send(world.fold)
                assert await world.outcomes() == {request(each): "answered" for each in range(1, number + 1)}
        await host.send(world.fold)
        assert len(host.files()) == 1
        second.close()

    elsewhere(tmp_path, case)
