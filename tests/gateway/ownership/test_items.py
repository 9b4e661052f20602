"""Sealed items of an input: whose they are, and what others are asked without."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.gateway.dialects import responses
from penstock.gateway.ownership.items import Items
from penstock.gateway.ownership.tags import Kind, Tags
from penstock.types.errors import InvalidRequest

TAGS = Tags(b"p" * 32)
USER = {"role": "user", "content": "hello"}
SAID = {"type": "message", "id": "msg_1", "role": "assistant", "content": "hi"}
SEARCHED = {"type": "web_search_call", "id": "ws_1", "status": "completed"}


def thought(owner: str, tenant: str = "t", kind: str = "reasoning", content: str = "gAAAA") -> dict[str, Any]:
    return {"type": kind, "id": "rs_1", "encrypted_content": TAGS.tagged(Kind.SEALED, tenant, owner, content)}


def plain(kind: str = "reasoning") -> dict[str, Any]:
    return {"type": kind, "id": "rs_1", "encrypted_content": "gAAAA"}


def read(*items: Any) -> Items | None:
    call = responses.parse(json.dumps({"model": "m", "input": items}).encode())
    return Items.read(call, TAGS, "t", ["a", "b"]) if call.sealed or call.recalled else None


def asked(items: Items | None, endpoint: str, *, references: bool = False) -> tuple[list[Any], tuple[str, ...]]:
    assert items is not None
    value, left_out = items.for_owner(endpoint, references=references)
    return json.loads(value), left_out


def test_the_owner_gets_everything_without_tags() -> None:
    items = read(USER, thought("a"), SAID, SEARCHED)
    assert items is not None
    assert items.home == "a"
    assert asked(items, "a") == ([USER, plain(), SAID, SEARCHED], ())


def test_others_get_the_rest_and_no_names_of_what_is_missing() -> None:
    said = {name: value for name, value in SAID.items() if name != "id"}
    assert asked(read(USER, thought("a"), SAID, SEARCHED), "b") == ([USER, said, SEARCHED], ("input.reasoning",))


def test_each_gets_its_own_of_several() -> None:
    items = read(thought("a"), thought("b"))
    assert items is not None
    assert items.home is None
    for endpoint in ("a", "b"):
        assert asked(items, endpoint) == ([plain()], ("input.reasoning",))
    assert asked(items, "c") == ([], ("input.reasoning",))


@pytest.mark.parametrize(
    "strange", [thought("a", tenant="u"), thought("z"), {**plain(), "encrypted_content": "g~" + "x" * 22}]
)
def test_a_tag_that_is_nobodys_is_left_out_everywhere(strange: dict[str, Any]) -> None:
    items = read(USER, strange)
    assert items is not None
    assert items.home is None
    assert asked(items, "a") == ([USER], ("input.reasoning",))


@pytest.mark.parametrize(
    "item",
    [
        plain(),
        plain("compaction"),
        {"type": "reasoning", "encrypted_content": None},
        {"type": "reasoning", "id": "rs_1", "content": [{"type": "reasoning_text", "text": "said openly"}]},
        {**thought("a"), "type": "something"},
        {"type": "message", "role": "user", "content": "encrypted_content~" + "x" * 22},
        {**plain("compaction"), "encrypted_content": ["x"]},
    ],
)
def test_what_has_no_tag_passes(item: dict[str, Any]) -> None:
    assert read(USER, item) is None


@pytest.mark.parametrize("content", [{}, {"encrypted_content": None}, {"encrypted_content": "", "content": []}])
def test_a_thought_by_its_id_alone_is_for_those_whose_account_all_may_use(content: dict[str, Any]) -> None:
    named = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "so"}], **content}
    items = read(USER, named, SAID)
    assert items is not None
    assert (items.home, items.tagged) == (None, False)
    said = {name: value for name, value in SAID.items() if name != "id"}
    assert asked(items, "a") == ([USER, said], ("input.reasoning",))
    assert asked(items, "a", references=True) == ([USER, named, SAID], ())


def test_a_name_may_be_spelt_in_any_way() -> None:
    body = json.dumps({"model": "m", "input": [thought("a")]}).replace("encrypted_", "encr\\u0079pted_").encode()
    call = responses.parse(body)
    assert call.sealed
    assert asked(Items.read(call, TAGS, "t", ["a"]), "a") == ([plain()], ())


def test_without_what_was_condensed_there_is_no_conversation() -> None:
    items = read(USER, thought("a", kind="compaction"))
    assert asked(items, "a") == ([USER, plain("compaction")], ())
    assert items is not None
    with pytest.raises(InvalidRequest) as caught:
        items.for_owner("b", references=True)
    assert (caught.value.param, caught.value.code) == ("input[1]", "invalid_encrypted_content")


def test_there_is_an_end_to_them() -> None:
    assert read(*[thought("a")] * 2000) is not None
    with pytest.raises(InvalidRequest, match="more than 2000 sealed items"):
        read(*[thought("a")] * 2001)


@pytest.mark.parametrize(
    "fields",
    [{}, {"encrypted_content": None}, {"encrypted_content": " "}, {"encrypted_content": 0}, {"encrypted_content": {}},
     {"content": []}, {"content": " "}, {"content": [None, ""]}, {"content": 1}],
)  # fmt: skip
def test_what_says_nothing_makes_no_content_of_a_thought(fields: dict[str, Any]) -> None:
    assert asked(read(USER, {"type": "reasoning", "id": "rs_1", **fields}), "a") == ([USER], ("input.reasoning",))


@pytest.mark.parametrize(
    "fields",
    [{"encrypted_content": "gAAAA"}, {"content": "so"}, {"content": [{"type": "reasoning_text", "text": "so"}]}],
)
def test_a_thought_with_its_content_is_not_looked_up(fields: dict[str, Any]) -> None:
    assert read(USER, {"type": "reasoning", "id": "rs_1", **fields}) is None
