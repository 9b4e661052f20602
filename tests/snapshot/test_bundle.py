"""Documents that go to other hosts as they are written."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.snapshot.bundle import DOCUMENTS, Bundle, tag
from penstock.snapshot.config import Config, GatewaySettings
from penstock.snapshot.file import Document, Reader, UnknownFormat, publish, publish_written, stamp, withdraw, written
from penstock.snapshot.packed import PackedPrincipals, pack
from penstock.snapshot.principals import KeyRecord, Principals

RECORD = KeyRecord("abc", b"d" * 32, "default")


def principals(version: int) -> Principals:
    return Principals(version, {"abc": RECORD})


def test_a_tag_tells_contents_apart() -> None:
    tags = {tag(content) for content in (b"", b"\0", b"a", b"b", b"ab", b"a" * 100_000)}
    assert len(tags) == 6
    assert {len(each) for each in tags} == {32}
    assert all(set(each) <= set("0123456789abcdef") for each in tags)
    assert tag(b"a") == tag(bytes([97]))


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_equal_tags_are_of_equal_contents(one: bytes, other: bytes) -> None:
    assert (tag(one) == tag(other)) == (one == other)


def test_keys_come_before_what_is_changed_of_them_and_both_before_the_models() -> None:
    assert list(DOCUMENTS.values()) == [PackedPrincipals, Principals, Config]


def test_a_document_that_was_written_elsewhere_is_published_as_it_is(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    published: dict[str, Document] = {
        "base": pack(3, [RECORD]), "principals": principals(4), "config": Config(5, {}, {}, GatewaySettings(drain_s=7)),
    }  # fmt: skip
    for each in published.values():
        publish(there, each)
    sent = Bundle({name: written(there, document) for name, document in DOCUMENTS.items()})
    taken = msgspec.msgpack.decode(msgspec.msgpack.encode(sent), type=Bundle)
    for name, document in DOCUMENTS.items():
        publish_written(here, document, taken.documents[name])
        assert written(here, document) == written(there, document)
    assert Reader(here, PackedPrincipals).changed() == published["base"]
    assert Reader(here, Principals).changed() == published["principals"]
    assert Reader(here, Config).changed() == published["config"]
    assert sorted(path.name for path in here.iterdir()) == sorted(path.name for path in there.iterdir())
    assert {path.stat().st_mode & 0o777 for path in here.iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "truncated"),
        (b"\xc1", "malformed"),
        (b"garbage", "Expected `array`"),
        (msgspec.msgpack.encode((1, {"version": "x", "keys": {}})), "version"),
        (msgspec.msgpack.encode((1, {})), "version"),
        (msgspec.msgpack.encode((2, principals(1))), "format 2, this reader knows 1"),
        (msgspec.msgpack.encode((0, principals(1))), "format 0, this reader knows 1"),
        (msgspec.msgpack.encode((1, principals(1))) + b"\0", "trailing"),
    ],
)
def test_what_is_no_such_document_is_refused_and_the_one_before_stays(
    tmp_path: Path, content: bytes, said: str
) -> None:
    publish(tmp_path, principals(7))
    before = stamp(tmp_path, Principals)
    with pytest.raises(UnknownFormat, match=said) as raised:
        publish_written(tmp_path, Principals, content)
    assert "principals from elsewhere" in str(raised.value)
    assert stamp(tmp_path, Principals) == before
    assert Reader(tmp_path, Principals).changed() == principals(7)
    assert len(list(tmp_path.iterdir())) == 1


def test_another_document_is_refused(tmp_path: Path) -> None:
    publish(tmp_path, principals(7))
    with pytest.raises(UnknownFormat):
        publish_written(tmp_path, Config, written(tmp_path, Principals))
    assert stamp(tmp_path, Config) is None


def test_what_a_later_version_has_added_is_left_aside(tmp_path: Path) -> None:
    content = msgspec.msgpack.encode((1, {"version": 2, "keys": {}, "of a later time": True}))
    publish_written(tmp_path, Principals, content)
    assert Reader(tmp_path, Principals).changed() == Principals(2, {})
    assert written(tmp_path, Principals) == content, "so that it has the tag that control knows"


def test_what_cannot_be_written_is_told(tmp_path: Path) -> None:
    publish(tmp_path, principals(1))
    with pytest.raises(FileNotFoundError):
        publish_written(tmp_path / "gone", Principals, written(tmp_path, Principals))


def test_a_stamp_changes_with_the_document(tmp_path: Path) -> None:
    assert stamp(tmp_path, Principals) is None
    with pytest.raises(FileNotFoundError):
        written(tmp_path, Principals)
    publish(tmp_path, principals(1))
    first = stamp(tmp_path, Principals)
    assert first is not None
    assert stamp(tmp_path, Principals) == first
    publish(tmp_path, principals(1))
    assert stamp(tmp_path, Principals) != first
    withdraw(tmp_path, Principals)
    assert stamp(tmp_path, Principals) is None
