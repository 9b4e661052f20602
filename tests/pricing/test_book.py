"""The price book, from the data that the installed package brings along."""

from __future__ import annotations

import socket
import subprocess
import sys
from datetime import date, time
from decimal import Decimal

import pytest
from genai_prices.data import providers
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)
from genai_prices.types import Usage as BookUsage

from penstock.pricing import book
from penstock.pricing.price import MOST_TIERS, Price, Rates, cost_nano
from penstock.pricing.price import Tier as OurTier
from penstock.types.usage import Usage, UsageSource

TODAY = date(2026, 11, 21)
OPENAI, ANTHROPIC = "https://api.openai.com/v1", "https://api.anthropic.com/v1"


def test_a_model_is_found_by_the_address_and_its_name() -> None:
    entry = book.look_up(OPENAI, "gpt-4o-mini-2024-07-18", TODAY)
    assert entry is not None
    assert (entry.name, entry.doubt) == ("openai/gpt-4o-mini", "")
    assert entry.price == Price(150_000_000, 600_000_000, 75_000_000)
    assert entry.where == f"{book.edition()}, openai/gpt-4o-mini"


@pytest.mark.parametrize(
    ("url", "model"),
    [(OPENAI, "gpt-nobody-made-yet"), ("https://llm.example.com/v1", "gpt-4o-mini"), (ANTHROPIC, "gpt-4o-mini")],
)
def test_what_the_book_does_not_know_is_none(url: str, model: str) -> None:
    assert book.look_up(url, model, TODAY) is None


def test_what_is_not_by_tokens_has_an_entry_and_no_price() -> None:
    entry = book.look_up("https://api.perplexity.ai", "sonar", TODAY)
    assert entry is not None
    assert entry.price is None
    assert entry.doubt


def listed(prices: ModelPrice | list[ConditionalPrice]) -> book.Entry | None:
    """Look a model up that is in the book for the length of a test."""
    model = ModelInfo(id="m", match=providers[0].models[0].match, prices=prices)
    before = list(providers[0].models)
    providers[0].models[:] = [model]
    book.look_up.cache_clear()
    try:
        return book.look_up(ANTHROPIC, before[0].id, TODAY)
    finally:
        providers[0].models[:] = before
        book.look_up.cache_clear()


def price(**rates: str) -> ModelPrice:
    return ModelPrice(**{f"{name}_mtok": Decimal(text) for name, text in rates.items()})


@pytest.mark.parametrize(
    "prices",
    [
        ModelPrice(),
        price(output="1"),
        price(input="-1"),
        price(input="NaN"),
        price(input="1000001"),
        price(input="1", input_image="2"),
        ModelPrice(input_mtok=Decimal(1), requests_kcount=Decimal(5)),
        ModelPrice(input_mtok=TieredPrices(Decimal(1), [Tier(start, Decimal(2)) for start in range(MOST_TIERS + 1)])),
    ],
)
def test_a_price_that_cannot_be_counted_or_believed_is_none(prices: ModelPrice) -> None:
    entry = listed(prices)
    assert entry is not None
    assert entry.price is None


def test_every_kind_of_token_that_we_count_is_taken_over() -> None:
    prices = price(
        input="1", output="2", cache_read="3", cache_write="4", cache_write_1h="5", output_reasoning="6",
        input_audio="7", output_audio="8",
    )  # fmt: skip
    vars(prices)["web_searches_kcount"] = Decimal(10)
    entry = listed(prices)
    assert entry is not None
    one, two, three, four, five, six, seven, eight = (number * 10**9 for number in range(1, 9))
    assert entry.price == Price(one, two, three, four, five, six, seven, eight)


def test_rates_of_large_prompts_become_tiers_of_whole_rates() -> None:
    prices = ModelPrice(
        input_mtok=TieredPrices(Decimal(1), [Tier(200_000, Decimal(2)), Tier(400_000, Decimal(3))]),
        output_mtok=TieredPrices(Decimal(5), [Tier(200_000, Decimal(6))]),
        cache_read_mtok=Decimal("0.5"),
    )
    entry = listed(prices)
    assert entry is not None
    usd = 10**9
    assert entry.price == Price(
        usd,
        5 * usd,
        usd // 2,
        tiers=(
            OurTier(200_000, Rates(2 * usd, 6 * usd, usd // 2)),
            OurTier(400_000, Rates(3 * usd, 6 * usd, usd // 2)),
        ),
    )


def test_a_price_with_a_date_holds_from_that_day_on() -> None:
    def of(begin: date) -> Price | None:
        entry = listed(
            [
                ConditionalPrice(prices=price(input="1")),
                ConditionalPrice(constraint=StartDateConstraint(begin), prices=price(input="2")),
            ]
        )
        return entry.price if entry is not None else None

    assert of(date(2026, 11, 21)) == Price(2 * 10**9)
    assert of(date(2026, 11, 22)) == Price(10**9)


def test_a_price_by_the_hour_is_that_of_its_dearest_hours_and_says_so() -> None:
    entry = listed(
        [
            ConditionalPrice(prices=price(input="1", output="1")),
            ConditionalPrice(constraint=TimeOfDateConstraint(time(1), time(4)), prices=price(input="3", output="2")),
            ConditionalPrice(constraint=TimeOfDateConstraint(time(6), time(9)), prices=price(input="2", output="2")),
        ]
    )
    assert entry is not None
    assert entry.price == Price(3 * 10**9, 2 * 10**9)
    assert "time of day" in entry.doubt


def test_a_rate_without_an_end_is_rounded_up() -> None:
    entry = listed(price(input="0.05555555555555556"))
    assert entry is not None
    assert entry.price == Price(55_555_556)


USAGES = [
    (Usage(1000, 200), {}),
    (Usage(300_000, 200), {}),
    (Usage(1000, 200, 400), {"cache_read_tokens": 400}),
    (Usage(1000, 200, 0, UsageSource.UPSTREAM, 300), {"cache_write_tokens": 300}),
]


def test_the_whole_book_gives_the_costs_that_its_own_package_works_out() -> None:
    """Every model with one price, each usage: our integers against its decimals, to half a nano-dollar or rounding."""
    compared = 0
    for provider in providers:
        for model in provider.models:
            if not isinstance(model.prices, ModelPrice):
                continue
            ours = book._price(model.prices)
            if ours is None:
                continue
            for usage, more in USAGES:
                theirs = BookUsage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, **more)
                try:
                    expected = model.prices.calc_price(theirs)["total_price"]
                except ValueError:  # it wants to be told of kinds that this usage has none of
                    continue
                assert abs(cost_nano(ours, usage) - expected * 10**9) <= 1, (provider.id, model.id, usage)
                compared += 1
    assert compared > 4000


def test_nothing_is_asked_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the price book wants to connect")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    book.look_up.cache_clear()
    assert book.look_up(OPENAI, "gpt-4o", TODAY) is not None


def test_the_book_is_loaded_only_when_something_is_looked_up() -> None:
    script = "import sys; import penstock.pricing.book, penstock.stack.load; sys.exit('genai_prices' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
