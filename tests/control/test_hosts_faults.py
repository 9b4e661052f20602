"""What spoils the journals and the reports of hosts: odd files, copies, reports that come late or are cut off."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.auth import pepper
from penstock.control.admin.access import Door
from penstock.control.bulletin import Unwelcome
from penstock.control.fold import Fold
from penstock.control.hosts import Hosts
from penstock.journal import host as hostname
from penstock.journal import segment as journal
from penstock.journal.host import writer_name
from penstock.journal.segment import Writer, segments
from penstock.journal.shipping import Piece, Receipt, Report
from penstock.node.controls import Controls
from penstock.node.courier import Courier
from penstock.node.settings import Join
from penstock.node.uplink import Uplink
from penstock.records.hosts import Host
from penstock.types.address import Address
from penstock.types.home import Home
from tests.control.admin.api import Api, with_api
from tests.control.test_fold import World, in_world
from tests.records.exchanges import opened, settled

EU, HERE = "0123456789ab", "00000000c0de"


def refuse(_path: Path, **_: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_odd_file_name_in_the_journal_does_not_stop_the_host(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        eu = tmp_path / "eu"
        eu.mkdir()
        good = Writer(eu, writer_name(EU, "gateway-0"))
        good.append(settled(1))
        odd = Writer(eu, "gateway-1")
        odd.append(settled(2))
        odd.close()
        (path,) = [each.path for each in segments(eu) if "~" not in each.path.name]
        path.rename(path.with_name("gateway-1-1-1-000000.old.journal"))
        hosts = await Hosts.open(world.database, world.fold, Host(HERE, "c", "1", 1, 1), nonce="n")
        courier = Courier(eu, EU)
        for number in range(1, 4):
            courier.received(await hosts.report(EU, Report(1, "eu", "1", courier.pieces(), number=number, control="n")))
        assert await world.outcomes() == {settled(1).id: "answered", settled(2).id: "answered"}
        good.close()

    async def whole(world: World) -> None:
        world.fold = Fold(world.journal, world.database, host=HERE)
        await case(world)

    in_world(tmp_path, whole)


def test_a_segment_that_is_given_the_name_of_the_host_replaces_no_other(tmp_path: Path) -> None:
    one = Writer(tmp_path, writer_name(EU, "gateway-0"))
    one.append(settled(1))
    one.close()
    (own,) = [each.path for each in segments(tmp_path)]
    other = Writer(tmp_path, "gateway-1")
    other.append(settled(2))
    other.close()
    (theirs,) = [each.path for each in segments(tmp_path) if each.path != own]
    theirs.rename(own.with_name(own.name.partition("~")[2]))
    pieces = Courier(tmp_path, EU).pieces()
    ids = {record.id for piece in pieces for record, _ in journal.read(piece.data)}
    for _ in range(2):
        ids |= {record.id for each in segments(tmp_path) for record in each.read(0, 10)[0]}
    assert ids == {settled(1).id, settled(2).id}


def test_files_that_cannot_be_removed_do_not_starve_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def case(world: World) -> None:
        fold = Fold(world.journal, world.database, host=HERE)
        eu = tmp_path / "eu"
        eu.mkdir()
        kept = Writer(eu, writer_name(EU, "gateway-0"))
        for number in range(6):
            kept.append(settled(number, error="x" * 90_000))
        kept.close()
        live = Writer(eu, writer_name(EU, "gateway-1"))
        courier = Courier(eu, EU)
        monkeypatch.setattr(Path, "unlink", refuse)
        for _ in range(5):
            courier.received(await fold.receive(EU, courier.pieces()))
        live.append(settled(9))
        for _ in range(20):
            courier.received(await fold.receive(EU, courier.pieces()))
        sent = sum(len(piece.data) for piece in courier.pieces())
        assert settled(9).id in await world.outcomes()
        assert sent == 0, "what is in the ledger is not sent again"
        live.close()

    in_world(tmp_path, case)


def test_the_end_of_a_node_with_a_stuck_segment_does_not_ask_without_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    for each in (home.journal, home.snapshot):
        each.mkdir()
    asked = 0

    async def ask(_controls: Controls, _method: bytes, _target: str, body: bytes = b"", answer_s: float = 0.0) -> bytes:
        nonlocal asked
        asked += 1
        if asked > 100:
            raise AssertionError("asked 100 times")
        report = msgspec.msgpack.decode(body, type=Report)
        names = tuple(piece.segment for piece in report.pieces)
        return msgspec.msgpack.encode(Receipt(dict.fromkeys(names, 0), stuck=names, control="n"))

    monkeypatch.setattr(Controls, "ask", ask)

    async def case() -> None:
        uplink = Uplink(home, Join((Address(host="127.0.0.1", port=1),), "k"), 1, {pepper.VARIABLE: "s" * 16})
        uplink._problems = dict.fromkeys(uplink._problems, "")
        writer = Writer(home.journal, writer_name(hostname.load(home.root), "gateway-0"))
        writer.append(settled(1))
        writer.close()
        await uplink.close()

    asyncio.run(case())


def test_a_control_that_has_just_begun_forgets_no_host_that_reported_seconds_ago(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        now = [1_700_000_000 * 10**9]
        own = Host(HERE, "c", "1", 1, 1)
        first = await Hosts.open(world.database, world.fold, own, lambda: now[0], "one")
        for number in range(10):
            await first.report(EU, Report(1, "eu", "1", (), number=number + 1, control="one"))
            now[0] += 10**9
        second = await Hosts.open(world.database, world.fold, own, lambda: now[0], "two")
        assert not second.silent(second.known[EU]), "it reported a second ago"
        with pytest.raises(Unwelcome):
            await second.forget(EU)

    in_world(tmp_path, case)


def test_a_segment_of_a_host_in_the_journal_of_control_does_not_make_the_host_its_own(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        old = Writer(world.journal, writer_name(EU, "gateway-9"))
        old.append(settled(1))
        old.close()
        fold = Fold(world.journal, world.database, host=HERE)
        eu = tmp_path / "eu"
        eu.mkdir()
        live = Writer(eu, writer_name(EU, "gateway-0"))
        live.append(opened(2))
        courier = Courier(eu, EU)
        courier.received(await fold.receive(EU, courier.pieces()))
        await fold.step()
        assert await world.open() == {opened(2).id}
        live.append(settled(2))
        courier.received(await fold.receive(EU, courier.pieces()))
        assert await world.outcomes() == {settled(1).id: "answered", settled(2).id: "answered"}
        live.close()

    in_world(tmp_path, case)


def test_nothing_is_kept_of_broken_segments_of_hosts_that_are_gone(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        fold = Fold(world.journal, world.database, host=HERE)
        eu = tmp_path / "eu"
        eu.mkdir()
        for number in range(3):
            writer = Writer(eu, writer_name(EU, f"gateway-{number}"))
            writer.append(settled(number, at_ns=2**63))
            courier = Courier(eu, EU)
            courier.received(await fold.receive(EU, courier.pieces()))
            writer.close()
            for path in eu.iterdir():
                path.unlink()
            await fold.receive(EU, ())
            await fold.give_up(EU)
        assert fold._broken == {}

    in_world(tmp_path, case)


def test_a_late_report_of_a_host_that_has_left_does_not_bring_it_back(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await Hosts.open(world.database, world.fold, Host(HERE, "c", "1", 1, 1), nonce="n")
        late = Report(1, "eu", "1", (Piece(f"{EU}~gateway-0-1-1-000000.journal", 0),), number=1, control="n")
        await hosts.report(EU, Report(1, "eu", "1", (), number=2, control="n"))
        await hosts.report(EU, Report(1, "eu", "1", (), True, number=3, control="n"))
        await hosts.report(EU, late)
        assert EU not in hosts.known

    in_world(tmp_path, case)


def test_a_late_report_does_not_say_that_its_host_leaves(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await Hosts.open(world.database, world.fold, Host(HERE, "c", "1", 1, 1), nonce="n")
        eu = tmp_path / "eu"
        eu.mkdir()
        writer = Writer(eu, writer_name(EU, "gateway-0"))
        writer.append(opened(1))
        courier = Courier(eu, EU)
        await hosts.report(EU, Report(1, "eu", "1", courier.pieces(), number=2, control="n"))
        await hosts.report(EU, Report(1, "eu", "1", (), True, number=1, control="n"))
        assert (EU in hosts.known, await world.outcomes()) == (True, {})
        writer.close()

    async def whole(world: World) -> None:
        world.fold = Fold(world.journal, world.database, host=HERE)
        await case(world)

    in_world(tmp_path, whole)


def test_a_host_that_cuts_its_report_off_is_no_fault_of_control(
    tmp_path: Path,
) -> None:
    async def case(api: Api) -> None:
        messages: Any = iter(
            [{"type": "http.request", "body": b"part", "more_body": True}, {"type": "http.disconnect"}]
        )

        async def receive() -> Any:
            return next(messages)

        async def send(_message: object) -> None:
            return

        scope = {
            "type": "http", "method": "POST", "path": f"/admin/v1/hosts/{EU}/report", "raw_path": b"",
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-length", b"9")], "http_version": "1.1", "scheme": "http",
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1), "root_path": "", "asgi": {"version": "3.0"},
        }  # fmt: skip
        await Door(api.app, None)(scope, receive, send)

    with_api(tmp_path, case)
