"""Sums of the ledger, kept by day."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.journal.records import Outcome, Settled
from penstock.records import keys, ledger, tags, usage
from penstock.records.database import Database
from penstock.records.keys import Key, KeyKind
from penstock.records.usage import DAY_NS, Selection, Tally
from penstock.types.usage import Usage, UsageSource
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


NAMES = ("a=1", "a=2", "b=1", "c=x")
TAGS = st.lists(st.sampled_from(NAMES), unique=True, max_size=3).map(lambda names: ",".join(sorted(names)))


@given(st.lists(st.tuples(MOMENTS, TAGS), max_size=12), st.none() | MOMENTS, st.none() | MOMENTS)
def test_an_exchange_counts_once_for_each_of_its_tags_in_any_period(
    opened: tuple[asyncio.Runner, Database], exchanges: list[tuple[int, str]], since: int | None, until: int | None
) -> None:
    runner, database = opened
    begin, end = (None if at is None else DAY_NS * 19_000 + at for at in (since, until))
    arrived = [settled(n, at_ns=DAY_NS * 19_000 + at, tags=tags) for n, (at, tags) in enumerate(exchanges)]

    async def case() -> tuple[dict[str, int], list[int], dict[str, int]]:
        async with database.write() as connection:
            for table in ("ledger", "usage_days"):
                await connection.execute(text(f"DELETE FROM {table}"))
            await ledger.add(connection, arrived)
            period = Selection(since_ns=begin, until_ns=end)
            by_tag = await usage.tallies(connection, period, ("tag",))
            by_model = await usage.tallies(connection, period, ("tag", "key", "model"))  # no sums are kept of these
            narrowed = [
                await usage.tallies(connection, Selection(begin, end, model="chat", tag=name), ()) for name in NAMES
            ]
        counts = [sum(tally.requests for tally in tallies) for tallies in narrowed]
        return {t.tag: t.requests for t in by_tag}, counts, {t.tag: t.requests for t in by_model}

    within = [one for one in arrived if (begin is None or begin <= one.at_ns) and (end is None or one.at_ns < end)]
    wanted = {name: sum(name in one.tags.split(",") for one in within) for name in NAMES}
    by_tag, counts, by_model = runner.run(case())
    assert by_tag == by_model == {name: count for name, count in wanted.items() if count}
    assert counts == [wanted[name] for name in NAMES]


def test_tags_beyond_the_first_thousand_of_a_tenant_and_day_are_summed_together(in_transaction: InTransaction) -> None:
    async def case(connection: AsyncConnection) -> object:
        for begin in range(0, tags.MOST + 200, 400):
            await ledger.add(connection, [settled(begin + n, tags=f"id={begin + n:06d},team=a") for n in range(400)])
        await ledger.add(
            connection,
            [
                settled(10_001, tags="id=000005,team=a"),  # both are known
                settled(10_002, tags="id=new,team=a,x=new"),  # two of the three are not; they count once
                settled(10_003, tags="id=new", tenant="other"),
                settled(10_004, tags="id=new", at_ns=AT + DAY_NS),
            ],
        )
        found = await usage.tallies(connection, Selection(), ("day", "tenant", "tag"))
        return {(tally.day, tally.tenant, tally.tag): tally.requests for tally in found}

    found = in_transaction(case)
    assert isinstance(found, dict)
    ours = {tag: count for (day, tenant, tag), count in found.items() if (day, tenant) == (DAY, "acme")}
    assert len(ours) == tags.MOST + 1
    assert ours["team=a"] == 1202
    assert ours["id=000005"] == 2
    assert ours[tags.OTHER] == 1200 - (tags.MOST - 1) + 1
    assert found[DAY, "other", "id=new"] == found[DAY + 1, "acme", "id=new"] == 1


def test_what_is_summed_is_every_kind_of_token_and_what_has_no_known_price(in_transaction: InTransaction) -> None:
    used = Usage(100, 50, 20, UsageSource.UPSTREAM, 30, 10, 5)

    async def case(connection: AsyncConnection) -> object:
        await ledger.add(
            connection,
            [
                settled(1, usage=used, user="acme/ann"),
                settled(2, usage=used, cost_nano=0, cost_known=False, user="acme/ann"),
            ],
        )
        period = Selection(since_ns=AT, until_ns=AT + 10)
        selections = (Selection(), period, Selection(user="acme/ann"), Selection(user="acme/bob"))
        return [await usage.tallies(connection, selection, ("user",)) for selection in selections]

    one = Tally(0, "", "", "", "", 2, 0, 200, 100, 40, 300, "acme/ann", "", 1, 60, 10)
    assert in_transaction(case) == [[one], [one], [one], []]


def test_a_database_from_before_users_and_tags_has_the_users_of_its_keys(open_database: Opener) -> None:
    """Ann's key and nobody's; the sums are the same as before, and can be told apart by user."""
    exchanges = [settled(1), settled(2, key="ann"), settled(3, key="ann", at_ns=AT + DAY_NS), settled(4, key="local")]

    async def case() -> tuple[list[Tally], list[Tally], list[Tally], list[Settled]]:
        database = await open_database()
        async with database.write() as connection:
            for name, owner in (("key1", ""), ("ann", "ann")):
                key = Key(name, KeyKind.CLIENT, bytes(32), "", "acme", None, 5, owner=owner)
                await keys.add(connection, key)
            await ledger.add(connection, exchanges)
            before = await usage.tallies(connection, Selection())
            await connection.run_sync(migrating.down, "0005")
        await database.close()
        database = await open_database()
        async with database.write() as connection:
            after = await usage.tallies(connection, Selection())
            by_user = await usage.tallies(connection, Selection(tenant="acme"), ("user",))
            kept = await ledger.page(connection, 10, None)
            await ledger.add(connection, [settled(5, key="ann", user="acme/ann")])  # goes into the sums that there are
            assert sum(tally.requests for tally in await usage.tallies(connection, Selection(user="acme/ann"))) == 3
        await database.close()
        return before, after, by_user, kept

    before, after, by_user, kept = asyncio.run(case())
    assert after == before
    assert [(tally.user, tally.requests) for tally in by_user] == [("acme/ann", 2), ("key1", 1), ("local", 1)]
    assert {exchange.cost_known for exchange in kept} == {True}
    assert {exchange.price for exchange in kept} == {""}


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
