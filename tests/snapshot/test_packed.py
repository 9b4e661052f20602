from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.snapshot.packed import PackedPrincipals, pack
from penstock.snapshot.principals import KeyRecord
from penstock.types.operation import Operation

IDS = st.text("0123456789abcdefghijkmnpqrstuvwxyz", min_size=1, max_size=12)
NAMES = st.none() | st.lists(st.sampled_from(["chat", "large", "m"]), min_size=1, max_size=3, unique=True).map(tuple)
RECORDS = st.builds(
    KeyRecord,
    id=IDS,
    digest=st.binary(min_size=32, max_size=32),
    tenant=st.sampled_from(["acme", "other"]),
    models=NAMES,
    operations=st.none() | st.just((Operation.CHAT,)),
    networks=st.none() | st.just(("10.0.0.0/8",)),
    expires_at_ns=st.integers(0, 2**63),
    counts_as=st.just("") | IDS,
    user=st.sampled_from(["", "ann@example.com"]),
)


@given(st.lists(RECORDS, max_size=60, unique_by=lambda record: record.id), st.lists(IDS, max_size=20))
def test_every_key_is_found_as_it_was_and_no_other(records: list[KeyRecord], others: list[str]) -> None:
    packed = msgspec.msgpack.decode(msgspec.msgpack.encode(pack(3, records)), type=PackedPrincipals)
    known = {record.id: record for record in records}
    assert (packed.version, len(packed)) == (3, len(records))
    for name in (*known, *others):
        assert packed.find(name.encode()) == known.get(name)


def test_what_presents_itself_may_be_anything() -> None:
    packed = pack(1, [KeyRecord("abc", b"d" * 32, "acme")])
    for strange in (b"", b"abc\xff", b"x" * 1000, b"ABC", b"abc "):
        assert packed.find(strange) is None
    assert PackedPrincipals(1).find(b"abc") is None


@pytest.mark.parametrize("record", [KeyRecord("x" * 13, b"d" * 32, "a"), KeyRecord("x", b"short", "a")])
def test_what_has_no_room_is_refused(record: KeyRecord) -> None:
    with pytest.raises(ValueError, match="cannot be packed"):
        pack(1, [record])
