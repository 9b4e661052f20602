from __future__ import annotations

import asyncio
import sqlite3
import stat
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from penstock.records import offsets
from penstock.records.database import Database
from penstock.records.schema import metadata
from penstock.types.errors import StartError
from tests.conftest import Opener
from tests.records import migrating


def differences(connection: Connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


def test_a_new_database_has_the_tables_of_the_schema(open_database: Opener) -> None:
    async def case() -> None:
        database = await open_database()
        async with database.read() as connection:
            assert await connection.run_sync(differences) == []
        await database.close()

    asyncio.run(case())


def test_a_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    async def case() -> None:
        await (await Database.open(tmp_path / "p.db")).close()

    asyncio.run(case())
    assert stat.S_IMODE((tmp_path / "p.db").stat().st_mode) == 0o600


def test_migrations_lead_down_to_nothing_and_up_again(open_database: Opener) -> None:
    async def case() -> None:
        database = await open_database()
        async with database.write() as connection:
            await connection.run_sync(migrating.down, "base")
            tables = await connection.run_sync(lambda plain: inspect(plain).get_table_names())
            assert tables == ["alembic_version"]
            await connection.run_sync(migrating.up)
            assert await connection.run_sync(differences) == []
        await database.close()

    asyncio.run(case())


def test_what_was_kept_is_there_after_opening_again(open_database: Opener) -> None:
    async def case() -> dict[str, int]:
        database = await open_database()
        async with database.write() as connection:
            await offsets.store(connection, "a.journal", 1)
        await database.close()
        database = await open_database()
        async with database.read() as connection:
            found = await offsets.load(connection)
        await database.close()
        return found

    assert asyncio.run(case()) == {"a.journal": 1}


def test_every_connection_is_durable_and_patient(tmp_path: Path) -> None:
    async def case() -> list[object]:
        database = await Database.open(tmp_path / "p.db")
        async with database.read() as one, database.read() as other:
            found = [
                await connection.scalar(text(f"PRAGMA {name}"))
                for connection in (one, other)
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
        await database.close()
        return found

    assert asyncio.run(case()) == ["wal", 2, 1, 5000] * 2


def test_a_write_that_fails_leaves_nothing_behind(open_database: Opener) -> None:
    class Failure(Exception):
        pass

    async def case() -> dict[str, int]:
        database = await open_database()
        with pytest.raises(Failure):
            async with database.write() as connection:
                await offsets.store(connection, "a.journal", 1)
                raise Failure
        async with database.read() as connection:
            found = await offsets.load(connection)
        await database.close()
        return found

    assert asyncio.run(case()) == {}


def test_a_reader_sees_one_state_and_does_not_wait_for_a_writer(open_database: Opener) -> None:
    async def case() -> list[dict[str, int]]:
        database = await open_database()
        seen = []
        async with database.read() as reader:
            seen.append(await offsets.load(reader))
            async with database.write() as writer:
                await offsets.store(writer, "a.journal", 1)
                seen.append(await offsets.load(reader))
            seen.append(await offsets.load(reader))
        async with database.read() as reader:
            seen.append(await offsets.load(reader))
        await database.close()
        return seen

    assert asyncio.run(case()) == [{}, {}, {}, {"a.journal": 1}]


def test_writers_that_read_first_take_turns(open_database: Opener) -> None:
    async def add_one(database: Database) -> None:
        async with database.write() as connection:
            position = (await offsets.load(connection)).get("a.journal", 0)
            await offsets.store(connection, "a.journal", position + 1)

    async def case() -> dict[str, int]:
        database = await open_database()
        await asyncio.gather(*(add_one(database) for _ in range(20)))
        async with database.read() as connection:
            found = await offsets.load(connection)
        await database.close()
        return found

    assert asyncio.run(case()) == {"a.journal": 20}


def test_a_file_that_is_no_database_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "p.db"
    path.write_bytes(b"this is a letter to a friend, not a database" * 100)
    with pytest.raises(StartError, match=r"p\.db cannot be used: .*not a database"):
        asyncio.run(Database.open(path))
    assert path.read_bytes().startswith(b"this is a letter")


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    async def make() -> None:
        await (await Database.open(tmp_path / "p.db")).close()

    asyncio.run(make())
    with sqlite3.connect(tmp_path / "p.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StartError, match="written by a newer Penstock"):
        asyncio.run(Database.open(tmp_path / "p.db"))


def test_a_path_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"missing/p\.db cannot be opened"):
        asyncio.run(Database.open(tmp_path / "missing" / "p.db"))
