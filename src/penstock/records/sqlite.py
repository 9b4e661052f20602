"""
SQLite: one file, opened by one process.

- WAL, so that a listing does not wait for the fold and the fold not for a listing.
- `synchronous=FULL`: a segment of the journal is deleted once it is folded, and a key is shown once it is kept, so a
  commit must outlive the power. There are few commits a second, each of many rows, so this costs little.
- Transactions that write begin with `BEGIN IMMEDIATE`: in WAL one that reads first and writes later could fail with
  `SQLITE_BUSY` at once, whatever the time-out.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from penstock.types.errors import StartError

_BUSY_MS = 5_000  # for readers from outside, such as a backup; our own writers take turns
_WRITES = "penstock_writes"


def engine(path: Path, **options: Any) -> tuple[AsyncEngine, AsyncEngine]:
    """
    Return engines for reading and for writing, making the file when it is not there.

    Raises:
        StartError: the file cannot be made or opened.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StartError(f"the database {path} cannot be opened: {error.strerror}") from error
    reads = create_async_engine(URL.create("sqlite+aiosqlite", database=str(path)), **options)
    event.listen(reads.sync_engine, "connect", _prepare)
    event.listen(reads.sync_engine, "begin", _begin)
    return reads, reads.execution_options(**{_WRITES: True})


def busy(error: DBAPIError) -> bool:
    """Tell whether another program held the database for longer than we wait."""
    code = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF == sqlite3.SQLITE_BUSY  # the rest is a finer code


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
