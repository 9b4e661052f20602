from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.stack.keypath import KeyPath, written


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("gateway", "max_body"), "gateway.max_body"),
        (("models", "gpt-4.1", "targets", 0), 'models["gpt-4.1"].targets[0]'),
        (("a\nb",), '["a\\nb"]'),
        (("x" * 90,), f'["{"x" * 80}\\u2026"]'),
    ],
)
def test_a_path_is_written_for_people(path: KeyPath, text: str) -> None:
    assert written(path) == text


@given(st.lists(st.text(max_size=20) | st.integers(0, 99), max_size=4).map(tuple))
def test_a_written_path_is_one_printable_line(path: KeyPath) -> None:
    assert written(path).isascii()
    assert not path or written(path).isprintable()


@given(st.lists(st.text(max_size=8), max_size=3).map(tuple), st.lists(st.text(max_size=8), max_size=3).map(tuple))
def test_different_paths_are_written_differently(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert (written(one) == written(other)) is (one == other)
