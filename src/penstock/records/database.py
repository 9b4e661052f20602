"""
The database: one SQLite file, opened by one process.

- WAL, so that a listing does not wait for the fold and the fold not for a listing.
- `synchronous=FULL`: a segment of the journal is deleted once it is folded, and a key is shown once it is kept, so a
  commit must outlive the power. There are few commits a second, each of many rows, so this costs little.
- Transactions that write begin with `BEGIN IMMEDIATE`: in WAL one that reads first and writes later could fail with
  `SQLITE_BUSY` at once, whatever the time-out.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Table, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from penstock.types.errors import StartError

_CONNECTIONS = 4
_BUSY_MS = 5_000  # for readers from outside, such as a backup; our own writers take turns
_WRITES = "penstock_writes"
_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """
    Hands out transactions. Made once per process by `open`, shared by its tasks, closed by whoever opened it.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**{_WRITES: True})
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path) -> Database:
        """
        Open the file, making it when it is not there, and bring its tables up to date.

        Raises:
            StartError: it is no SQLite database, cannot be opened, or was written by a newer Penstock.
        """
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StartError(f"the database {path} cannot be opened: {error.strerror}") from error
        database = cls(_engine(path))
        try:
            async with database.write() as connection:
                await connection.run_sync(_migrate)
        except DBAPIError as error:
            await database.close()
            raise StartError(f"the database {path} cannot be used: {error.orig}") from error
        except CommandError as error:
            await database.close()
            raise StartError(f"the database {path} was written by a newer Penstock: {error}") from error
        except BaseException:
            await database.close()
            raise
        return database

    async def close(self) -> None:
        """Close all connections. Nothing else may use the database afterwards."""
        await self._engine.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection that sees one state of the database throughout."""
        async with self._engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection whose changes are kept when the block ends well, and none of them otherwise."""
        async with self._turn, self._writer.begin() as connection:
            yield connection


def busy(error: OperationalError) -> bool:
    """Tell whether another program held the database for longer than we wait; trying again later makes sense."""
    code = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF == sqlite3.SQLITE_BUSY  # the rest is a finer code


def insert_new(table: Table) -> sqlite.Insert:
    """Return an INSERT that leaves a row alone which is there already (by primary key)."""
    return sqlite.insert(table).on_conflict_do_nothing()


def insert_adding(table: Table, group: Sequence[str], sums: Sequence[str]) -> sqlite.Insert:
    """Return an INSERT that, where there is a row of this group (the primary key), adds to its sums."""
    statement = sqlite.insert(table)
    return statement.on_conflict_do_update(
        index_elements=list(group), set_={name: table.c[name] + statement.excluded[name] for name in sums}
    )


def _engine(path: Path) -> AsyncEngine:
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        pool_size=_CONNECTIONS,
        max_overflow=0,
        hide_parameters=True,  # rows never get into errors and logs
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
    )
    event.listen(engine.sync_engine, "connect", _prepare)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # The driver would begin transactions on its own, late and never before DDL; `_begin` does it instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
