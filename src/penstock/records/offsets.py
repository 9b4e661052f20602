"""How far each segment of the journal is folded into the ledger."""

from __future__ import annotations

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.records.schema import journal_offsets


async def load(connection: AsyncConnection) -> dict[str, int]:
    """Return the position in bytes by segment file name."""
    rows = await connection.execute(select(journal_offsets.c.segment, journal_offsets.c.position))
    return {row.segment: row.position for row in rows}


async def store(connection: AsyncConnection, segment: str, position: int) -> None:
    """Set the position of a segment."""
    moved = update(journal_offsets).where(journal_offsets.c.segment == segment).values(position=position)
    if (await connection.execute(moved)).rowcount == 0:
        await connection.execute(insert(journal_offsets).values(segment=segment, position=position))


async def forget(connection: AsyncConnection, segment: str) -> None:
    """Remove the position of a segment that is no more."""
    await connection.execute(delete(journal_offsets).where(journal_offsets.c.segment == segment))
