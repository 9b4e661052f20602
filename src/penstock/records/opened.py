"""Exchanges that are opened and not yet settled, by the writer that is to settle them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Row, bindparam, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.journal.records import Opened
from penstock.records.database import insert_new
from penstock.records.schema import bounded, clean, opened


async def add(connection: AsyncConnection, writer: str, exchanges: Sequence[Opened]) -> None:
    """Note exchanges that this writer has opened."""
    if exchanges:
        rows = [_row(writer, exchange) for exchange in exchanges]
        await connection.execute(insert_new(connection, opened), rows)


async def remove(connection: AsyncConnection, request_ids: Sequence[str]) -> None:
    """Take out exchanges that are settled; unknown ids are fine."""
    if request_ids:
        statement = delete(opened).where(opened.c.request_id == bindparam("settled_id"))
        await connection.execute(statement, [{"settled_id": request_id} for request_id in request_ids])


async def writers(connection: AsyncConnection) -> set[str]:
    """Return the writers that have something open."""
    return set(await connection.scalars(select(opened.c.writer).distinct()))


async def of_writer(connection: AsyncConnection, writer: str, limit: int) -> list[Opened]:
    """Return up to `limit` of the exchanges that a writer has open."""
    rows = await connection.execute(select(opened).where(opened.c.writer == writer).limit(limit))
    return [_opened(row) for row in rows]


def _row(writer: str, exchange: Opened) -> dict[str, Any]:
    row = msgspec.structs.asdict(exchange)
    row["reserved_nano"] = bounded(exchange.reserved_nano)
    row |= {name: clean(row[name]) for name in ("model", "user", "tags")}
    return {"request_id": row.pop("id"), "writer": writer, **row}


def _opened(row: Row[Any]) -> Opened:
    return Opened(
        id=row.request_id,
        at_ns=row.at_ns,
        key=row.key,
        tenant=row.tenant,
        model=row.model,
        operation=row.operation,
        reserved_nano=row.reserved_nano,
        user=row.user,
        tags=row.tags,
    )
