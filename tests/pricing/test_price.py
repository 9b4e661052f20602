from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.pricing.price import Price, Rates, Tier, cost_nano, described, nano_per_million, usd
from penstock.types.usage import Usage, UsageSource

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


rates = st.builds(Rates, prices, prices, *[st.none() | prices] * 6)
tiers = st.lists(st.builds(Tier, st.integers(0, 10**6), rates), max_size=3, unique_by=lambda tier: tier.above).map(
    lambda found: tuple(sorted(found, key=lambda tier: tier.above))
)


@st.composite
def whole_prices(draw: st.DrawFn) -> Price:
    base = draw(rates)
    return msgspec.convert(
        {**msgspec.structs.asdict(base), "tiers": draw(tiers), "batch": draw(st.none() | rates)}, Price
    )


few = st.integers(0, 2 * 10**6)
usages = st.builds(Usage, few, few, few, st.just(UsageSource.UPSTREAM), few, few, few, few, few, st.booleans())


def by_hand(price: Price, usage: Usage) -> Fraction:
    """Charge token after token, each as one kind: the definition, written the slow way."""
    force: Rates = price
    for tier in price.tiers:
        if usage.input_tokens > tier.above:
            force = tier.rates
    if usage.batch and price.batch is not None:
        force = price.batch
    special = {"read": force.cache_read, "write": force.cache_write, "audio": force.audio_input}
    prompt = {kind: force.input if rate is None else rate for kind, rate in special.items()}
    hour = prompt["write"] if force.cache_write_1h is None else force.cache_write_1h
    left, total = usage.input_tokens, 0
    for kind, count in (
        ("read", usage.cache_read_tokens),
        ("write", usage.cache_write_tokens),
        ("audio", usage.audio_input_tokens),
    ):
        taken = min(left, count)
        left -= taken
        hourly = min(taken, usage.cache_write_1h_tokens) if kind == "write" else 0
        total += (taken - hourly) * prompt[kind] + hourly * hour
    total += left * force.input
    thought = min(usage.reasoning_tokens, usage.output_tokens)
    sound = min(usage.audio_output_tokens, usage.output_tokens - thought)
    total += thought * (force.output if force.reasoning is None else force.reasoning)
    total += sound * (force.output if force.audio_output is None else force.audio_output)
    total += (usage.output_tokens - thought - sound) * force.output
    return Fraction(total, 10**6)


@given(whole_prices(), usages)
def test_every_token_is_charged_once_as_what_it_is(price: Price, usage: Usage) -> None:
    got = cost_nano(price, usage)
    assert abs(got - by_hand(price, usage)) <= Fraction(1, 2)
    assert got >= 0


@given(whole_prices(), usages, few, few)
def test_the_ceiling_bounds_every_usage_that_fits_into_what_was_reserved(
    price: Price, usage: Usage, more_in: int, more_out: int
) -> None:
    reserved = cost_nano(price.ceiling, Usage(usage.input_tokens + more_in, usage.output_tokens + more_out))
    assert cost_nano(price, usage) <= reserved


def test_a_large_prompt_costs_all_of_it_at_its_tier() -> None:
    price = Price(1_000_000, 2_000_000, tiers=(Tier(100, Rates(3_000_000, 4_000_000)),))
    assert cost_nano(price, Usage(100, 10)) == 120
    assert cost_nano(price, Usage(101, 10)) == 343
    assert cost_nano(price.ceiling, Usage(100, 10)) == 120  # a prompt that cannot be so large does not reserve for it


def test_a_known_bill_with_a_cache_that_was_written() -> None:
    """1,000 plain, 4,000 read, 2,000 written for five minutes and 500 for an hour, 300 said: Claude's list."""
    plain, said, read, write, hour = (nano_per_million(Decimal(text)) for text in ("3", "15", "0.3", "3.75", "6"))
    price = Price(plain, said, read, write, hour)
    usage = Usage(7_500, 300, 4_000, UsageSource.UPSTREAM, 2_500, 500)
    assert usd(cost_nano(price, usage)) == "0.019200000"


def test_a_version_says_where_a_price_is_from_and_changes_with_any_of_its_numbers() -> None:
    price = Price(1, 2)
    assert price.versioned("stack").version == price.versioned("x").versioned("stack").version
    assert price.versioned("stack").version.startswith("stack ")
    others = [
        Price(1, 3), Price(1, 2, 1), Price(1, 2, reasoning=2), Price(1, 2, tiers=(Tier(5, Rates(1, 2)),)),
        Price(1, 2, batch=Rates(1, 2)),
    ]  # fmt: skip
    assert len({one.versioned("stack").version for one in (price, *others)}) == 6


def test_a_price_in_words() -> None:
    price = Price(150_000_000, 600_000_000).versioned("stack")
    assert described(price) == f"0.15 and 0.6 USD per million tokens in and out ({price.version})"
    assert described(Price(0, 10**9)) == "0.0 and 1.0 USD per million tokens in and out"
    assert described(None) == "not known: neither in the stack nor in the price book"
