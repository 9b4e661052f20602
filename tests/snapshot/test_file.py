from pathlib import Path

import msgspec
import pytest

from penstock.snapshot.file import Reader, UnknownFormat, publish
from penstock.snapshot.fleet import Fleet, Replica, ReplicaState
from penstock.snapshot.principals import KeyRecord, Principals


def principals(version: int) -> Principals:
    return Principals(version, {"abc": KeyRecord("abc", b"d" * 32, "default")})


def test_a_reader_sees_each_document_once(tmp_path: Path) -> None:
    reader = Reader(tmp_path, Principals)
    assert reader.changed() is None
    publish(tmp_path, principals(1))
    assert reader.changed() == principals(1)
    assert reader.changed() is None


def test_every_replacement_is_noticed_however_fast(tmp_path: Path) -> None:
    reader = Reader(tmp_path, Principals)
    for version in range(200):
        publish(tmp_path, principals(version))
        assert reader.changed() == principals(version)


def test_documents_do_not_mix(tmp_path: Path) -> None:
    fleet = Fleet(3, (Replica("mini/0", "mini", "v", ReplicaState.READY, "/s", 1),))
    publish(tmp_path, fleet)
    publish(tmp_path, principals(1))
    assert Reader(tmp_path, Fleet).changed() == fleet
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fleet.msgpack", "principals.msgpack"]


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", msgspec.msgpack.encode((2, principals(1))), msgspec.msgpack.encode((1, {"version": "x"}))],
)
def test_an_unknown_format_is_told_once_and_the_next_good_one_is_taken(tmp_path: Path, content: bytes) -> None:
    reader = Reader(tmp_path, Principals)
    (tmp_path / "principals.msgpack").write_bytes(content)
    with pytest.raises(UnknownFormat, match="principals"):
        reader.changed()
    assert reader.changed() is None
    publish(tmp_path, principals(2))
    assert reader.changed() == principals(2)


def test_files_are_private(tmp_path: Path) -> None:
    publish(tmp_path, principals(1))
    assert (tmp_path / "principals.msgpack").stat().st_mode & 0o777 == 0o600
