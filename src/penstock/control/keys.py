"""Keys: making, revoking, checking and publishing them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from penstock.auth import keys as auth
from penstock.control.publish import Published
from penstock.records import keys as records
from penstock.records import meta
from penstock.records.database import Database
from penstock.records.keys import Key, KeyKind
from penstock.snapshot.principals import KeyRecord, Principals
from penstock.types.errors import StartError

_PREFIXES = {KeyKind.CLIENT: auth.CLIENT_PREFIX, KeyKind.ADMIN: auth.ADMIN_PREFIX}
_RETRY_S = 1.0
_CHECK = "pepper_check"  # tells whether the pepper is still the one that the keys were hashed under


class Keys:
    """
    The keys of one data directory. Made once per control by `open`; shared by its tasks.

    A change is first kept in the database and then published to the gateways; when a method returns, both are done.
    What could not be published is published by `run` as soon as it can be.
    """

    def __init__(
        self, database: Database, principals: Published[Principals], pepper: bytes, clock_ns: Callable[[], int]
    ) -> None:
        self._database = database
        self._principals = principals
        self._pepper = pepper
        self._clock_ns = clock_ns
        self._turn = asyncio.Lock()
        self._valid: dict[str, KeyRecord] = {}
        self._behind = False  # gateways have not been told of the last change

    @classmethod
    async def open(
        cls, database: Database, principals: Published[Principals], pepper: bytes, clock_ns: Callable[[], int]
    ) -> Keys:
        """
        Read the valid keys and publish them.

        Raises:
            StartError: they were made under another pepper, so none of them would be recognised.
        """
        keys = cls(database, principals, pepper, clock_ns)
        await keys._check_pepper()
        async with database.read() as connection:
            keys._valid = {key.id: _record(key) for key in await records.valid(connection, KeyKind.CLIENT)}
        await keys._publish()
        return keys

    async def create(
        self, name: str, tenant: str, models: tuple[str, ...] | None = None, kind: KeyKind = KeyKind.CLIENT
    ) -> tuple[Key, str]:
        """Make a key. Return it and its text, which exists nowhere else."""
        new = auth.create(self._pepper, _PREFIXES[kind])
        key = Key(new.id, kind, new.digest, name, tenant, models, self._clock_ns())
        async with self._turn:
            async with self._database.write() as connection:
                await records.add(connection, key)
            if kind is KeyKind.CLIENT:
                self._valid = {**self._valid, key.id: _record(key)}
                await self._publish()
        return key, new.key

    async def revoke(self, key_id: str) -> bool:
        """Make a key invalid for good; False when no valid key has this id."""
        async with self._turn:
            async with self._database.write() as connection:
                revoked = await records.revoke(connection, key_id, self._clock_ns())
            # Also when it was revoked before: its publication may have failed then.
            if key_id in self._valid:
                self._valid = {other: record for other, record in self._valid.items() if other != key_id}
            await self._publish()
        return revoked

    async def get(self, key_id: str) -> Key | None:
        """Return a key, revoked or not."""
        async with self._database.read() as connection:
            return await records.get(connection, key_id)

    async def page(self, limit: int, after: str | None, *, revoked: bool) -> list[Key]:
        """Return up to `limit` keys, oldest first, after the one with the id `after`; revoked ones if asked."""
        async with self._database.read() as connection:
            return await records.page(connection, limit, after, revoked=revoked)

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
        if key is None or key.revoked_at_ns is not None:
            return None
        return key if auth.matches(key.digest, auth.digest(self._pepper, given)) else None

    async def _check_pepper(self) -> None:
        check = auth.digest(self._pepper, _CHECK.encode())
        async with self._database.write() as connection:
            kept = await meta.get(connection, _CHECK)
            if kept == check:
                return
            if kept is not None and any([await records.valid(connection, kind) for kind in KeyKind]):
                raise StartError(
                    "the keys in this data directory were made under another PENSTOCK_SECRET_KEY or secret.key; "
                    "start with that one (SECURITY.md says how to change it)"
                )
            await meta.put(connection, _CHECK, check)

    async def run(self) -> None:
        """Publish again what could not be published, for ever, until cancelled."""
        while True:
            await asyncio.sleep(_RETRY_S)
            if self._behind:
                async with self._turn:
                    with contextlib.suppress(OSError):  # logged when it failed first, by whoever asked
                        await self._publish()

    async def _publish(self) -> None:
        self._behind = True
        await self._principals.replace(Principals(self._principals.next_version, self._valid))
        self._behind = False


def _record(key: Key) -> KeyRecord:
    return KeyRecord(key.id, key.digest, key.tenant, key.models)
