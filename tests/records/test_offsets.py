from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.records import offsets
from tests.records.conftest import InTransaction


def test_positions_are_set_moved_and_forgotten(in_transaction: InTransaction) -> None:
    async def case(connection: AsyncConnection) -> object:
        for segment, position in (("a", 1), ("b", 2), ("a", 2**40)):
            await offsets.store(connection, segment, position)
        before = await offsets.load(connection)
        await offsets.forget(connection, "b")
        await offsets.forget(connection, "never there")
        return before, await offsets.load(connection)

    assert in_transaction(case) == ({"a": 2**40, "b": 2}, {"a": 2**40})
