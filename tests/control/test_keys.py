import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from penstock.auth import keys as auth
from penstock.auth.roles import Role
from penstock.control.keys import Keys, Scope
from penstock.control.publish import Published
from penstock.records import keys as records
from penstock.records.database import Database
from penstock.records.keys import ALL_TENANTS, KeyKind
from penstock.snapshot.file import Reader
from penstock.snapshot.packed import PackedPrincipals
from penstock.snapshot.principals import Principals
from penstock.types.errors import StartError

PEPPER = b"p" * 32
ROLES = {KeyKind.CLIENT: Scope("acme"), KeyKind.ADMIN: Scope(ALL_TENANTS, role=Role.ADMIN)}


class Store:
    """Keys over a real database and a real document, and the reader that a gateway has."""

    def __init__(self, directory: Path, database: Database, keys: Keys) -> None:
        self.directory = directory
        self.database = database
        self.keys = keys
        self.reader = Reader(directory, Principals)


async def open_keys(directory: Path, database: Database, pepper: bytes = PEPPER) -> Keys:
    moments = iter(range(1_000_000, 2_000_000))
    published = Published(directory, Principals), Published(directory, PackedPrincipals)
    return await Keys.open(database, *published, pepper, lambda: next(moments))


def with_keys(directory: Path, case: Callable[[Store], Awaitable[None]]) -> None:
    async def whole() -> None:
        database = await Database.open(directory / "p.db")
        try:
            await case(Store(directory, database, await open_keys(directory, database)))
        finally:
            await database.close()

    asyncio.run(whole())


def test_gateways_know_a_key_when_create_returns(tmp_path: Path) -> None:
    async def case(store: Store) -> None:
        key, text = await store.keys.create("ci", Scope("acme", ("chat",)))
        principals = store.reader.changed()
        assert principals is not None
        record = principals.keys[key.id]
        assert record is not None
        assert (record.tenant, record.models) == ("acme", ("chat",))
        assert auth.matches(record.digest, auth.digest(PEPPER, text.encode()))
        assert auth.key_id(text.encode()).decode() == key.id

    with_keys(tmp_path, case)


def test_gateways_know_a_key_no_more_when_revoke_returns(tmp_path: Path) -> None:
    async def case(store: Store) -> None:
        kept, _ = await store.keys.create("kept", Scope("acme"))
        gone, _ = await store.keys.create("gone", Scope("acme"))
        before = store.reader.changed()
        assert before is not None
        assert await store.keys.revoke(gone.id)
        after = store.reader.changed()
        assert after is not None
        assert after.keys.keys() == {kept.id}
        assert after.version > before.version
        assert not await store.keys.revoke(gone.id)
        assert not await store.keys.revoke("unknown")
        revoked = await store.keys.get(gone.id)
        assert revoked is not None
        assert revoked.revoked_at_ns is not None

    with_keys(tmp_path, case)


def test_admin_keys_are_no_business_of_gateways(tmp_path: Path) -> None:
    async def case(store: Store) -> None:
        _, text = await store.keys.create("ops", Scope(ALL_TENANTS, role=Role.ADMIN))
        assert text.startswith(auth.ADMIN_PREFIX)
        principals = store.reader.changed()
        assert principals is not None
        assert principals.keys == {}

    with_keys(tmp_path, case)


def test_what_an_earlier_control_kept_is_published_at_start(tmp_path: Path) -> None:
    async def case(store: Store) -> None:
        before, _ = await store.keys.create("before", Scope("acme"))
        async with store.database.write() as connection:  # as when it died between keeping and publishing
            extra = auth.create(PEPPER)
            unpublished = records.Key(extra.id, KeyKind.CLIENT, extra.digest, "n", "t", None, 1)
            await records.add(connection, unpublished)
            await records.revoke(connection, before.id, 5)
        earlier = store.reader.changed()
        await open_keys(store.directory, store.database)
        principals = store.reader.changed()
        assert principals is not None
        assert earlier is not None
        assert principals.keys.keys() == {unpublished.id}
        assert principals.version > earlier.version

    with_keys(tmp_path, case)


def test_keys_made_at_once_are_all_there_in_the_end(tmp_path: Path) -> None:
    async def case(store: Store) -> None:
        made = await asyncio.gather(*(store.keys.create(f"k{number}", Scope("acme")) for number in range(20)))
        await asyncio.gather(*(store.keys.revoke(key.id) for key, _ in made[::2]))
        principals = store.reader.changed()
        assert principals is not None
        assert principals.keys.keys() == {key.id for key, _ in made[1::2]}

    with_keys(tmp_path, case)


def test_only_the_whole_text_of_a_valid_key_is_accepted(tmp_path: Path) -> None:
    async def case(store: Store) -> None:
        key, text = await store.keys.create("ops", Scope(ALL_TENANTS, role=Role.ADMIN))
        assert await store.keys.authenticate(text) == key
        for wrong in (text[:-1], text + "A", text.upper(), text[:-1] + ("A" if text[-1] != "A" else "B"), "", "sk-ps-"):
            assert await store.keys.authenticate(wrong) is None
        await store.keys.revoke(key.id)
        assert await store.keys.authenticate(text) is None

    with_keys(tmp_path, case)


