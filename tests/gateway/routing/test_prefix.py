"""A prompt as a chain of hashes."""

from __future__ import annotations

import json
from bisect import bisect_right
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.dialects.call import Call
from penstock.gateway.dialects.document import read
from penstock.gateway.routing.prefix import ENDS, Prefix, chain, prefix_of
from penstock.types.dialect import Dialect


def call(dialect: Dialect = Dialect.CHAT, **fields: Any) -> Call:
    return Call(dialect, "chat", False, False, None, 1, read(json.dumps({"model": "chat", **fields}).encode()))


def said(*texts: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text} for text in texts]


@given(st.binary(max_size=20_000), st.binary(max_size=20_000), st.binary(max_size=20_000))
def test_two_prompts_share_the_blocks_of_what_they_both_begin_with(common: bytes, one: bytes, other: bytes) -> None:
    first, second = chain([common + b"1" + one]), chain([common + b"2" + other])
    shared = [ours == theirs for ours, theirs in zip(first.blocks, second.blocks, strict=False)]
    expected = bisect_right(ENDS, len(common))
    assert shared[:expected] == [True] * expected
    assert not any(shared[expected:])


@given(st.binary(max_size=9000), st.lists(st.integers(0, 9000), max_size=6))
def test_it_does_not_matter_in_which_pieces_a_prompt_comes(prompt: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(prompt)]
    assert chain(prompt[a:b] for a, b in pairwise(places)) == chain([prompt])
    assert chain([prompt]).size == len(prompt)


def test_there_are_few_blocks_and_they_reach_far() -> None:
    assert len(ENDS) < 150
    assert ENDS[-1] >= 64 * 1024 * 1024
    assert all(end - before <= max(128, before / 8) for before, end in zip((0, *ENDS), ENDS, strict=False))
    enormous = chain([bytes(1 << 20)] * 65)
    assert len(enormous.blocks) == len(ENDS)


def test_a_conversation_begins_with_its_earlier_turns() -> None:
    turns = [f"What comes after {number}? " * 9 for number in range(20)]
    whole = prefix_of(call(messages=said(*turns), temperature=0.1))
    part = prefix_of(call(messages=said(*turns[:12]), max_tokens=7))
    assert len(part.blocks) > 12
    assert whole.blocks[: len(part.blocks)] == part.blocks


@pytest.mark.parametrize(
    ("dialect", "first", "then"),
    [
        (Dialect.CHAT, {"tools": [{"type": "function"}]}, {"messages": said("a" * 500)}),
        (Dialect.MESSAGES, {"system": "You are " * 50}, {"messages": said("a" * 500)}),
        (Dialect.RESPONSES, {"instructions": "You are " * 50}, {"input": "a" * 500}),
        (Dialect.COMPLETIONS, {"cache_salt": "t" * 200}, {"prompt": "a" * 500}),
    ],
)
def test_what_a_template_puts_first_comes_first(dialect: Dialect, first: dict[str, Any], then: dict[str, Any]) -> None:
    (value,) = first.values()
    (after,) = then.values()
    expected = chain([json.dumps(value).encode(), json.dumps(after).encode()])
    assert prefix_of(call(dialect, **then, **first)) == prefix_of(call(dialect, **first, **then)) == expected


def test_embeddings_leave_nothing_to_share() -> None:
    assert prefix_of(call(Dialect.EMBEDDINGS, input="a" * 5000)) == Prefix((), 0)
