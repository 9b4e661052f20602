"""Hosts elsewhere: who is let in, what they are told, and whose reports are taken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.auth import pepper
from penstock.auth.secrets import SecretRef
from penstock.control.fold import Fold
from penstock.control.hosts import Hosts, Unwelcome
from penstock.journal.shipping import Piece, Report
from penstock.pricing.period import Period
from penstock.records import hosts as records
from penstock.records.database import Database
from penstock.records.hosts import Host
from penstock.snapshot.bundle import tag
from penstock.snapshot.config import Budget, Config, GatewaySettings, Limit, Measure, Outage
from penstock.snapshot.file import Document, publish, written
from penstock.snapshot.packed import PackedPrincipals
from penstock.snapshot.principals import Principals
from tests.conftest import Opener
from tests.http.origin import turns
from tests.processes import model

HERE, EU, US = "00000000c0de", "0123456789ab", "ba9876543210"
SECRET = b"p" * 32
SECOND = 10**9
START = 1_700_000_000 * SECOND


class World:
    """
    Attributes:
        now: nanoseconds since the epoch, as its controls have it.
    """

    def __init__(self, directory: Path, database: Database) -> None:
        self.snapshot = directory / "snapshot"
        self.snapshot.mkdir()
        self._journal = directory / "journal"
        self._journal.mkdir()
        self._database = database
        self.now = START

    async def control(self, here: str = HERE) -> Hosts:
        """A control that starts, on a host of this name."""
        fold = Fold(self._journal, self._database, host=here)
        own = Host(here, "control", "1.0", self.now, self.now)
        return await Hosts.open(self._database, fold, self.snapshot, own, SECRET, lambda: self.now)

    async def kept(self) -> dict[str, Host]:
        async with self._database.read() as connection:
            return await records.load(connection)

    def publish(self, document: Document) -> str:
        """Publish, and return the tag that somebody has who has it."""
        publish(self.snapshot, document)
        return tag(written(self.snapshot, type(document)))


def in_world(directory: Path, opener: Opener | None, case: Callable[[World], Awaitable[None]]) -> None:
    async def whole() -> None:
        database = await (opener() if opener is not None else Database.open(directory / "p.db"))
        try:
            await case(World(directory, database))
        finally:
            await database.close()

    asyncio.run(whole())


CHECK = pepper.check(SECRET).hex()


def report(run: int = 1, name: str = "eu-1", pieces: tuple[Piece, ...] = (), **more: Any) -> Report:
    return Report(run, name, "1.0", pieces, **more)


def config(version: int = 1, *, counters: bool = False, **fields: Any) -> Config:
    reference = SecretRef(env="REDIS_URL") if counters else None
    return Config(version, {}, {"chat": model("chat", "mini", **fields)}, GatewaySettings(counters=reference))


LIMITED: dict[str, Any] = {"limits": (Limit("p", ("key",), Measure.REQUESTS, 5, Outage.DENY),)}
BUDGETED: dict[str, Any] = {"budgets": (Budget("b", "p", ("key",), Period.DAY, ("chat",), 5, Outage.DENY),)}


def test_a_host_with_another_secret_is_unwelcome(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        await hosts.news(CHECK, {}, 0)
        for check in (pepper.check(b"q" * 32).hex(), "", "é", CHECK[:-1]):
            with pytest.raises(Unwelcome, match="hashed under another secret"):
                await hosts.news(check, {}, 0)

    in_world(tmp_path, None, case)


@pytest.mark.parametrize(
    ("published", "welcome"),
    [
        (None, True),
        (config(2), True),
        (config(**LIMITED), False),
        (config(**BUDGETED), False),
        (config(counters=True, **LIMITED, **BUDGETED), True),
    ],
)
def test_limits_that_each_host_would_count_alone_keep_it_out(
    tmp_path: Path, published: Config | None, welcome: bool
) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        known = {"config": world.publish(config())}
        asking = asyncio.create_task(hosts.news(CHECK, known, 600))
        await turns()
        if published is not None:
            world.publish(published)
        else:
            hosts.close()
        if welcome:
            assert list((await asking).documents) == (["config"] if published and published != config() else [])
        else:
            with pytest.raises(Unwelcome, match=r"the model chat has limits, and state\.counters is local"):
                await asking
            with pytest.raises(Unwelcome):
                await hosts.news(CHECK, {}, 0)

    in_world(tmp_path, None, case)


def test_only_what_is_missing_is_told(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        assert (await hosts.news(CHECK, {}, 0)).documents == {}
        known = {"config": world.publish(config()), "principals": world.publish(Principals(1, {}))}
        everything = (await hosts.news(CHECK, {}, 0)).documents
        assert everything == {
            "config": written(world.snapshot, Config), "principals": written(world.snapshot, Principals),
        }  # fmt: skip
        assert (await hosts.news(CHECK, known, 0)).documents == {}
        assert (await hosts.news(CHECK, {**known, "config": "of another control", "base": ""}, 0)).documents == {
            "config": everything["config"]
        }
        world.publish(PackedPrincipals(1))
        assert list((await hosts.news(CHECK, known, 0)).documents) == ["base"]

    in_world(tmp_path, None, case)


def test_who_has_everything_waits_for_the_next_change(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        known = {"config": world.publish(config()), "principals": world.publish(Principals(1, {}))}
        asking = [asyncio.create_task(hosts.news(CHECK, known, 600)) for _ in range(3)]
        await turns()
        assert not any(task.done() for task in asking)
        world.publish(config(2))
        async with asyncio.timeout(20):
            answers = await asyncio.gather(*asking)
        assert [answer.documents for answer in answers] == [{"config": written(world.snapshot, Config)}] * 3

    in_world(tmp_path, None, case)


def test_nobody_is_kept_waiting_when_control_ends(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        asking = asyncio.create_task(hosts.news(CHECK, {}, 600))
        await turns()
        assert not asking.done()
        hosts.close()
        async with asyncio.timeout(20):
            assert (await asking).documents == {}

    in_world(tmp_path, None, case)


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
            with pytest.raises(Unwelcome, match=r"a node that started later reports under the same name.*host\.id"):
                await control.report(EU, report(7))
        await hosts.report(EU, report(8, "eu-2"))
        assert (await world.kept())[EU].name == "eu-2"

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
    [f"{US}~gateway-0-1-1-000000.journal", f"{HERE}~gateway-0-1-1-000000.journal", "gateway-0-1-1-000000.journal"],
)
def test_a_report_about_segments_of_another_host_is_refused(tmp_path: Path, segment: str) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        own = Piece(f"{EU}~gateway-0-1-1-000000.journal", 0)
        with pytest.raises(Unwelcome, match="segments of another host"):
            await hosts.report(EU, report(pieces=(own, Piece(segment, 0))))
        assert EU not in hosts.known
        assert (await hosts.report(EU, report(pieces=(own,)))).positions == {own.segment: 0}

    in_world(tmp_path, None, case)


def test_the_segments_of_each_host_are_counted(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        pieces = tuple(Piece(f"{EU}~gateway-{worker}-1-1-000000.journal", 0) for worker in range(3))
        await hosts.report(EU, report(pieces=pieces))
        await hosts.report(US, report())
        assert [hosts.segments(hosts.known[name]) for name in (HERE, EU, US)] == [0, 3, 0]

    in_world(tmp_path, None, case)


def test_a_forgotten_host_is_gone_and_may_come_back(tmp_path: Path, open_database: Opener) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        await hosts.report(EU, report(7))
        assert not await hosts.forget(US)
        assert not await hosts.forget(HERE)
        assert await hosts.forget(EU)
        assert not await hosts.forget(EU)
        assert hosts.known.keys() == (await world.kept()).keys() == {HERE}
        await hosts.report(EU, report(6))
        assert hosts.known.keys() == (await world.kept()).keys() == {HERE, EU}

    in_world(tmp_path, open_database, case)


def test_a_host_that_leaves_is_not_known_any_more(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        hosts = await world.control()
        piece = Piece(f"{EU}~gateway-0-1-1-000000.journal", 0)
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
