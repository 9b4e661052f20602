"""What only a server brings: addresses, one who leads, and being away."""

from __future__ import annotations

import asyncio

import pytest

from penstock.records import ledger, offsets, opened, usage
from penstock.records.database import Database, Unreachable, busy
from penstock.records.postgres import address
from penstock.records.usage import Selection
from penstock.types.errors import StartError
from tests.conftest import Opener
from tests.records import exchanges
from tests.records.exchanges import settled
from tests.servers import PostgresServer


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql://me:pw@h/db", "postgresql+asyncpg://me:pw@h/db"),
        ("postgres://h:5433/db?sslmode=verify-full", "postgresql+asyncpg://h:5433/db?ssl=verify-full"),
    ],
)
def test_addresses_are_those_of_other_programs(given: str, expected: str) -> None:
    assert address(given).render_as_string(hide_password=False) == expected


@pytest.mark.parametrize("given", ["hunter2", "mysql://me:hunter2@h/db", "postgresql://me:hunter2@h:port/db", ""])
def test_other_addresses_are_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(StartError, match="the address of the database") as caught:
        address(given)
    assert "hunter2" not in str(caught.value)


def test_a_wrong_password_is_refused_at_once_and_not_repeated(postgres: str) -> None:
    with pytest.raises(StartError, match="password authentication failed") as caught:
        asyncio.run(Database.connect(postgres.replace("hunter2", "hunter3")))
    assert "hunter" not in str(caught.value)


def test_a_server_that_is_not_there_is_waited_for_and_given_up(postgres: str) -> None:
    nowhere = postgres.replace(postgres.partition("@")[2].partition("/")[0], "127.0.0.1:1")
    with pytest.raises(StartError, match="the database cannot be used: "):
        asyncio.run(Database.connect(nowhere, patience_s=0.1))


def test_the_second_control_waits_until_the_first_has_gone(postgres: str, caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        first = await Database.connect(postgres)
        second = asyncio.create_task(Database.connect(postgres))
        while not caplog.records:  # noqa: ASYNC110  # until it says that it waits
            await asyncio.sleep(0.01)
        assert not second.done()
        await first.close()
        database = await second
        async with database.write() as connection:
            await offsets.store(connection, "a", 1)
        await database.close()

    with caplog.at_level("WARNING"):
        asyncio.run(case())
    assert caplog.messages == ["another control leads; waiting to take over"]


def test_who_leads_hears_when_the_server_ends_it(postgres_server: PostgresServer) -> None:
    name = postgres_server.make()

    async def case() -> None:
        database = await Database.connect(postgres_server.url(name))
        assert database.leadership is not None
        lost = asyncio.create_task(database.leadership.lost())
        await asyncio.sleep(0)
        assert not lost.done()
        postgres_server.tell(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        await lost
        await database.close()

    asyncio.run(case())


def test_a_server_that_goes_is_away_and_comes_back() -> None:
    async def case(server: PostgresServer, url: str) -> None:
        database = await Database.connect(url)
        server.kill()
        for _ in range(2):
            with pytest.raises(Exception, match=r".*") as caught:
                async with database.read() as connection:
                    await offsets.load(connection)
            assert busy(caught.value), repr(caught.value)
        with pytest.raises(Unreachable):
            async with database.write() as connection:
                await offsets.store(connection, "a", 1)
        server.start()
        async with database.write() as connection:
            await offsets.store(connection, "a", 1)
        async with database.read() as connection:
            assert await offsets.load(connection) == {"a": 1}
        await database.close()

    with PostgresServer() as server:
        asyncio.run(case(server, server.url(server.make())))


def test_whatever_clients_send_can_be_kept(open_database: Opener) -> None:
    odd = "a\0b\ud7ff\U0010ffff'; DROP TABLE ledger; --"

    async def case() -> None:
        database = await open_database()
        exchange = settled(1, model=odd, error=odd, tenant=odd, explanation=((odd, odd),))
        async with database.write() as connection:
            await opened.add(connection, "w", [exchanges.opened(2)])
            assert await ledger.add(connection, [exchange]) == 1
        async with database.read() as connection:
            found = await ledger.get(connection, exchange.id)
            assert found is not None
            assert found.model == odd.replace("\0", "\ufffd")
            (tally,) = await usage.tallies(connection, Selection(model=odd))
            assert tally.requests == 1
        await database.close()

    asyncio.run(case())
