"""
A whole database as lines of JSON, from any kind of it and into any kind.

The first line says what it is, then come the rows of each table, and the last line says how many there were; without
it the archive is cut. All of it is of one moment.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec
from alembic.util.exc import CommandError
from sqlalchemy import Column, Connection, LargeBinary, MetaData, Table, insert, inspect, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.records.database import Database, migrate
from penstock.records.schema import metadata
from penstock.types.errors import PenstockError

FORMAT = 1
_AT_ONCE = 1000

_encode = msgspec.json.Encoder().encode


class ArchiveError(PenstockError):
    """An archive is none, is cut or damaged, or cannot be taken in here."""


class Head(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    The first line.

    Attributes:
        revision: of the tables.
        tables: their columns, in the order of the rows' values.
        secret: what keys are hashed under, base64, where Penstock made it itself.
    """

    penstock_backup: int
    version: str
    created_at: str
    revision: str
    tables: dict[str, list[str]]
    secret: str = ""


class _Tail(msgspec.Struct, frozen=True):
    rows: dict[str, int]


async def export(connection: AsyncConnection, version: str, created_at: str, secret: bytes) -> AsyncIterator[bytes]:
    """
    Yield an archive in pieces of whole lines.

    Args:
        connection: reads one state of the database throughout.
        version: of this Penstock.
        secret: see `Head`; empty where the user keeps it.
    """
    revision = await connection.scalar(text("SELECT version_num FROM alembic_version"))
    tables = {str(table.name): [str(column.name) for column in table.columns] for table in metadata.sorted_tables}
    yield _line(Head(FORMAT, version, created_at, str(revision), tables, base64.b64encode(secret).decode()))
    counts: dict[str, int] = {}
    for table in metadata.sorted_tables:
        name = str(table.name)
        counts[name] = 0
        result = await connection.stream(select(table).order_by(*table.primary_key.columns))
        async for part in result.partitions(_AT_ONCE):
            counts[name] += len(part)
            yield b"".join(_line([name, list(row)]) for row in part)
    yield _line(_Tail(counts))


def head_of(line: bytes) -> Head:
    """
    Return what an archive says of itself in its first line.

    Raises:
        ArchiveError: it is none, or of a later format.
    """
    try:
        head = msgspec.json.decode(line, type=Head)
    except msgspec.DecodeError as error:
        raise ArchiveError("this is no backup of Penstock") from error
    if head.penstock_backup != FORMAT:
        raise ArchiveError(f"this backup was made by a newer Penstock ({head.version})")
    return head


Check = Callable[[AsyncConnection], Awaitable[None]]


async def restore(database: Database, head: Head, lines: Iterable[bytes], check: Check | None = None) -> dict[str, int]:
    """
    Take an archive into an empty database, all of it or nothing. Return how many rows each table has got.

    Args:
        database: opened with `prepare=False`.
        lines: all but the first.
        check: looks at what is there before it is kept, and raises if it is not to be.
    Raises:
        ArchiveError: it is cut or damaged, comes from a newer Penstock, or the database is not empty.
    """
    async with database.write() as connection:
        if await connection.run_sync(_in_use):
            raise ArchiveError("the database is not empty; a backup is restored into a new one")
        try:
            await connection.run_sync(migrate, head.revision)
        except CommandError as error:
            raise ArchiveError(f"this backup was made by a newer Penstock ({head.version})") from error
        tables = {name: _table(name, columns) for name, columns in head.tables.items()}
        counts: dict[str, int] = {}
        ended = False
        for name, rows in _parts(lines, tables):
            if ended:
                raise ArchiveError("the backup is damaged: there is more behind its end")
            if isinstance(rows, _Tail):
                ended = True
                if {table: count for table, count in rows.rows.items() if count} != counts:
                    raise ArchiveError("the backup is damaged: rows are missing")
                continue
            counts[name] = counts.get(name, 0) + len(rows)
            await connection.execute(insert(tables[name]), rows)
        if not ended:
            raise ArchiveError("the backup is cut: its end is missing")
        await connection.run_sync(migrate)
        if check is not None:
            await check(connection)
    return counts


def _parts(lines: Iterable[bytes], tables: dict[str, Table]) -> Iterator[tuple[str, list[dict[str, Any]] | _Tail]]:
    """Yield rows of one table at a time, and the end."""
    rest = iter(lines)
    while part := list(islice(rest, _AT_ONCE)):
        name = ""
        rows: list[dict[str, Any]] = []
        for line in part:
            try:
                found = msgspec.json.decode(line, type=tuple[str, list[Any]] | _Tail)
                if isinstance(found, _Tail):
                    if rows:
                        yield name, rows
                    rows = []
                    yield "", found
                    continue
                row = _row(tables[found[0]], found[1])
            except (KeyError, ValueError) as error:
                raise ArchiveError("the backup is damaged") from error
            if found[0] != name and rows:
                yield name, rows
                rows = []
            name = found[0]
            rows.append(row)
        if rows:
            yield name, rows


def _row(table: Table, values: list[Any]) -> dict[str, Any]:
    columns = list(table.columns)
    return {
        column.name: base64.b64decode(value) if isinstance(column.type, LargeBinary) and value is not None else value
        for column, value in zip(columns, values, strict=True)
    }


def _in_use(connection: Connection) -> bool:
    return bool(inspect(connection).get_table_names())


def _table(name: str, columns: list[str]) -> Table:
    """Return a table as it was when the archive was made: with the columns that it has there."""
    now = metadata.tables.get(name)
    if now is None or any(column not in now.c for column in columns):
        raise ArchiveError("the backup is damaged")
    return Table(name, MetaData(), *(Column(column, now.c[column].type) for column in columns))


def _line(value: object) -> bytes:
    return _encode(value) + b"\n"
