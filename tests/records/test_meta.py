from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.records import meta
from tests.records.conftest import InTransaction


def test_a_value_replaces_the_one_before(in_transaction: InTransaction) -> None:
    async def case(connection: AsyncConnection) -> list[bytes | None]:
        seen = [await meta.get(connection, "a")]
        for value in (b"1", b"2"):
            await meta.put(connection, "a", value)
            seen.append(await meta.get(connection, "a"))
        return [*seen, await meta.get(connection, "b")]

    assert in_transaction(case) == [None, b"1", b"2", None]
