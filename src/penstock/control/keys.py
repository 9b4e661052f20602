"""Keys and tenants: making, changing, checking and publishing them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.auth import keys as auth
from penstock.auth import pepper
from penstock.auth.roles import Role
from penstock.control.publish import Published
from penstock.records import keys as records
from penstock.records import meta, tenants
from penstock.records.database import Database
from penstock.records.keys import ALL_TENANTS, Key, KeyKind
from penstock.records.tenants import Tenant
from penstock.snapshot.packed import PackedPrincipals, pack
from penstock.snapshot.principals import KeyRecord, Principals
from penstock.types.errors import StartError
from penstock.types.operation import Operation

_PREFIXES = {KeyKind.CLIENT: auth.CLIENT_PREFIX, KeyKind.ADMIN: auth.ADMIN_PREFIX}
_RETRY_S = 1.0
_MOST_CHANGES = 1000  # on top of a base; with more, there is a new one
_CHECK = "pepper_check"  # tells whether the pepper is still the one that the keys were hashed under


class Scope(msgspec.Struct, frozen=True):
    """
    What a new key is for; see `records.keys.Key`.

    Attributes:
        role: given for a key for the admin API, None for a client's.
        user: whose key it is, or empty.
    """

    tenant: str
    models: tuple[str, ...] | None = None
    role: Role | None = None
    operations: tuple[Operation, ...] | None = None
    networks: tuple[str, ...] | None = None
    expires_at_ns: int | None = None
    user: str = ""


class Keys:
    """
    The keys and tenants of one data directory. Made once per control by `open`; shared by its tasks.

    A change is first kept in the database and then published to the gateways; when a method returns, both are done.
    What could not be published is published by `run` as soon as it can be.
    """

    def __init__(
        self,
        database: Database,
        principals: Published[Principals],
        base: Published[PackedPrincipals],
        secret: bytes,
        clock_ns: Callable[[], int],
    ) -> None:
        self._database = database
        self._principals = principals
        self._base = base
        self._pepper = secret
        self._clock_ns = clock_ns
        self._turn = asyncio.Lock()
        self._valid: dict[str, Key] = {}  # of clients, those of suspended tenants included
        self._changes: dict[str, KeyRecord | None] = {}  # since the last base
        self._base_version = 0
        self._behind = False  # gateways have not been told of the last change
        self.tenants: dict[str, Tenant] = {}

    @classmethod
    async def open(
        cls,
        database: Database,
        principals: Published[Principals],
        base: Published[PackedPrincipals],
        secret: bytes,
        clock_ns: Callable[[], int],
    ) -> Keys:
        """
        Read the valid keys and publish them.

        Args:
            base: for when there are many.
        Raises:
            StartError: they were made under another pepper, so none of them would be recognised.
        """
        keys = cls(database, principals, base, secret, clock_ns)
        await keys._check_pepper()
        async with database.read() as connection:
            keys.tenants = await tenants.load(connection)
            keys._valid = {key.id: key for key in await records.valid(connection, KeyKind.CLIENT)}
        keys._compile(keys._valid.values())
        await keys._publish()
        return keys

    async def create(self, name: str, scope: Scope) -> tuple[Key, str]:
        """Make a key, and its tenant if there is none yet. Return it and its text, which exists nowhere else."""
        kind = KeyKind.CLIENT if scope.role is None else KeyKind.ADMIN
        new = auth.create(self._pepper, _PREFIXES[kind])
        now = self._clock_ns()
        key = Key(
            id=new.id,
            kind=kind,
            digest=new.digest,
            name=name,
            tenant=scope.tenant,
            models=scope.models,
            created_at_ns=now,
            role=scope.role,
            operations=scope.operations,
            networks=scope.networks,
            expires_at_ns=scope.expires_at_ns,
            owner=scope.user,
        )
        async with self._turn:
            tenant = None
            if scope.tenant not in (*self.tenants, ALL_TENANTS):
                tenant = Tenant(scope.tenant, None, now)
            async with self._database.write() as connection:
                if tenant is not None:
                    await tenants.add(connection, tenant)
                await records.add(connection, key)
            if tenant is not None:
                self.tenants[tenant.id] = tenant
            await self._take_in([key])
        return key, new.key

    async def rotate(self, key_id: str, until_ns: int) -> tuple[Key, str] | None:
        """
        Make a key that takes the place of another, which ends then, if not before.

        Limits, budgets and the ledger know the two as one. Return the new key and its text; None when no valid key has
        this id.
        """
        async with self._turn:
            now = self._clock_ns()
            async with self._database.write() as connection:
                key = await records.get(connection, key_id)
                if key is None or not _holds(key, now):
                    return None
                new = auth.create(self._pepper, _PREFIXES[key.kind])
                successor = msgspec.structs.replace(
                    key, id=new.id, digest=new.digest, created_at_ns=now, lineage=key.lineage or key.id
                )
                ends = until_ns if key.expires_at_ns is None else min(until_ns, key.expires_at_ns)
                await records.add(connection, successor)
                await records.expire(connection, key.id, ends)
            await self._take_in([successor, msgspec.structs.replace(key, expires_at_ns=ends)])
        return successor, new.key

    async def revoke(self, key_id: str) -> bool:
        """Make a key invalid for good; False when no valid key has this id."""
        async with self._turn:
            async with self._database.write() as connection:
                revoked = await records.revoke(connection, key_id, self._clock_ns())
            # Also when it was revoked before: its publication may have failed then.
            self._valid.pop(key_id, None)
            self._changes = {**self._changes, key_id: None}
            await self._publish()
        return revoked

    async def make_tenant(self, tenant_id: str, models: tuple[str, ...] | None) -> Tenant | None:
        """Make a tenant; None when there is one of this id."""
        async with self._turn:
            if tenant_id in self.tenants:
                return None
            tenant = Tenant(tenant_id, models, self._clock_ns())
            async with self._database.write() as connection:
                await tenants.add(connection, tenant)
            self.tenants[tenant_id] = tenant
        return tenant

    async def change_tenant(self, tenant_id: str, change: Callable[[Tenant], Tenant]) -> Tenant:
        """Keep a tenant, which there is, as it is to be, and tell gateways what that means for its keys."""
        async with self._turn:
            tenant = change(self.tenants[tenant_id])
            async with self._database.write() as connection:
                await tenants.change(connection, tenant)
            self.tenants[tenant.id] = tenant
            self._compile([key for key in self._valid.values() if key.tenant == tenant.id])
            await self._publish()
        return tenant

    def now_ns(self) -> int:
        """Return the time as keys have it, nanoseconds since the epoch."""
        return self._clock_ns()

    async def get(self, key_id: str) -> Key | None:
        """Return a key, revoked or not."""
        async with self._database.read() as connection:
            return await records.get(connection, key_id)

    async def page(self, limit: int, after: str | None, *, revoked: bool, tenant: str | None = None) -> list[Key]:
        """Return up to `limit` keys, oldest first, after the one with the id `after`; revoked ones if asked."""
        async with self._database.read() as connection:
            now = self._clock_ns()
            return await records.page(connection, limit, after, revoked=revoked, tenant=tenant, now_ns=now)

    async def ever(self, kind: KeyKind) -> bool:
        """Tell whether a key of this kind was ever made."""
        async with self._database.read() as connection:
            return await records.ever(connection, kind)

    async def authenticate(self, presented: str) -> Key | None:
        """Return the valid key whose text this is, or None."""
        given = presented.encode()
        if len(given) > auth.MAX_KEY_BYTES:
            return None
        key = await self.get(auth.key_id(given).decode("latin-1"))
        if key is None or not _holds(key, self._clock_ns()):
            return None
        if key.tenant in self.tenants and self.tenants[key.tenant].suspended_at_ns is not None:
            return None
        return key if auth.matches(key.digest, auth.digest(self._pepper, given)) else None

    async def _check_pepper(self) -> None:
        async with self._database.write() as connection:
            if await made_under(connection, self._pepper):
                return
            kept = await meta.get(connection, _CHECK)
            if kept is not None and any([await records.valid(connection, kind) for kind in KeyKind]):
                raise StartError(
                    "the keys in this data directory were made under another PENSTOCK_SECRET_KEY or secret.key; "
                    "start with that one (SECURITY.md says how to change it)"
                )
            await meta.put(connection, _CHECK, pepper.check(self._pepper))

    async def run(self) -> None:
        """Publish again what could not be published, for ever, until cancelled."""
        while True:
            await asyncio.sleep(_RETRY_S)
            if self._behind:
                async with self._turn:
                    with contextlib.suppress(OSError):  # logged when it failed first, by whoever asked
                        await self._publish()

    async def _take_in(self, changed: Iterable[Key]) -> None:
        """Tell gateways of keys that are new or have changed."""
        clients = [key for key in changed if key.kind is KeyKind.CLIENT]
        if clients:
            self._valid.update({key.id: key for key in clients})
            self._compile(clients)
            await self._publish()

    def _compile(self, changed: Iterable[Key]) -> None:
        """Work out what gateways are to know of these keys."""
        now = self._clock_ns()
        records = {key.id: _record(key, self.tenants.get(key.tenant), now) for key in changed}
        self._changes = {**self._changes, **records}

    async def _publish(self) -> None:
        self._behind = True
        if len(self._changes) > _MOST_CHANGES:
            packed = await asyncio.to_thread(self._pack, self._base.next_version, list(self._valid.values()))
            await self._base.replace(packed)
            assert self._base.current is not None, "just published"
            self._base_version, self._changes = self._base.current.version, {}  # it stays when nothing is new
        changes = self._changes
        if not self._base_version:
            changes = {key_id: record for key_id, record in changes.items() if record is not None}
        await self._principals.replace(Principals(self._principals.next_version, changes, self._base_version))
        self._behind = False

    def _pack(self, version: int, keys: Iterable[Key]) -> PackedPrincipals:
        now = self._clock_ns()
        records = (_record(key, self.tenants.get(key.tenant), now) for key in keys)
        return pack(version, (record for record in records if record is not None))


async def made_under(connection: AsyncConnection, secret: bytes) -> bool:
    """Tell whether this is the pepper under which the keys of a database were made."""
    return await meta.get(connection, _CHECK) == pepper.check(secret)


def _holds(key: Key, now_ns: int) -> bool:
    return key.revoked_at_ns is None and (key.expires_at_ns is None or now_ns < key.expires_at_ns)


def _record(key: Key, tenant: Tenant | None, now_ns: int) -> KeyRecord | None:
    """Return what gateways know of a key; None when they are not to know it."""
    if tenant is not None and tenant.suspended_at_ns is not None:
        return None
    if not _holds(key, now_ns):
        return None
    models = key.models
    if tenant is not None and tenant.models is not None:
        models = tenant.models if models is None else tuple(name for name in models if name in tenant.models)
    return KeyRecord(
        id=key.id,
        digest=key.digest,
        tenant=key.tenant,
        models=models,
        operations=key.operations,
        networks=key.networks,
        expires_at_ns=key.expires_at_ns or 0,
        counts_as=key.lineage,
        user=key.owner,
    )
