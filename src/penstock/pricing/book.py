"""
The price book: what providers list for their models, from the data that genai-prices brings along.

Nothing is fetched: the book is as new as the installed package, and its version is part of each price's. It is loaded
when a provider is first looked up, in control and in commands that read a stack; gateways are given numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

from penstock.pricing.price import MOST_TIERS, NANO_PER_USD, Price, Rates, Tier

if TYPE_CHECKING:  # it is loaded when it is needed
    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

_KINDS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "audio_input",
    "output_audio_mtok": "audio_output",
}
# What usage does not tell apart, or tools of the provider's that Penstock does not see at work.
_PASSED_OVER = frozenset(
    {
        "cache_audio_read_mtok", "cache_audio_write_mtok", "cache_image_read_mtok", "cache_image_write_mtok",
        "cache_video_read_mtok", "cache_video_write_mtok", "web_searches_kcount", "storage_searches_kcount",
    }
)  # fmt: skip
NAME = "the price book"
_DEAREST = 1_000_000 * NANO_PER_USD  # of a million tokens; more is an error in the book
_NOON = time(12, tzinfo=UTC)


class Entry(msgspec.Struct, frozen=True):
    """
    What the book says of a model.

    Attributes:
        name: whose model it is, and its name in the book: `openai/gpt-4o-mini`.
        price: without a version; None when it is of a kind that Penstock cannot count.
        doubt: in what it may differ from the bill, as half a sentence, or empty.
    """

    name: str
    price: Price | None
    doubt: str = ""

    @property
    def where(self) -> str:
        """The book's edition and the entry in it."""
        return f"{edition()}, {self.name}"


@lru_cache(maxsize=1)
def edition() -> str:
    """Return the book's name and version: `genai-prices 0.2.3`."""
    from importlib.metadata import version

    return f"genai-prices {version('genai-prices')}"


@lru_cache(maxsize=4096)
def look_up(url: str, model: str, on: date) -> Entry | None:
    """
    Find what a model costs at an address; None when the book does not know the provider or the model.

    Args:
        url: the provider's base address.
        on: the day whose prices count; some have a date from which they hold.
    """
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.data import providers  # isort: skip  # the other makes the package's own imports first

    try:
        provider, found = DataSnapshot(providers, from_auto_update=False).find_provider_model(model, None, None, url)
    except LookupError:
        return None
    name = f"{provider.id}/{found.id}"
    choices = _in_force(found, on)
    prices = [price for price in map(_price, choices) if price is not None]
    if len(prices) != len(choices):
        return Entry(name, None, "its price in the book is not by tokens alone")
    if len(prices) > 1:
        return Entry(
            name, _dearest(prices), "its price depends on the time of day, and that of its dearest hours counts"
        )
    return Entry(name, prices[0])


def _in_force(model: ModelInfo, on: date) -> list[ModelPrice]:
    """Return the prices of a day: one, or several where they depend on the hour."""
    from genai_prices.types import StartDateConstraint

    if not isinstance(model.prices, list):
        return [model.prices]
    moment, found = datetime.combine(on, _NOON), []
    for conditional in reversed(model.prices):  # the last that holds counts
        constraint = conditional.constraint
        if isinstance(constraint, StartDateConstraint) and not constraint.active(moment):
            continue
        found.append(conditional.prices)
        if constraint is None or isinstance(constraint, StartDateConstraint):
            break
    return found


def _price(listed: ModelPrice) -> Price | None:
    """Translate a price; None when it has none for prompts, or counts something else than tokens."""
    values: dict[str, Decimal | TieredPrices] = {}
    stated: Mapping[str, Decimal | TieredPrices | None] = vars(listed)
    for key, value in stated.items():
        if value is None or key in _PASSED_OVER:
            continue
        if key in _KINDS:
            values[_KINDS[key]] = value
        elif value != stated.get("output_mtok" if key.startswith("output") else "input_mtok"):
            return None
    if "input" not in values:
        return None
    sizes = sorted({tier.start for value in values.values() if not isinstance(value, Decimal) for tier in value.tiers})
    base = _rates(values, 0)
    tiers = [(size, _rates(values, size + 1)) for size in sizes]
    if base is None or len(tiers) > MOST_TIERS or any(rates is None for _, rates in tiers):
        return None
    return msgspec.convert(
        {**msgspec.structs.asdict(base), "tiers": [Tier(size, rates) for size, rates in tiers if rates is not None]},
        Price,
    )


def _rates(values: Mapping[str, Decimal | TieredPrices], size: int) -> Rates | None:
    """Return the rates for a prompt of so many tokens; None when one cannot be believed."""
    rates = {}
    for kind, value in values.items():
        if isinstance(value, Decimal):
            usd = value
        else:
            usd = next((tier.price for tier in reversed(value.tiers) if size > tier.start), value.base)
        if not usd.is_finite() or usd < 0:
            return None
        # Some are quotients without an end; a millionth of a nano-dollar a token is rounded up.
        rates[kind] = int((usd * NANO_PER_USD).to_integral_value(ROUND_CEILING))
        if rates[kind] > _DEAREST:
            return None
    return Rates(**rates)


def _dearest(prices: Iterable[Price]) -> Price:
    return max(prices, key=lambda price: (price.input + price.output, price.input))
