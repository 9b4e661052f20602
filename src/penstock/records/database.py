"""The database of ledger and keys: an SQLite file, or PostgreSQL. Opened by control alone."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec
from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from penstock.records import postgres, sqlite
from penstock.types.errors import StartError

_OPTIONS = {
    "pool_size": 4,
    "max_overflow": 0,
    "hide_parameters": True,  # rows never get into errors and logs
    "json_serializer": lambda value: msgspec.json.encode(value).decode(),
    "json_deserializer": msgspec.json.decode,
}
_MIGRATIONS = Path(__file__).parent / "migrations"
_PATIENCE_S = 30.0  # for a server that is starting, too
_RETRY_S = 0.5

_log = logging.getLogger(__name__)


class Unreachable(SQLAlchemyError):
    """The server does not answer, or not to us."""


class Database:
    """
    Hands out transactions. Made once per process by `open` or `connect`, shared by its tasks, closed by its maker.

    Attributes:
        leadership: of a server that others could use too; None for a file.
    """

    def __init__(self, reads: AsyncEngine, writes: AsyncEngine) -> None:
        self._reads = reads
        self._writes = writes
        self._turn = asyncio.Lock()
        self.leadership: postgres.Leadership | None = None

    @classmethod
    async def open(cls, path: Path, *, prepare: bool = True) -> Database:
        """
        Open a file, making it when it is not there, and bring its tables up to date.

        Args:
            prepare: False to leave the tables as they are.
        Raises:
            StartError: it is no SQLite database, cannot be opened, or was written by a newer Penstock.
        """
        database = cls(*sqlite.engine(path, **_OPTIONS))
        if prepare:
            await database._prepare(f"the database {path}")
        return database

    @classmethod
    async def connect(cls, url: str, patience_s: float = _PATIENCE_S, *, prepare: bool = True) -> Database:
        """
        Connect to a PostgreSQL, wait until no other control leads there, and bring its tables up to date.

        Args:
            patience_s: how long it may take until the server answers.
            prepare: False to leave the tables as they are, and not to wait for another control.
        Raises:
            StartError: it cannot be reached, refuses us, or was written by a newer Penstock.
        """
        database = cls(*postgres.engine(url, **_OPTIONS))
        loop = asyncio.get_running_loop()
        until, told = loop.time() + patience_s, False
        while True:
            try:
                database.leadership = await postgres.Leadership.take(database._writes, wait=prepare)
                break
            except (SQLAlchemyError, OSError) as error:
                if not (isinstance(error, OSError) or unavailable(error)) or loop.time() > until:
                    await database.close()
                    raise StartError(f"the database cannot be used: {_reason(error)}") from None
                if not told:
                    _log.warning("the database cannot be reached; trying again")
                told = True
                await asyncio.sleep(_RETRY_S)
            except BaseException:
                await database.close()
                raise
        if prepare:
            await database._prepare("the database")
        return database

    async def close(self) -> None:
        """Close all connections. Nothing else may use the database afterwards."""
        if self.leadership is not None:
            await self.leadership.close()
        await self._reads.dispose()
        await self._writes.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection that sees one state of the database throughout."""
        with _reachable():
            async with self._reads.connect() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """Yield a connection whose changes are kept when the block ends well, and none of them otherwise."""
        with _reachable():
            async with self._turn, self._writes.begin() as connection:
                if self.leadership is not None and not await self.leadership.confirm(connection):
                    raise Unreachable("another control leads")
                yield connection

    async def _prepare(self, name: str) -> None:
        try:
            async with self.write() as connection:
                await connection.run_sync(migrate)
        except DBAPIError as error:
            await self.close()
            raise StartError(f"{name} cannot be used: {error.orig}") from error
        except CommandError as error:
            await self.close()
            raise StartError(f"{name} was written by a newer Penstock: {error}") from error
        except BaseException:
            await self.close()
            raise


@contextmanager
def _reachable() -> Iterator[None]:
    """Translate what the driver of PostgreSQL lets through."""
    try:
        yield
    except (ConnectionError, TimeoutError, socket.gaierror) as error:
        raise Unreachable(_reason(error)) from error


def unavailable(error: Exception) -> bool:
    """Tell whether the database as a whole could not be asked: trying again later makes sense."""
    if isinstance(error, Unreachable | PoolTimeout | OperationalError | InterfaceError):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated


def busy(error: Exception) -> bool:
    """Tell whether this is the doing of others: a file that is locked, a server that does not answer."""
    if isinstance(error, OperationalError) and getattr(error.orig, "sqlite_errorcode", None) is not None:
        return sqlite.busy(error)
    return unavailable(error)


def insert_new(connection: AsyncConnection, table: Table) -> sqlite_dialect.Insert | postgresql.Insert:
    """Return an INSERT that leaves a row alone which is there already (by primary key)."""
    return _insert(connection, table).on_conflict_do_nothing()


def insert_adding(
    connection: AsyncConnection, table: Table, group: Sequence[str], sums: Sequence[str]
) -> sqlite_dialect.Insert | postgresql.Insert:
    """Return an INSERT that, where there is a row of this group (the primary key), adds to its sums."""
    statement = _insert(connection, table)
    return statement.on_conflict_do_update(
        index_elements=list(group), set_={name: table.c[name] + statement.excluded[name] for name in sums}
    )


def _insert(connection: AsyncConnection, table: Table) -> sqlite_dialect.Insert | postgresql.Insert:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite_dialect.insert(table)


def migrate(connection: Connection, revision: str = "head") -> None:
    """
    Bring the tables up to a revision.

    Raises:
        CommandError: there is no such revision, or the tables are of a later one.
    """
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or "it does not answer"
    return str(error.orig if isinstance(error, DBAPIError) else error).partition("\n")[0]
