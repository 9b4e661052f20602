import asyncio
from pathlib import Path

import pytest

from penstock.control.publish import Published
from penstock.snapshot.file import Reader
from penstock.snapshot.principals import KeyRecord, Principals

RECORD = KeyRecord("id1", b"d" * 32, "acme")


def test_versions_grow_also_over_restarts(tmp_path: Path) -> None:
    async def case() -> None:
        published = Published(tmp_path, Principals)
        assert published.current is None
        await published.replace(Principals(published.next_version, {}))
        await published.replace(Principals(published.next_version, {"id1": RECORD}))
        assert published.next_version == 3
        restarted = Published(tmp_path, Principals)
        assert restarted.current == Principals(2, {"id1": RECORD})
        await restarted.replace(Principals(restarted.next_version, {}))
        assert Reader(tmp_path, Principals).changed() == Principals(3, {})

    asyncio.run(case())


def test_what_says_the_same_is_not_published_again(tmp_path: Path) -> None:
    async def case() -> None:
        published = Published(tmp_path, Principals)
        await published.replace(Principals(1, {"id1": RECORD}))
        reader = Reader(tmp_path, Principals)
        assert reader.changed() is not None
        await published.replace(Principals(published.next_version, {"id1": RECORD}))
        assert reader.changed() is None
        assert published.next_version == 2

    asyncio.run(case())


def test_what_cannot_be_written_leaves_the_current_document(tmp_path: Path) -> None:
    async def case() -> None:
        published = Published(tmp_path / "gone", Principals)
        with pytest.raises(FileNotFoundError):
            await published.replace(Principals(1, {}))
        assert published.current is None
        assert published.next_version == 1

    asyncio.run(case())


def test_a_document_that_cannot_be_read_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        (tmp_path / "principals.msgpack").write_bytes(b"\xff\xff")
        published = Published(tmp_path, Principals)
        assert len(caplog.records) == 1
        await published.replace(Principals(published.next_version, {}))
        replaced = Reader(tmp_path, Principals).changed()
        assert replaced is not None
        assert replaced.version > 1_000_000, "more than any earlier one can have been"

    asyncio.run(case())
