from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.stack.scalar import Scalar, value_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("true", True),
        ("False", False),
        ("12", 12),
        ("-7", -7),
        ("010", 10),
        ("0o17", 15),
        ("0xff", 255),
        ("0.15", Decimal("0.15")),
        (".5", Decimal("0.5")),
        ("1e3", Decimal(1000)),
    ],
)
def test_words_have_the_meaning_of_yaml_1_2(text: str, value: Scalar) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["no", "yes", "on", "off", "1_000", "12:30", "2026-01-01", "0b1", "nan", ".inf", ".", "+", "e5", "1e99999"]
)
def test_the_surprises_of_yaml_1_1_are_text(text: str) -> None:
    assert value_of(text) == text


def test_a_number_of_absurd_length_stays_text() -> None:
    assert value_of("9" * 5000) == "9" * 5000


@given(st.integers(-(10**18), 10**18))
def test_every_integer_is_read(number: int) -> None:
    assert value_of(str(number)) == number


@given(st.decimals(-(10**9), 10**9, places=9))
def test_every_decimal_is_exact(number: Decimal) -> None:
    assert value_of(f"{number:f}") == number


@given(st.text(max_size=60))
def test_anything_has_a_meaning(text: str) -> None:
    value = value_of(text)
    assert value is None or isinstance(value, bool | int | Decimal) or value == text
