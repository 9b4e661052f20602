"""Keys as they are kept: public facts and a keyed hash, never a secret."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Row, and_, exists, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.auth.roles import Role
from penstock.records.schema import keys
from penstock.types.operation import Operation

ALL_TENANTS = "*"


class KeyKind(StrEnum):
    """What a key is for."""

    CLIENT = "client"  # the data port
    ADMIN = "admin"  # the admin API


class Key(msgspec.Struct, frozen=True):
    """
    One key.

    Attributes:
        digest: `penstock.auth.keys.digest` of the key.
        tenant: whose it is; `ALL_TENANTS` for a key for the admin API that is for all.
        models: names it may use; None means all.
        created_at_ns, revoked_at_ns: nanoseconds since the epoch; None: still valid.
        role: of a key for the admin API.
        operations: what it may call models for; None means everything.
        networks: where it may be used from, in CIDR notation; None means everywhere.
        expires_at_ns: from when on it is not valid; None: never.
        owner: the user whose key it is, or empty.
        lineage: the id of the first of the keys that have replaced each other; empty for that one itself.
    """

    id: str
    kind: KeyKind
    digest: bytes
    name: str
    tenant: str
    models: tuple[str, ...] | None
    created_at_ns: int
    revoked_at_ns: int | None = None
    role: Role | None = None
    operations: tuple[Operation, ...] | None = None
    networks: tuple[str, ...] | None = None
    expires_at_ns: int | None = None
    lineage: str = ""
    owner: str = ""


async def add(connection: AsyncConnection, key: Key) -> None:
    """Keep a new key."""
    await connection.execute(insert(keys).values(msgspec.structs.asdict(key)))


async def get(connection: AsyncConnection, key_id: str) -> Key | None:
    """Return a key, revoked or not."""
    row = (await connection.execute(select(keys).where(keys.c.id == key_id))).one_or_none()
    return _key(row) if row is not None else None


async def revoke(connection: AsyncConnection, key_id: str, at_ns: int) -> bool:
    """Mark a key as revoked; False when there is no valid key of this id."""
    valid = and_(keys.c.id == key_id, keys.c.revoked_at_ns.is_(None))
    result = await connection.execute(update(keys).where(valid).values(revoked_at_ns=at_ns))
    return result.rowcount == 1


async def expire(connection: AsyncConnection, key_id: str, at_ns: int) -> None:
    """Set from when on a key is not valid."""
    await connection.execute(update(keys).where(keys.c.id == key_id).values(expires_at_ns=at_ns))


async def valid(connection: AsyncConnection, kind: KeyKind) -> list[Key]:
    """Return all keys of a kind that are not revoked."""
    rows = await connection.execute(select(keys).where(keys.c.kind == kind, keys.c.revoked_at_ns.is_(None)))
    return [_key(row) for row in rows]


async def ever(connection: AsyncConnection, kind: KeyKind) -> bool:
    """Tell whether a key of this kind was ever made, even if it is revoked now."""
    return bool(await connection.scalar(select(exists().where(keys.c.kind == kind))))


async def page(
    connection: AsyncConnection,
    limit: int,
    after: str | None,
    *,
    revoked: bool,
    tenant: str | None = None,
    now_ns: int = 0,
) -> list[Key]:
    """Return up to `limit` keys, oldest first, after the one with the id `after`; those that have ended if asked."""
    query = select(keys).order_by(keys.c.created_at_ns, keys.c.id).limit(limit)
    if not revoked:
        query = query.where(keys.c.revoked_at_ns.is_(None))
        query = query.where(or_(keys.c.expires_at_ns.is_(None), keys.c.expires_at_ns > now_ns))
    if tenant is not None:
        query = query.where(keys.c.tenant == tenant)
    if after is not None:
        found = select(keys.c.created_at_ns).where(keys.c.id == after)
        at = (found if tenant is None else found.where(keys.c.tenant == tenant)).scalar_subquery()
        query = query.where(or_(keys.c.created_at_ns > at, and_(keys.c.created_at_ns == at, keys.c.id > after)))
    return [_key(row) for row in await connection.execute(query)]


async def names(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, str]:
    """Return the names of keys by their ids, revoked ones too; of some thousands at the most."""
    query = select(keys.c.id, keys.c.name).where(keys.c.id.in_(ids))
    return {row.id: row.name for row in await connection.execute(query)}


def _key(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        kind=KeyKind(row.kind),
        digest=row.digest,
        name=row.name,
        tenant=row.tenant,
        models=None if row.models is None else tuple(row.models),
        created_at_ns=row.created_at_ns,
        revoked_at_ns=row.revoked_at_ns,
        role=None if row.role is None else Role(row.role),
        operations=None if row.operations is None else tuple(map(Operation, row.operations)),
        networks=None if row.networks is None else tuple(row.networks),
        expires_at_ns=row.expires_at_ns,
        lineage=row.lineage,
        owner=row.owner,
    )
