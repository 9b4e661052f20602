"""What only a server brings: addresses, one who leads, and being away."""

from __future__ import annotations

import asyncio

import pytest

from penstock.records import ledger, offsets, opened, usage
from penstock.records.database import Database, Unreachable, busy
from penstock.records.usage import Selection
from penstock.types.errors import StartError
from tests.conftest import Opener
from tests.records import exchanges
from tests.records.exchanges import settled
from tests.servers import PostgresServer


@pytest.mark.parametrize(
    "given",
    [
        "hunter2",
        "mysql://me:hunter2@h/db",
        "postgresql://me:hunter2@h:port/db",
        "postgresql://me:x@h/db?port=hunter2",
        "postgresql://me:hunter2@h/db?sslmode=perhaps",
        "postgresql://me:hunter2@a..b/db",
        "",
    ],
)
def test_other_addresses_are_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(StartError) as caught:
        asyncio.run(Database.connect(given, patience_s=0.1))
    assert "hunter2" not in str(caught.value)


def test_options_are_those_of_other_programs(postgres: str) -> None:
    async def case() -> None:
        await (await Database.connect(f"{postgres}?sslmode=disable&application_name=mine")).close()

    asyncio.run(case())
    with pytest.raises(StartError):
        asyncio.run(Database.connect(f"{postgres}?sslmode=require", patience_s=0.1))


def test_one_that_does_not_lead_any_more_writes_nothing(postgres_server: PostgresServer) -> None:
    name = postgres_server.make()

    async def case() -> None:
        first = await Database.connect(postgres_server.url(name))
        assert first.leadership is not None
        postgres_server.tell(f"SELECT pg_terminate_backend({first.leadership._pid})")
        second = await Database.connect(postgres_server.url(name))
        with pytest.raises(Unreachable, match="another control leads"):
            async with first.write() as connection:
                await offsets.store(connection, "a", 1)
        async with second.write() as connection:
            await offsets.store(connection, "b", 1)
        async with second.read() as connection:
            assert await offsets.load(connection) == {"b": 1}
        for database in (first, second):
            await database.close()

    asyncio.run(case())


def test_who_takes_over_waits_for_what_is_being_written(postgres_server: PostgresServer) -> None:
    name = postgres_server.make()

    async def case() -> None:
        first = await Database.connect(postgres_server.url(name))
        assert first.leadership is not None
        async with first.write() as connection:
            postgres_server.tell(f"SELECT pg_terminate_backend({first.leadership._pid})")
            second = asyncio.create_task(Database.connect(postgres_server.url(name)))
            await asyncio.wait({second}, timeout=0.5)
            assert not second.done()
            await offsets.store(connection, "a", 1)
        database = await second
        async with database.read() as connection:
            assert await offsets.load(connection) == {"a": 1}
        for each in (first, database):
            await each.close()

    asyncio.run(case())


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
        async with database.read() as connection:
            assert await offsets.load(connection) == {}
        with pytest.raises(Unreachable):  # somebody else may lead by now
            async with database.write() as connection:
                await offsets.store(connection, "a", 1)
        await database.close()
        again = await Database.connect(url)
        async with again.write() as connection:
            await offsets.store(connection, "a", 1)
        await again.close()

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
