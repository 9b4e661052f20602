"""Sums of the ledger, kept by day."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.journal.records import Outcome
from penstock.records import ledger, usage
from penstock.records.database import Database
from penstock.records.usage import DAY_NS, Selection, Tally
from tests.conftest import Opener
from tests.records import migrating
from tests.records.conftest import InTransaction
from tests.records.exchanges import AT, settled

DAY = AT // DAY_NS
ONE = (10, 5, 2)


def test_sums_are_kept_apart_by_all_that_tells_them_apart_without_what_was_refused(
    in_transaction: InTransaction,
) -> None:
    async def case(connection: AsyncConnection) -> object:
        await ledger.add(connection, [settled(1), settled(2, outcome=Outcome.FAILED, status=502)])
        await ledger.add(
            connection,
            [
                settled(2, cost_nano=10**9),  # it is there already
                settled(3, outcome=Outcome.LOST, status=0, cost_nano=0, deployment=""),
                settled(4, outcome=Outcome.REFUSED, status=404, model="nope"),
                settled(5, model="large", cost_nano=7),
                settled(6, key="key2", tenant="other", outcome=Outcome.CANCELLED),
                settled(7, at_ns=AT + DAY_NS),
                settled(7, cost_nano=10**9),  # the first of a batch counts
            ],
        )
        return await usage.tallies(connection, Selection())

    assert in_transaction(case) == [
        Tally(DAY, "acme", "key1", "chat", "", 1, 1, *ONE, 0),
        Tally(DAY, "acme", "key1", "chat", "mini", 2, 1, 20, 10, 4, 600),
        Tally(DAY, "acme", "key1", "large", "mini", 1, 0, *ONE, 7),
        Tally(DAY, "other", "key2", "chat", "mini", 1, 0, *ONE, 300),
        Tally(DAY + 1, "acme", "key1", "chat", "mini", 1, 0, *ONE, 300),
    ]


def test_sums_can_be_put_together(in_transaction: InTransaction) -> None:
    async def case(connection: AsyncConnection) -> object:
        await ledger.add(connection, [settled(1), settled(2, key="key2"), settled(3, at_ns=AT + DAY_NS, model="large")])
        found = [await usage.tallies(connection, Selection(), by) for by in (("model",), ("tenant", "key"), ())]
        return [[(tally.day, tally.key, tally.model, tally.requests) for tally in tallies] for tallies in found]

    assert in_transaction(case) == [
        [(0, "", "chat", 2), (0, "", "large", 1)],
        [(0, "key1", "", 2), (0, "key2", "", 1)],
        [(0, "", "", 3)],
    ]


def test_sums_can_be_narrowed(in_transaction: InTransaction) -> None:
    selections = [
        (Selection(since_ns=AT + 2), 3),
        (Selection(until_ns=AT + 2), 1),
        (Selection(since_ns=AT + 1, until_ns=AT + 3), 2),
        (Selection(key="key2"), 1),
        (Selection(model="large"), 1),
        (Selection(tenant="acme"), 3),
        (Selection(deployment="mini"), 4),
        (Selection(tenant="acme", model="large", key="key1"), 1),
        (Selection(tenant="nobody"), 0),
    ]

    async def case(connection: AsyncConnection) -> object:
        await ledger.add(
            connection, [settled(1), settled(2, model="large"), settled(3), settled(4, key="key2", tenant="other")]
        )
        return [
            sum(tally.requests for tally in await usage.tallies(connection, selection)) for selection, _ in selections
        ]

    assert in_transaction(case) == [expected for _, expected in selections]


MOMENTS = st.integers(0, 5 * DAY_NS) | st.sampled_from([day * DAY_NS + off for day in range(5) for off in (-1, 0, 1)])


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[asyncio.Runner, Database]]:
    with asyncio.Runner() as runner:
        if request.param == "sqlite":
            database = runner.run(Database.open(tmp_path_factory.mktemp("usage") / "p.db"))
        else:
            server = request.getfixturevalue("postgres_server")
            database = runner.run(Database.connect(server.url(server.make())))
        yield runner, database
        runner.run(database.close())


@given(st.lists(MOMENTS, max_size=20), st.none() | MOMENTS, st.none() | MOMENTS)
def test_any_period_has_exactly_the_exchanges_within_it(
    opened: tuple[asyncio.Runner, Database], moments: list[int], since: int | None, until: int | None
) -> None:
    """Whole days come from the sums and parts of days from the ledger; none is left out, none is there twice."""
    runner, database = opened
    arrived = [DAY_NS * 19_000 + at for at in moments]
    begin, end = (None if at is None else DAY_NS * 19_000 + at for at in (since, until))

    async def case() -> tuple[int, int]:
        async with database.write() as connection:
            for table in ("ledger", "usage_days"):
                await connection.execute(text(f"DELETE FROM {table}"))
            await ledger.add(connection, [settled(number, at_ns=at) for number, at in enumerate(arrived)])
            found = await usage.tallies(connection, Selection(since_ns=begin, until_ns=end), ())
        return sum(tally.requests for tally in found), sum(tally.cost_nano for tally in found)

    wanted = sum((begin is None or begin <= at) and (end is None or at < end) for at in arrived)
    assert runner.run(case()) == (wanted, 300 * wanted)


def test_money_is_summed_exactly(in_transaction: InTransaction) -> None:
    costs = [2**50 - 1] * 20 + [1, 1, 3]  # a double would be off here

    async def case(connection: AsyncConnection) -> object:
        for number, cost in enumerate(costs):
            await ledger.add(connection, [settled(number, cost_nano=cost)])
        return [tally.cost_nano for tally in await usage.tallies(connection, Selection())]

    assert in_transaction(case) == [sum(costs)]


def test_a_database_from_before_the_sums_gets_them(open_database: Opener) -> None:
    exchanges = [
        settled(1),
        settled(2, outcome=Outcome.FAILED),
        settled(3, outcome=Outcome.REFUSED),
        settled(4, at_ns=AT + DAY_NS, outcome=Outcome.LOST, cost_nano=2**50),
    ]

    async def case() -> tuple[list[Tally], list[Tally]]:
        database = await open_database()
        async with database.write() as connection:
            await ledger.add(connection, exchanges)
            before = await usage.tallies(connection, Selection())
            await connection.run_sync(migrating.down, "0002")
        await database.close()
        database = await open_database()
        async with database.read() as connection:
            after = await usage.tallies(connection, Selection())
        await database.close()
        return before, after

    before, after = asyncio.run(case())
    assert after == before
    assert len(after) == 2
