"""
Exact money: integer nano-dollars, one rounding per exchange.

A price is an integer number of nano-dollars per million tokens, so 0.15 USD per million tokens is 150_000_000.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from penstock.types.usage import Usage

NANO_PER_USD = 1_000_000_000
TOKENS_PER_PRICE = 1_000_000
_HALF = TOKENS_PER_PRICE // 2


class Price(msgspec.Struct, frozen=True):
    """
    What a deployment charges, in nano-dollars per million tokens.

    `cache_read` is None where the deployment has no price of its own for cached prompt tokens; they then cost `input`.
    """

    input: int = 0
    output: int = 0
    cache_read: int | None = None

    @property
    def ceiling(self) -> Price:
        """The price if everything is as dear as it can be."""
        return Price(max(self.input, self.cache_read or 0), self.output)


def nano_per_million(usd_per_million: Decimal) -> int:
    """
    Turn a price written in the stack (USD per million tokens) into integer nano-dollars per million tokens.

    Raises:
        ValueError: the price is negative, not finite, or finer than a nano-dollar per million tokens.
    """
    if not usd_per_million.is_finite() or usd_per_million < 0:
        raise ValueError("a price is a number of dollars, zero or more")
    nano = usd_per_million * NANO_PER_USD
    if nano != nano.to_integral_value():
        raise ValueError("a price has at most nine decimal places")
    return int(nano)


def cost_nano(price: Price, usage: Usage) -> int:
    """
    Cost of one exchange in nano-dollars, rounded once, half up.

    Cached tokens are part of `usage.input_tokens`; they are charged at `price.cache_read` instead of `price.input`.
    """
    total = usage.input_tokens * price.input + usage.output_tokens * price.output
    if usage.cache_read_tokens and price.cache_read is not None:
        total += min(usage.cache_read_tokens, usage.input_tokens) * (price.cache_read - price.input)
    return (total + _HALF) // TOKENS_PER_PRICE


def usd(nano: int) -> str:
    """Write nano-dollars as dollars with nine decimals and no rounding, for example `0.000012500`."""
    sign = "-" if nano < 0 else ""
    whole, rest = divmod(abs(nano), NANO_PER_USD)
    return f"{sign}{whole}.{rest:09d}"
