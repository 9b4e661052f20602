"""Nothing that is made for one tenant or owner is taken for another's."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penstock.gateway.ownership.tags import Kind, Tags, split

TAGS = Tags(b"p" * 32)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
KINDS = st.sampled_from(list(Kind))


@given(KINDS, TEXTS, st.lists(TEXTS, min_size=1, unique=True), st.data(), TEXTS.filter(bool))
def test_an_owner_is_told_by_its_tag(
    kind: Kind, tenant: str, owners: list[str], data: st.DataObject, name: str
) -> None:
    owner = data.draw(st.sampled_from(owners))
    tagged = TAGS.tagged(kind, tenant, owner, name)
    assert tagged.startswith(name)
    assert TAGS.owner(kind, tenant, owners, tagged) == (name, owner)


@given(KINDS, KINDS, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS.filter(bool))
def test_no_tag_is_taken_for_another_tenants_owners_or_kinds(
    kind: Kind, other_kind: Kind, tenant: str, other: str, owner: str, stranger: str, name: str
) -> None:
    tagged = TAGS.tagged(kind, tenant, owner, name)
    assert Tags(b"q" * 32).owner(kind, tenant, [owner], tagged)[1] is None, "a tag of another installation"
    if other != tenant:
        assert TAGS.owner(kind, other, [owner, stranger], tagged)[1] is None
    if stranger != owner:
        assert TAGS.owner(kind, tenant, [stranger], tagged)[1] is None
    if other_kind != kind:
        swapped = f"{name}{other_kind.value}{split(kind, tagged)[1]}"
        assert TAGS.owner(other_kind, tenant, [owner], swapped)[1] is None


@given(TEXTS, TEXTS, TEXTS)
def test_parts_cannot_be_shifted_from_one_to_the_next(one: str, two: str, three: str) -> None:
    assume(two)
    made = TAGS.tagged(Kind.RESPONSE, one + two, three, "x")
    assert TAGS.owner(Kind.RESPONSE, one, [two + three], made)[1] is None
    made = TAGS.tagged(Kind.RESPONSE, one, three, two + "x")
    assert TAGS.owner(Kind.RESPONSE, one, [three + two], "x" + made[len(two) + 1 :])[1] is None


@given(KINDS, TEXTS, st.integers(0, 21), st.characters(codec="ascii"))
def test_a_changed_tag_is_none(kind: Kind, name: str, place: int, put: str) -> None:
    assume(name)
    tagged = TAGS.tagged(kind, "t", "a", name)
    tag = tagged[-22:]
    forged = tag[:place] + put + tag[place + 1 :]
    assume(forged != tag)
    assert TAGS.owner(kind, "t", ["a"], tagged[:-22] + forged)[1] is None


@pytest.mark.parametrize("given_", ["", "resp_1", "-" + "a" * 22, "resp_1-short", "resp_1~" + "a" * 22, "é" * 50])
def test_what_has_no_tag_stays_whole(given_: str) -> None:
    assert split(Kind.RESPONSE, given_) == (given_, "")
    assert TAGS.owner(Kind.RESPONSE, "t", ["a"], given_) == (given_, None)


@given(st.binary(min_size=30, max_size=200))
def test_what_others_have_sealed_is_not_taken_for_tagged(sealed: bytes) -> None:
    content = "gAAAA" + urlsafe_b64encode(sealed).decode()
    assert split(Kind.SEALED, content) == (content, "")


def test_ids_have_the_characters_that_ids_have() -> None:
    for number in range(50):
        tagged = TAGS.tagged(Kind.RESPONSE, "t", "a", f"resp_{number}")
        assert all(sign.isascii() and (sign.isalnum() or sign in "_-") for sign in tagged)
