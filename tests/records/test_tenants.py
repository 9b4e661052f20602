from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.auth.roles import Role
from penstock.records import keys, tenants
from penstock.records.keys import ALL_TENANTS, Key, KeyKind
from penstock.records.tenants import Tenant
from penstock.types.operation import Operation
from tests.conftest import Opener
from tests.records import migrating
from tests.records.conftest import InTransaction


def test_a_tenant_is_kept_as_it_was_changed_last(in_transaction: InTransaction) -> None:
    async def case(connection: AsyncConnection) -> object:
        for name in ("b", "a"):
            await tenants.add(connection, Tenant(name, None, 1))
        await tenants.change(connection, Tenant("b", ("chat", "x"), 99, 5))
        return await tenants.load(connection)

    assert in_transaction(case) == {"a": Tenant("a", None, 1), "b": Tenant("b", ("chat", "x"), 1, 5)}


def test_keys_from_before_there_were_roles_go_on_as_they_were(open_database: Opener) -> None:
    old = "INSERT INTO keys (id, kind, digest, name, tenant, created_at_ns) VALUES "

    async def case() -> None:
        database = await open_database()
        async with database.write() as connection:
            await connection.run_sync(migrating.down, "0003")
            rows = [("k1", "client", "acme", 3), ("k2", "client", "acme", 2), ("a1", "admin", "default", 1)]
            for name, kind, tenant, at in rows:
                parameters = {"id": name, "kind": kind, "digest": b"d", "name": "n", "tenant": tenant, "at": at}
                await connection.execute(text(f"{old} (:id, :kind, :digest, :name, :tenant, :at)"), parameters)
        await database.close()
        database = await open_database()
        async with database.write() as connection:
            admin, client = await keys.get(connection, "a1"), await keys.get(connection, "k1")
            assert admin is not None
            assert (admin.role, admin.tenant) == (Role.ADMIN, ALL_TENANTS)
            assert client is not None
            assert (client.role, client.tenant, client.lineage, client.expires_at_ns) == (None, "acme", "", None)
            assert await tenants.load(connection) == {"acme": Tenant("acme", None, 2)}
            bounded: list[dict[str, Any]] = [
                {"kind": KeyKind.ADMIN, "role": Role.ADMIN},
                {"kind": KeyKind.ADMIN, "role": Role.VIEWER, "tenant": ALL_TENANTS},
                {"expires_at_ns": 5},
                {"networks": ("10.0.0.0/8",)},
                {"operations": (Operation.CHAT,)},
                {"tenant": "narrow"},
                {"tenant": "gone"},
            ]
            for number, bounds in enumerate(bounded):
                key = Key(f"z{number}", KeyKind.CLIENT, b"d", "", "acme", None, 1)
                await keys.add(connection, msgspec.structs.replace(key, **bounds))
            await tenants.add(connection, Tenant("narrow", ("chat",), 1))
            await tenants.add(connection, Tenant("gone", None, 1, 2))
            await connection.run_sync(migrating.down, "0003")
            await connection.run_sync(migrating.up)
            valid = [*await keys.valid(connection, KeyKind.CLIENT), *await keys.valid(connection, KeyKind.ADMIN)]
            assert sorted(key.id for key in valid) == ["a1", "k1", "k2"]
            await connection.run_sync(migrating.down, "0003")
            await connection.execute(text("DELETE FROM keys WHERE id LIKE 'z%'"))
            found = await connection.execute(text("SELECT id, tenant FROM keys ORDER BY id"))
            assert [tuple(row) for row in found] == [("a1", "default"), ("k1", "acme"), ("k2", "acme")]
        await database.close()

    asyncio.run(case())
