"""What the database knows about itself: a few values by name."""

from __future__ import annotations

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.records.schema import meta


async def get(connection: AsyncConnection, name: str) -> bytes | None:
    """Return a value, or None when it was never put."""
    value: bytes | None = await connection.scalar(select(meta.c.value).where(meta.c.name == name))
    return value


async def put(connection: AsyncConnection, name: str, value: bytes) -> None:
    """Keep a value in place of the one before."""
    await connection.execute(delete(meta).where(meta.c.name == name))
    await connection.execute(insert(meta).values(name=name, value=value))
