from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.records import opened
from tests.records import exchanges
from tests.records.conftest import InTransaction


def test_what_is_open_is_known_by_its_writer(in_transaction: InTransaction) -> None:
    async def case(connection: AsyncConnection) -> object:
        await opened.add(connection, "w1", [exchanges.opened(1), exchanges.opened(2, user="acme/ann", tags="a=b")])
        await opened.add(connection, "w1", [exchanges.opened(2)])  # read once more after a crash
        await opened.add(connection, "w2", [exchanges.opened(3)])
        await opened.add(connection, "w2", [])
        await opened.remove(connection, ["req-000001", "unknown"])
        await opened.remove(connection, [])
        return await opened.writers(connection), await opened.of_writer(connection, "w1", 10)

    assert in_transaction(case) == ({"w1", "w2"}, [exchanges.opened(2, user="acme/ann", tags="a=b")])


def test_a_listing_is_bounded_and_an_absurd_reservation_does_no_harm(in_transaction: InTransaction) -> None:
    async def case(connection: AsyncConnection) -> object:
        await opened.add(connection, "w", [exchanges.opened(number, 2**64 - 1) for number in range(5)])
        return [len(await opened.of_writer(connection, "w", limit)) for limit in (2, 10)]

    assert in_transaction(case) == [2, 5]
