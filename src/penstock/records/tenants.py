"""Tenants: who shares Penstock with whom."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.records.schema import tenants


class Tenant(msgspec.Struct, frozen=True):
    """
    One tenant.

    Attributes:
        models: names its keys may use; None means all.
        suspended_at_ns: since when its keys are not valid; None: they are.
    """

    id: str
    models: tuple[str, ...] | None
    created_at_ns: int
    suspended_at_ns: int | None = None


async def add(connection: AsyncConnection, tenant: Tenant) -> None:
    """Keep a new tenant."""
    await connection.execute(insert(tenants).values(msgspec.structs.asdict(tenant)))


async def change(connection: AsyncConnection, tenant: Tenant) -> None:
    """Keep a tenant as it is now."""
    values = {"models": tenant.models, "suspended_at_ns": tenant.suspended_at_ns}
    await connection.execute(update(tenants).where(tenants.c.id == tenant.id).values(values))


async def load(connection: AsyncConnection) -> dict[str, Tenant]:
    """Return all tenants by their ids, in their order; there are some thousands at the most."""
    return {row.id: _tenant(row) for row in await connection.execute(select(tenants).order_by(tenants.c.id))}


def _tenant(row: Row[Any]) -> Tenant:
    models = None if row.models is None else tuple(row.models)
    return Tenant(row.id, models, row.created_at_ns, row.suspended_at_ns)