def test_a_revocation_that_could_not_be_published_is_published_with_the_next_try(tmp_path: Path) -> None:
    async def case(store: Store) -> None:
        key, _ = await store.keys.create("k", Scope("acme"))
        document = tmp_path / "principals.msgpack"
        content = document.read_bytes()
        document.unlink()
        document.mkdir()  # nothing can be renamed over a directory
        with pytest.raises(OSError, match="directory"):
            await store.keys.revoke(key.id)
        document.rmdir()
        document.write_bytes(content)
        assert not await store.keys.revoke(key.id)  # it was revoked the first time
        principals = store.reader.changed()
        assert principals is not None
        assert principals.keys == {}

    with_keys(tmp_path, case)


def test_no_secret_is_in_any_file(tmp_path: Path) -> None:
    secrets: list[str] = []

    async def case(store: Store) -> None:
        for kind in KeyKind:
            _, text = await store.keys.create("k", ROLES[kind])
            secrets.append(text.rpartition("-")[2] if "-" not in text[-43:] else text[-43:])
        await store.keys.authenticate(text)

        def contents() -> list[bytes]:
            return [path.read_bytes() for path in tmp_path.iterdir() if path.is_file()]

        for content in contents():  # with the write-ahead log
            assert not any(secret.encode() in content for secret in secrets)

    with_keys(tmp_path, case)
    assert len(secrets) == 2
    for path in tmp_path.iterdir():
        assert not any(secret.encode() in path.read_bytes() for secret in secrets)


def test_another_pepper_is_refused_while_there_are_valid_keys(tmp_path: Path) -> None:
    async def case(store: Store) -> None:
        await open_keys(tmp_path, store.database)
        kinds = [(await store.keys.create("one", ROLES[kind]))[0].id for kind in KeyKind]
        published = store.reader.changed()
        refusal = re.escape("made under another PENSTOCK_SECRET_KEY or secret.key")
        for key_id in kinds:
            with pytest.raises(StartError, match=refusal):
                await open_keys(tmp_path, store.database, b"q" * 32)
            await store.keys.revoke(key_id)
        assert published is not None
        await open_keys(tmp_path, store.database, b"q" * 32)  # nothing is lost by it now
        new, text = await (await open_keys(tmp_path, store.database, b"q" * 32)).create("new", Scope("acme"))
        with pytest.raises(StartError, match=refusal):
            await open_keys(tmp_path, store.database)
        found = await (await open_keys(tmp_path, store.database, b"q" * 32)).authenticate(text)
        assert found is not None
        assert found.id == new.id

    with_keys(tmp_path, case)


def test_keys_of_a_database_without_the_check_are_taken_as_they_are(tmp_path: Path) -> None:
    async def case(store: Store) -> None:
        _, text = await store.keys.create("early", Scope("acme"))
        async with store.database.write() as connection:
            await connection.exec_driver_sql("DELETE FROM meta")
        assert await (await open_keys(tmp_path, store.database)).authenticate(text) is not None

    with_keys(tmp_path, case)


def test_a_revocation_that_could_not_be_published_is_published_later(tmp_path: Path) -> None:
    async def case(store: Store) -> None:
        key, _ = await store.keys.create("ci", Scope("acme"))
        assert store.reader.changed() is not None
        obstacle = tmp_path / f".principals.msgpack.{os.getpid()}"  # where the draft would be written
        obstacle.mkdir()
        with pytest.raises(OSError, match="directory"):
            await store.keys.revoke(key.id)
        running = asyncio.create_task(store.keys.run())
        obstacle.rmdir()
        async with asyncio.timeout(30):
            principals = None
            while principals is None:
                await asyncio.sleep(0.01)
                principals = store.reader.changed()
        running.cancel()
        assert principals.keys == {}

    with_keys(tmp_path, case)


def test_very_many_keys_are_published_once_and_changes_on_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.control.keys._MOST_CHANGES", 5)

    async def case(store: Store) -> None:
        base = Reader(store.directory, PackedPrincipals)
        made: list[str] = []
        gone: list[str] = []
        seen: PackedPrincipals | None = None
        bases = 0
        for number in range(40):
            made.append((await store.keys.create(f"k{number}", Scope("acme")))[0].id)
            if number % 3 == 0:
                gone.append(made[number // 2])
                await store.keys.revoke(gone[-1])
            new = base.changed()
            seen, bases = new or seen, bases + (new is not None)
            top = store.reader.changed()
            assert top is not None
            assert len(top.keys) <= 5
            assert top.base == (seen.version if seen is not None else 0)
            for key_id in made:
                found = top.keys[key_id] if key_id in top.keys else seen and seen.find(key_id.encode())
                assert (found is None) == (key_id in gone), f"{key_id} after {number}"
        assert bases > 3
        again = await open_keys(store.directory, store.database)
        packed, top = base.changed(), store.reader.changed()
        assert packed is not None
        assert top is not None
        assert (len(packed), top.base, top.keys) == (40 - len(set(gone)), packed.version, {})
        for _ in range(2):  # nothing has changed, so the base stays
            again = await open_keys(store.directory, store.database)
        await again.revoke(made[-1])
        top = store.reader.changed()
        assert top is not None
        assert (top.base, top.keys) == (packed.version, {made[-1]: None})
        assert base.changed() is None

    with_keys(tmp_path, case)
