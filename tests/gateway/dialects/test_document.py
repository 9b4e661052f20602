import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.dialects import document
from penstock.types.errors import InvalidRequest

scalars = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.text()
values = st.recursive(
    scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=8), values, max_size=6)
layouts = st.sampled_from(
    [{"separators": (",", ":")}, {}, {"indent": 2}, {"separators": (" ,\t", "\n: ")}, {"ensure_ascii": False}]
)


@given(objects, layouts)
def test_any_object_is_split_and_put_together_again(value: dict[str, Any], layout: dict[str, Any]) -> None:
    body = json.dumps(value, **layout).encode("utf-8", "surrogatepass")
    try:
        found = document.read(body)
    except InvalidRequest as error:
        assert error.code in {"invalid_utf8", "invalid_json"}  # a lone surrogate
        return
    assert json.loads(found.extended({})) == value
    assert list(found.fields) == list(value)


@given(objects.filter(bool), layouts, st.data())
def test_a_key_that_comes_twice_is_refused_wherever_it_stands(
    value: dict[str, Any], layout: dict[str, Any], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(list(value)))
    items = list(value.items())
    items.insert(data.draw(st.integers(0, len(items))), (name, data.draw(values)))
    comma, colon = layout.get("separators", (", ", ": "))
    body = "{" + comma.join(json.dumps(key) + colon + json.dumps(item) for key, item in items) + "}"
    with pytest.raises(InvalidRequest):
        document.read(body.encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":1}',
        b'{"a":1, "a":12}',
        b'{"a":12, "a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"a": "x", "b": {"a": 1}, "a": "x"}',
        b'{ "a" : [1] , "a" : [1,2] }',
    ],
)
def test_duplicates_that_look_alike(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="comes twice") as caught:
        document.read(body)
    assert caught.value.code == "duplicate_key"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty"),
        (b"{", "not valid JSON"),
        (b"[1]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b'{"a":1} x', "not valid JSON"),
        (b'{"a":"\xff"}', "not valid UTF-8"),
        (b'{"a":"\xc3"}', "not valid UTF-8"),
        (b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deep"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested too deep"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b"{'a':1}", "not valid JSON"),
        (b'{"a":NaN}', "not valid JSON"),
    ],
)
def test_what_is_no_json_object_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        document.read(body)


def test_a_patch_leaves_every_other_byte_alone() -> None:
    body = b'{"model":"chat", "x":  {"b" :1e2,"a":"\\u00e9"}, "n":1.50}'
    assert document.read(body).extended({"model": "mini", "new": 1}) == (
        b'{"model":"mini","x":{"b" :1e2,"a":"\\u00e9"},"n":1.50,"new":1}'
    )


@given(objects, layouts, st.sampled_from(["a", "b", "model"]), values, values)
def test_one_field_is_exchanged_and_no_other(
    others: dict[str, Any], layout: dict[str, Any], name: str, old: object, new: object
) -> None:
    """Inner objects with a field of the same name and value stay as they are, before and behind it."""
    value = {**others, "inner": {name: old}, name: old, "more": [{name: old}]}
    body = json.dumps(value, **layout).encode("utf-8", "replace")
    patched = document.read(body).patched(name, json.dumps(new).encode())
    assert list(json.loads(patched).items()) == list({**json.loads(body), name: new}.items())


@given(st.binary(max_size=60))
def test_any_bytes_are_split_or_refused(body: bytes) -> None:
    try:
        document.read(body)
    except InvalidRequest:
        return
    assert isinstance(json.loads(body), dict)


@pytest.mark.parametrize("text", [r"\ud800", r"\ud83dx", r"\uD83D\n", r"cut \ud83d\ud83d\ude00"])
def test_half_a_surrogate_pair_is_called_by_its_name(text: str) -> None:
    with pytest.raises(InvalidRequest, match="half of a surrogate pair"):
        document.read(b'{"a": "%b"}' % text.encode())


def test_what_only_looks_like_half_a_surrogate_pair_is_none() -> None:
    for text in (rb"\ud83d\ude00", rb"\\ud83d"):
        document.read(b'{"a": "%b"}' % text)
    with pytest.raises(InvalidRequest, match="truncated"):
        document.read(rb'{"a": "\\ud83d')
