"""Which requests are the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.cache.key import Keys, stateful
from penstock.gateway.dialects import openai, responses
from penstock.types.dialect import Dialect

KEYS = Keys(b"p" * 32)
BASE: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}
REFUSED = {*openai._Chat.__struct_fields__, "n_predict", "n_cmpl", "best_of"}
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
    lambda name: name.lower() not in REFUSED  # in whatever case
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=6,
)
EXTRAS = st.dictionaries(NAMES, VALUES, max_size=4)
UNSEEN = {"user", "metadata", "safety_identifier", "prompt_cache_key"}


def key(
    fields: dict[str, Any],
    tenant: str = "t",
    fingerprint: str = "f",
    dialect: Dialect = Dialect.CHAT,
    features: bytes = b"",
    keys: Keys = KEYS,
) -> bytes:
    return keys.of(tenant, fingerprint, openai.parse(dialect, json.dumps(fields).encode()), features)


@given(EXTRAS, st.randoms(use_true_random=False), st.sampled_from(["", " ", "\n\t "]))
def test_order_and_blanks_of_the_top_level_make_no_difference(extras: dict[str, Any], random: Any, blank: str) -> None:
    fields = list({**BASE, **extras}.items())
    random.shuffle(fields)
    written = f",{blank}".join(f"{blank}{json.dumps(name)}{blank}:{blank}{json.dumps(value)}" for name, value in fields)
    body = f"{blank}{{{written}{blank}}}{blank}".encode()
    assert KEYS.of("t", "f", openai.parse(Dialect.CHAT, body), b"") == key({**BASE, **extras})


@given(EXTRAS, EXTRAS)
def test_whatever_else_differs_makes_another_request(one: dict[str, Any], other: dict[str, Any]) -> None:
    def seen(extras: dict[str, Any]) -> list[str]:
        return sorted(f"{name!r} {json.dumps(value)}" for name, value in extras.items() if name not in UNSEEN)

    assert (key({**BASE, **one}) == key({**BASE, **other})) is (seen(one) == seen(other))


@pytest.mark.parametrize("field", sorted(UNSEEN))
def test_who_asks_and_why_makes_no_difference(field: str) -> None:
    assert key({**BASE, field: "a"}) == key({**BASE, field: "b"}) == key(BASE)


@pytest.mark.parametrize("field", sorted(UNSEEN))
def test_what_the_answer_repeats_makes_another_request(field: str) -> None:
    def of(who: str) -> bytes:
        said = {"who": who} if field == "metadata" else who
        body = json.dumps({"model": "m", "input": "hi", field: said}).encode()
        return KEYS.of("t", "f", responses.parse(body), b"")

    assert of("a") == of("a") != of("b")


@pytest.mark.parametrize(
    "other",
    [
        {"messages": [{"role": "user", "content": "ho"}]},
        {"messages": [{"role": "user", "content": "hi", "name": "x"}]},
        {"temperature": 0.6},
        {"tools": [{"type": "function"}]},
        {"response_format": {"type": "json_object"}},
        {"seed": 1},
        {"max_tokens": 5},
        {"stream": True},
        {"unheard_of": None},
    ],
)
def test_what_an_answer_depends_on_makes_another_request(other: dict[str, Any]) -> None:
    assert key({**BASE, **other}) != key(BASE)


def test_a_stream_with_usage_is_another_one() -> None:
    stream = {**BASE, "stream": True}
    assert key({**stream, "stream_options": {"include_usage": True}}) != key(stream)


def test_no_stream_is_what_it_is_without_a_word() -> None:
    assert key({**BASE, "stream": False}) == key({**BASE, "stream": None}) == key(BASE)


def test_tenant_configuration_operation_and_installation_make_other_keys() -> None:
    body = {"model": "m", "prompt": "x", "input": "x", "messages": [{"role": "user"}]}
    found = [
        key(body),
        key(body, tenant="u"),
        key(body, fingerprint="g"),
        key(body, dialect=Dialect.COMPLETIONS),
        key(body, dialect=Dialect.EMBEDDINGS),
        key(body, features=b"x-beta: y\r\n"),
        key(body, keys=Keys(b"q" * 32)),
    ]
    assert len(set(found)) == len(found)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_two_tenants_have_no_key_in_common(one: str, other: str) -> None:
    first, second = key(BASE, tenant=one), key(BASE, tenant=other)
    assert (first == second) is (one == other)
    assert first[:-33] == one.encode(), "by construction, and not only by the hash"


@pytest.mark.parametrize(
    ("field", "named"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "c"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [{"role": "user", "content": "x"}, {"type": "reasoning", "id": "rs_1"}]}, "input[1]"),
        ({"store": True, "conversation": None}, ""),
    ],
)
def test_what_depends_on_more_than_itself_has_no_kept_answer(field: dict[str, Any], named: str) -> None:
    assert stateful(responses.parse(json.dumps({"model": "m", "input": "hi", **field}).encode())) == named
