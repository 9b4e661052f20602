from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.pricing.price import Price, cost_nano, nano_per_million, usd
from penstock.types.usage import Usage

tokens = st.integers(0, 10**9)
prices = st.integers(0, 10**12)


@given(tokens, tokens, tokens, prices, prices, st.none() | prices)
def test_cost_is_the_exact_sum_rounded_once(
    fresh: int, cached: int, output: int, price_in: int, price_out: int, price_cached: int | None
) -> None:
    price = Price(price_in, price_out, price_cached)
    per_cached = price_in if price_cached is None else price_cached
    exact = Fraction(fresh * price_in + cached * per_cached + output * price_out, 10**6)
    got = cost_nano(price, Usage(fresh + cached, output, cached))
    assert abs(got - exact) <= Fraction(1, 2)
    assert isinstance(got, int)


def test_a_known_bill() -> None:
    price = Price(
        nano_per_million(Decimal("0.15")), nano_per_million(Decimal("0.60")), nano_per_million(Decimal("0.075"))
    )
    # 1,000 prompt tokens of which 400 cached, 200 output: 90 + 30 + 120 millionths of a dollar
    assert cost_nano(price, Usage(1000, 200, 400)) == 240_000
    assert usd(240_000) == "0.000240000"


def test_more_cached_than_prompt_tokens_is_charged_as_all_cached() -> None:
    assert cost_nano(Price(1_000_000, 0, 0), Usage(5, 0, 9)) == 0


@given(st.decimals(min_value=0, max_value=10**6, places=9))
def test_prices_keep_every_decimal(value: Decimal) -> None:
    assert Fraction(nano_per_million(value), 10**9) == Fraction(value)


@pytest.mark.parametrize("value", ["-0.01", "NaN", "Infinity", "0.0000000001"])
def test_what_is_no_price_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="price"):
        nano_per_million(Decimal(value))


@given(st.integers(-(10**15), 10**15))
def test_dollars_are_written_without_rounding(nano: int) -> None:
    assert Decimal(usd(nano)) * 10**9 == nano
