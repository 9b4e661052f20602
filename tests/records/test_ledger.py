from __future__ import annotations

import math

from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.journal.records import Outcome
from penstock.records import ledger, usage
from penstock.records.usage import Selection
from penstock.types.usage import Usage, UsageSource
from tests.records.conftest import InTransaction
from tests.records.exchanges import AT, settled


def test_an_exchange_comes_back_as_it_was_kept(in_transaction: InTransaction) -> None:
    wanted = [
        settled(1),
        settled(2, first_content_ms=None, stream=True, outcome=Outcome.CANCELLED, status=499, error="the client left"),
        settled(3, model="'; DROP TABLE ledger; --", usage=Usage(source=UsageSource.NONE), explanation=()),
        settled(4, usage=Usage(9, 8, 1, UsageSource.UPSTREAM, 2, 3, 4, 5, 6, batch=True), price="stack 1f3a9c2b"),
        settled(5, user="acme/ann", tags="env=prod,team=search", cost_nano=0, cost_known=False),
    ]

    async def case(connection: AsyncConnection) -> object:
        added = await ledger.add(connection, wanted)
        return added, [await ledger.get(connection, one.id) for one in wanted], await ledger.get(connection, "other")

    assert in_transaction(case) == (5, wanted, None)


def test_an_exchange_is_kept_once_and_as_it_was_first(in_transaction: InTransaction) -> None:
    async def case(connection: AsyncConnection) -> object:
        await ledger.add(connection, [settled(1), settled(2)])
        added = await ledger.add(connection, [settled(2, cost_nano=999_999), settled(3)])
        return added, [one.cost_nano for one in await ledger.page(connection, 10, None)]

    assert in_transaction(case) == (1, [300, 300, 300])


def test_what_was_called_lost_and_comes_in_later_takes_its_place(in_transaction: InTransaction) -> None:
    lost = settled(1, outcome=Outcome.LOST, cost_nano=0, usage=Usage(), deployment="", tags="env=prod")
    late = settled(1, tags="env=prod", user="ann")

    async def case(connection: AsyncConnection) -> object:
        await ledger.add(connection, [settled(2), lost])
        healed = await ledger.add(connection, [late, settled(2)])
        again = await ledger.add(connection, [lost, late])
        found = {}
        for name in ("day", "deployment", "user", "tag"):
            tallies = await usage.tallies(connection, Selection(), (name,))
            found[name] = [
                (getattr(one, name), one.requests, one.errors, one.output_tokens, one.cost_nano)
                for one in tallies
                if one.requests or one.errors or one.output_tokens or one.cost_nano
            ]
        return healed, again, await ledger.get(connection, late.id), found

    each = settled(1).usage.output_tokens
    assert in_transaction(case) == (
        1,
        0,
        late,
        {
            "day": [(AT // usage.DAY_NS, 2, 0, 2 * each, 600)],
            "deployment": [(late.deployment, 2, 0, 2 * each, 600)],
            "user": [("", 1, 0, each, 300), ("ann", 1, 0, each, 300)],
            "tag": [("env=prod", 1, 0, each, 300)],
        },
    )


def test_pages_go_backwards_through_all_exchanges(in_transaction: InTransaction) -> None:
    async def case(connection: AsyncConnection) -> object:
        await ledger.add(connection, [settled(number, at_ns=AT + number // 3) for number in range(8)])
        seen: list[str] = []
        before = None
        while page := await ledger.page(connection, 3, before):
            seen += [one.id for one in page]
            before = page[-1].id
        return seen

    assert in_transaction(case) == [f"req-{number:06d}" for number in range(7, -1, -1)]


def test_absurd_numbers_of_an_upstream_do_no_harm(in_transaction: InTransaction) -> None:
    async def case(connection: AsyncConnection) -> object:
        absurd = Usage(2**64 - 1, -5, 2**63, UsageSource.UPSTREAM)
        await ledger.add(
            connection,
            [
                settled(number, usage=absurd, cost_nano=2**64 - 1, duration_ms=math.nan, first_content_ms=math.inf)
                for number in range(100)
            ],
        )
        one = await ledger.get(connection, "req-000000")
        assert one is not None
        (tally,) = await usage.tallies(connection, Selection())
        return one.usage.output_tokens, one.duration_ms, one.first_content_ms, tally.input_tokens == 100 * 2**50

    assert in_transaction(case) == (0, 0.0, 0.0, True)
