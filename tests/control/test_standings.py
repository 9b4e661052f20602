"""What budgets have spent, told once everything of earlier nodes is in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from penstock.control.fold import Fold
from penstock.control.publish import Published
from penstock.control.standings import Bookkeeper
from penstock.journal.records import Outcome
from penstock.journal.segment import Writer
from penstock.pricing.period import Period
from penstock.records import ledger
from penstock.records.database import Database
from penstock.snapshot.config import Budget, Config, GatewaySettings, Model, Outage
from penstock.snapshot.standings import Standing, Standings
from tests.records.exchanges import AT, settled

DAY_NS = 86_400 * 10**9
TODAY = AT // DAY_NS


def budget(period: Period, *per: str, models: tuple[str, ...] = ("chat",)) -> Budget:
    return Budget(f"p {'+'.join(per)} {period}", "p", per, period, models, 10**9, Outage.DENY)


def config(*budgets: Budget) -> Config:
    return Config(1, {}, {"chat": Model("chat", (), (), 1.0, 1.0, 1, (), budgets)}, GatewaySettings())


class World:
    def __init__(self, home: Path, database: Database, since_ns: int) -> None:
        self.journal, self.database = home / "journal", database
        self.fold = Fold(self.journal, database)
        self.published = Published(home, Standings)
        self.clock = 0.0
        self.books = Bookkeeper(
            self.journal, self.fold, database, self.published, since_ns, None, lambda: AT / 10**9, lambda: self.clock
        )

    @property
    def told(self) -> dict[str, Standing]:
        return self.published.current.budgets if self.published.current else {}


def run(home: Path, case: Callable[[World], Awaitable[None]], since_ns: int = 0) -> None:
    async def whole() -> None:
        (home / "journal").mkdir()
        database = await Database.open(home / "p.db")
        try:
            await case(World(home, database, since_ns))
        finally:
            await database.close()

    asyncio.run(whole())


def test_each_budget_has_the_sums_of_its_period_its_models_and_whom_it_counts_for(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        async with world.database.write() as connection:
            await ledger.add(
                connection,
                [
                    settled(1, user="acme/ann"),
                    settled(2, key="key2", cost_nano=7, user="acme/ann"),
                    settled(3, key="key2", model="large", cost_nano=11),
                    settled(4, model="other", cost_nano=10**6),
                    settled(5, at_ns=AT - DAY_NS, cost_nano=13),
                    settled(6, at_ns=AT - 40 * DAY_NS, cost_nano=17, tenant="x"),
                    settled(7, outcome=Outcome.REFUSED, cost_nano=0),
                    settled(8, key="shadow", tenant="(shadow)", model="chat (shadow)", cost_nano=19),
                ],
            )
        both = ("chat", "large")
        budgets = [
            budget(Period.DAY, "key", models=both),
            budget(Period.WEEK, "tenant"),
            budget(Period.TOTAL, "tenant", "model", models=both),
            budget(Period.DAY, "user"),
        ]
        assert await world.books.step(config(*budgets))
        monday = TODAY - TODAY % 7 + 4 if TODAY % 7 >= 4 else TODAY - TODAY % 7 - 3  # day 0 was a Thursday
        assert list(world.told.values()) == [
            Standing(TODAY, {"key1": 300, "key2": 18}, 1),
            Standing(monday, {"acme": 320}, 1),
            Standing(0, {"acme chat": 320, "acme large": 11, "x chat": 17}, 1),
            Standing(TODAY, {"acme/ann": 307}, 1),
        ]

    run(tmp_path, case)


def test_what_an_earlier_nodes_worker_may_still_write_is_waited_for(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        old = Writer(world.journal, "gateway-0")
        since_ns = next(iter(world.journal.glob("*.journal"))).stat().st_ctime_ns + DAY_NS
        books = Bookkeeper(
            world.journal, world.fold, world.database, world.published, since_ns, None, lambda: AT / 10**9
        )
        wanted = config(budget(Period.DAY, "key"))
        old.append(settled(1))
        assert not await books.step(wanted)
        assert world.told == {}
        old.append(settled(2))
        old.close()
        assert await books.step(wanted)
        assert [standing.spent_nano for standing in world.told.values()] == [{"key1": 600}]

    run(tmp_path, case)


def test_a_budget_that_comes_later_is_told_with_what_this_nodes_workers_have_written(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        mine = Writer(world.journal, "gateway-0")
        first, second = budget(Period.DAY, "key"), budget(Period.DAY, "tenant")
        assert await world.books.step(None)
        assert await world.books.step(config(first))
        mine.append(settled(1))
        assert await world.books.step(config(first))
        assert [standing.spent_nano for standing in world.told.values()] == [{}], "told once"
        assert await world.books.step(config(first, second))
        assert world.told[second.id].spent_nano == {"acme": 300}
        mine.close()

    run(tmp_path, case)


def test_another_set_of_models_is_another_budget(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        async with world.database.write() as connection:
            await ledger.add(connection, [settled(1), settled(2, model="large", cost_nano=1)])
        narrow = budget(Period.DAY, "key")
        wide = msgspec.structs.replace(narrow, id="wide", models=("chat", "large"))
        await world.books.step(config(narrow))
        await world.books.step(config(wide))
        assert {name: standing.spent_nano for name, standing in world.told.items()} == {"wide": {"key1": 301}}

    run(tmp_path, case)


def test_a_budget_that_comes_back_is_told_anew_and_one_that_stays_is_not(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        stays, goes = budget(Period.DAY, "key"), budget(Period.DAY, "tenant")
        await world.books.step(config(stays, goes))
        await world.books.step(config(stays))
        assert list(world.told) == [stays.id]
        async with world.database.write() as connection:
            await ledger.add(connection, [settled(1)])
        await world.books.step(config(stays, goes))
        assert [world.told[each.id].told for each in (stays, goes)] == [1, 3]
        assert world.told[goes.id].spent_nano == {"acme": 300}

    run(tmp_path, case)


def test_what_a_configuration_wants_is_told_before_it_and_what_is_wanted_now_stays(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        old, new = budget(Period.DAY, "key"), budget(Period.DAY, "tenant")
        await world.books.step(config(old))
        await world.books.prepare(config(new))
        assert set(world.told) == {old.id, new.id}
        await world.books.step(config(new))
        assert set(world.told) == {old.id, new.id}, "gateways may not have followed yet"
        world.clock += 5
        await world.books.step(config(new))
        assert set(world.told) == {new.id}

    run(tmp_path, case)


def test_a_budget_that_was_away_for_a_moment_is_told_anew(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        there, away = config(budget(Period.DAY, "key")), config()
        await world.books.prepare(there)
        await world.books.prepare(away)
        async with world.database.write() as connection:
            await ledger.add(connection, [settled(1)])
        await world.books.prepare(there)
        (standing,) = world.told.values()
        assert (standing.told, standing.spent_nano) == (2, {"key1": 300})

    run(tmp_path, case)


def test_another_control_goes_on_with_what_is_in_force(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        old, new = budget(Period.DAY, "key"), budget(Period.DAY, "tenant")
        await world.books.prepare(config(old))
        successor = Bookkeeper(
            world.journal, world.fold, world.database, world.published, 0, config(old), lambda: AT / 10**9, lambda: 0.0
        )
        await successor.prepare(config(old))
        assert world.told[old.id].told == 1
        await successor.prepare(config(new))
        assert set(world.told) == {old.id, new.id}, "gateways have not followed yet"
        assert world.told[old.id].told == 1

    run(tmp_path, case)


def test_what_two_tasks_want_is_published_one_after_the_other(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        one, two = config(budget(Period.DAY, "key")), config(budget(Period.DAY, "tenant"))
        await world.books.prepare(one)
        await asyncio.gather(world.books.step(one), world.books.prepare(two), world.books.step(one))
        assert set(world.told) == {each.id for each in (*one.models["chat"].budgets, *two.models["chat"].budgets)}

    run(tmp_path, case)
