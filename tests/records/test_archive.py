"""A database as lines, from any kind of it and into any kind; all of it or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Connection, MetaData, select

from penstock.auth.roles import Role
from penstock.journal.records import Settled
from penstock.records import archive, keys, ledger, meta, offsets, opened, tenants, usage
from penstock.records.archive import ArchiveError
from penstock.records.database import Database
from penstock.records.keys import Key, KeyKind
from penstock.records.tenants import Tenant
from penstock.records.usage import Selection
from penstock.types.operation import Operation
from tests.conftest import Opener
from tests.records import exchanges, migrating
from tests.records.exchanges import settled

KEY = Key(
    "k1", KeyKind.CLIENT, bytes(range(32)), "näme \u2028", "acme", ("chat",), 5, 7, Role.VIEWER, (Operation.CHAT,),
    ("10.0.0.0/8",), 2**62, "k0",
)  # fmt: skip


async def fill(database: Database, count: int) -> None:
    async with database.write() as connection:
        await ledger.add(connection, [settled(number, cost_nano=number) for number in range(count)])
        await keys.add(connection, KEY)
        await tenants.add(connection, Tenant("acme", None, 3))
        await opened.add(connection, "w", [exchanges.opened(10**6)])
        await offsets.store(connection, "w-0.journal", 2**40)
        await meta.put(connection, "check", b"\x00\xff")


async def lines_of(database: Database) -> list[bytes]:
    async with database.read() as connection:
        parts = [part async for part in archive.export(connection, "1.0", "now", b"secret")]
    return b"".join(parts).splitlines(keepends=True)


async def contents(database: Database) -> list[object]:
    async with database.read() as connection:
        return [
            await ledger.page(connection, 10**6, None),
            await keys.get(connection, "k1"),
            await tenants.load(connection),
            await opened.of_writer(connection, "w", 10),
            await offsets.load(connection),
            await meta.get(connection, "check"),
            await usage.tallies(connection, Selection()),
        ]


@pytest.fixture(params=["sqlite", "postgresql"])
def open_new(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """An empty database of either kind, without tables."""
    if request.param == "sqlite":
        return lambda: Database.open(tmp_path / "new.db", prepare=False)
    server = request.getfixturevalue("postgres_server")
    url = server.url(server.make())
    return lambda: Database.connect(url, prepare=False)


def test_what_is_restored_is_what_there_was(open_database: Opener, open_new: Opener) -> None:
    async def case() -> None:
        database = await open_database()
        await fill(database, 2500)
        lines, before = await lines_of(database), await contents(database)
        await database.close()
        head = archive.head_of(lines[0])
        assert (head.version, head.secret) == ("1.0", "c2VjcmV0")
        new = await open_new()
        counts = await archive.restore(new, head, iter(lines[1:]))
        assert counts["ledger"] == 2500
        assert await contents(new) == before
        assert (await lines_of(new))[1:] == lines[1:]
        with pytest.raises(ArchiveError, match="not empty"):
            await archive.restore(new, head, iter(lines[1:]))
        await new.close()

    asyncio.run(case())


@pytest.mark.parametrize("revision", ["0003", "0005"])
def test_an_archive_of_an_older_version_is_brought_up_to_date(
    open_database: Opener, tmp_path: Path, revision: str
) -> None:
    async def case() -> None:
        database = await open_database()
        await fill(database, 3)
        before = await contents(database)
        async with database.write() as connection:
            await connection.run_sync(migrating.down, revision)
            tables, lines = await connection.run_sync(older)
        await database.close()
        new = await Database.open(tmp_path / "new.db", prepare=False)
        await archive.restore(new, archive.Head(archive.FORMAT, "0.1", "then", revision, tables), iter(lines))
        after = await contents(new)
        exchanges = await ledger_of(new)
        assert [msgspec.structs.replace(exchange, user="") for exchange in exchanges] == before[0]
        assert {exchange.user for exchange in exchanges} == {"key1"}, "the migration found no key of that id"
        assert (after[1:4:2], after[6]) == (before[1:4:2], before[6]) or revision == "0003"
        made_of_the_key = {"acme": Tenant("acme", None, 5)}
        assert after[2] == (made_of_the_key if revision == "0003" else before[2])
        await new.close()

    asyncio.run(case())


async def ledger_of(database: Database) -> list[Settled]:
    async with database.read() as connection:
        return await ledger.page(connection, 10**6, None)


def older(connection: Connection) -> tuple[dict[str, list[str]], list[bytes]]:
    """Return the columns of each table as they are now, and the lines that the Penstock of then would have written."""
    found = MetaData()
    found.reflect(connection)
    names = [table for table in found.sorted_tables if table.name != "alembic_version"]
    rows = [[str(table.name), list(row)] for table in names for row in connection.execute(select(table))]
    counts = {str(table.name): sum(name == table.name for name, _ in rows) for table in names}
    lines = [msgspec.json.encode(line) + b"\n" for line in [*rows, {"rows": counts}]]
    return {str(table.name): [str(column.name) for column in table.columns] for table in names}, lines


@pytest.mark.parametrize(
    "spoil",
    [
        lambda lines: lines[:-1],
        lambda lines: lines[:3] + lines[4:],
        lambda lines: [*lines[:3], b'["ledger", [1]]\n', *lines[3:]],
        lambda lines: [*lines[:3], b'["nothing", []]\n', *lines[3:]],
        lambda lines: [*lines[:3], b"{", *lines[3:]],
        lambda lines: [*lines, lines[1]],
        lambda lines: [*lines, lines[-1]],
    ],
)
def test_nothing_is_restored_of_what_is_not_whole(spoil: Callable[[list[bytes]], list[bytes]], tmp_path: Path) -> None:
    async def case() -> None:
        database = await Database.open(tmp_path / "p.db")
        await fill(database, 20)
        lines = await lines_of(database)
        await database.close()
        new = await Database.open(tmp_path / "new.db", prepare=False)
        with pytest.raises(ArchiveError, match=r"damaged|cut"):
            await archive.restore(new, archive.head_of(lines[0]), iter(spoil(lines[1:])))
        counts = await archive.restore(new, archive.head_of(lines[0]), iter(lines[1:]))
        assert counts["ledger"] == 20
        await new.close()

    asyncio.run(case())


@pytest.mark.parametrize("line", [b"", b"hello\n", b'{"a": 1}\n', b'["ledger", []]\n'])
def test_what_is_no_archive_is_refused(line: bytes) -> None:
    with pytest.raises(ArchiveError, match="no backup"):
        archive.head_of(line)


def test_an_archive_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    async def case() -> None:
        new = await Database.open(tmp_path / "new.db", prepare=False)
        with pytest.raises(ArchiveError, match="newer Penstock"):
            await archive.restore(new, archive.Head(1, "9.9", "then", "9999", {}), _nothing())
        await new.close()

    asyncio.run(case())
    with pytest.raises(ArchiveError, match="newer Penstock"):
        archive.head_of(b'{"penstock_backup": 2, "version": "9", "created_at": "", "revision": "1", "tables": {}}')


def _nothing() -> Iterator[bytes]:
    yield from ()
