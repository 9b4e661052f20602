from __future__ import annotations

import asyncio

from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.records import hosts, offsets
from penstock.records.hosts import Host
from tests.conftest import Opener
from tests.records import migrating
from tests.records.conftest import InTransaction

ONE = Host("0123456789ab", "eu-1", "1.0", 1_700_000_000 * 10**9, 2**63 - 1)
OTHER = Host("00000000c0de", "a name before it", "1.0", 1, 2)


def test_hosts_are_kept_replaced_and_forgotten(in_transaction: InTransaction) -> None:
    later = Host(ONE.id, "z", "1.1", ONE.run + 1, 5)

    async def case(connection: AsyncConnection) -> object:
        for host in (ONE, OTHER):
            await hosts.keep(connection, host)
        before = await hosts.load(connection)
        await hosts.keep(connection, later)
        after = await hosts.load(connection)
        await hosts.forget(connection, ONE.id)
        await hosts.forget(connection, "never there")
        return before, list(before), after, await hosts.load(connection)

    assert in_transaction(case) == (
        {ONE.id: ONE, OTHER.id: OTHER},
        [OTHER.id, ONE.id],  # by their names
        {OTHER.id: OTHER, ONE.id: later},
        {OTHER.id: OTHER},
    )


def test_hosts_of_one_name_are_told_apart(in_transaction: InTransaction) -> None:
    async def case(connection: AsyncConnection) -> object:
        for name in ("b" * 12, "a" * 12):
            await hosts.keep(connection, Host(name, "same", "1.0", 1, 1))
        return list(await hosts.load(connection))

    assert in_transaction(case) == ["a" * 12, "b" * 12]


def test_a_name_may_hold_what_the_database_does_not(in_transaction: InTransaction) -> None:
    async def case(connection: AsyncConnection) -> object:
        await hosts.keep(connection, Host(ONE.id, "n\0ul", "1\0", 1, 1))
        (kept,) = (await hosts.load(connection)).values()
        return "\0" in kept.name + kept.version

    assert in_transaction(case) is False


def test_the_migration_leads_down_and_up_and_touches_nothing_else(open_database: Opener) -> None:
    def tables(plain: Connection) -> set[str]:
        return set(inspect(plain).get_table_names())

    async def case() -> None:
        database = await open_database()
        async with database.write() as connection:
            await hosts.keep(connection, ONE)
            await offsets.store(connection, "a.journal", 7)
            before = await connection.run_sync(tables)
            await connection.run_sync(migrating.down, "0004")
            assert await connection.run_sync(tables) == before - {"hosts"}
            await connection.run_sync(migrating.up)
            assert await connection.run_sync(tables) == before
            assert await hosts.load(connection) == {}
            assert await offsets.load(connection) == {"a.journal": 7}
            await hosts.keep(connection, ONE)
            assert await hosts.load(connection) == {ONE.id: ONE}
        await database.close()

    asyncio.run(case())
