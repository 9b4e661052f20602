"""Hosts: the data directories whose journals go into this ledger."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.records.schema import clean, hosts


class Host(msgspec.Struct, frozen=True):
    """
    One host.

    Attributes:
        id: the name of its data directory (`penstock.journal.host`).
        name: what people call it.
        version: of its Penstock.
        run: when its node started, nanoseconds since the epoch.
        seen_at_ns: when it last reported, roughly.
    """

    id: str
    name: str
    version: str
    run: int
    seen_at_ns: int


async def load(connection: AsyncConnection) -> dict[str, Host]:
    """Return all hosts by their ids, in the order of their names."""
    rows = await connection.execute(select(hosts).order_by(hosts.c.name, hosts.c.id))
    return {row.id: Host(row.id, row.name, row.version, row.run, row.seen_at_ns) for row in rows}


async def keep(connection: AsyncConnection, host: Host) -> None:
    """Keep a host as it is now."""
    values = {"name": clean(host.name), "version": clean(host.version), "run": host.run, "seen_at_ns": host.seen_at_ns}
    if (await connection.execute(update(hosts).where(hosts.c.id == host.id).values(values))).rowcount == 0:
        await connection.execute(insert(hosts).values(id=host.id, **values))


async def forget(connection: AsyncConnection, host_id: str) -> None:
    """Remove a host."""
    await connection.execute(delete(hosts).where(hosts.c.id == host_id))
