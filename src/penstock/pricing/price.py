"""
Exact money: integer nano-dollars, one rounding per exchange.

A price is an integer number of nano-dollars per million tokens, so 0.15 USD per million tokens is 150_000_000.
"""

from __future__ import annotations

from decimal import Decimal
from hashlib import blake2b

import msgspec

from penstock.types.usage import Usage

NANO_PER_USD = 1_000_000_000
TOKENS_PER_PRICE = 1_000_000
MOST_TIERS = 8
_HALF = TOKENS_PER_PRICE // 2


class Rates(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    Nano-dollars per million tokens of each kind. None is for a kind without a price of its own.

    Attributes:
        input: prompt tokens.
        output: generated tokens.
        cache_read: prompt tokens from the upstream's cache; else as `input`.
        cache_write: prompt tokens put into that cache; else as `input`.
        cache_write_1h: those that are to stay there for an hour; else as `cache_write`.
        reasoning: generated tokens that are thoughts; else as `output`.
        audio_input: prompt tokens that are sound, where they were not cached; else as `input`.
        audio_output: generated tokens that are sound; else as `output`.
    """

    input: int = 0
    output: int = 0
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None

    @property
    def dearest(self) -> tuple[int, int]:
        """The most that a prompt token and a generated one can cost."""
        kinds_in = (self.input, self.cache_read, self.cache_write, self.cache_write_1h, self.audio_input)
        kinds_out = (self.output, self.reasoning, self.audio_output)
        return max(rate or 0 for rate in kinds_in), max(rate or 0 for rate in kinds_out)


class Tier(msgspec.Struct, frozen=True):
    """What all tokens of an exchange cost whose prompt has more tokens than `above`."""

    above: int
    rates: Rates


class Price(Rates, frozen=True, omit_defaults=True):
    """
    What a deployment charges.

    Attributes:
        tiers: dearer or cheaper rates for larger prompts, by their size; at most `MOST_TIERS`.
        batch: what the upstream charges for a batch, at any size; None where it is the same.
        version: which price this is: where it is from, and a hash of its numbers.
    """

    tiers: tuple[Tier, ...] = ()
    batch: Rates | None = None
    version: str = ""

    @property
    def ceiling(self) -> Price:
        """
        A price at which no exchange costs less, whatever kinds its tokens turn out to be.

        It grows with the prompt, so that at the most tokens there can be it bounds every smaller usage too.
        """
        most_in, most_out = self.dearest
        if self.batch is not None:
            batch_in, batch_out = self.batch.dearest
            most_in, most_out = max(most_in, batch_in), max(most_out, batch_out)
        base, tiers = (most_in, most_out), []
        for tier in self.tiers:
            tier_in, tier_out = tier.rates.dearest
            most_in, most_out = max(most_in, tier_in), max(most_out, tier_out)
            tiers.append(Tier(tier.above, Rates(most_in, most_out)))
        return Price(*base, tiers=tuple(tiers))

    def versioned(self, source: str) -> Price:
        """Return this price with its version: its source and eight hexadecimal digits that its numbers give."""
        numbers = msgspec.json.encode(msgspec.structs.replace(self, version=""))
        return msgspec.structs.replace(self, version=f"{source} {blake2b(numbers, digest_size=4).hexdigest()}")


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

    Every token is charged once: what is cached, written to a cache, thought or sound is taken out of the rest.
    """
    rates = _in_force(price, usage) if price.tiers or usage.batch else price
    total = usage.input_tokens * rates.input + usage.output_tokens * rates.output
    if usage.cache_read_tokens or usage.cache_write_tokens or usage.audio_input_tokens:
        total += _more_for_prompt(rates, usage)
    if usage.reasoning_tokens or usage.audio_output_tokens:
        total += _more_for_answer(rates, usage)
    return (total + _HALF) // TOKENS_PER_PRICE


def _in_force(price: Price, usage: Usage) -> Rates:
    if usage.batch and price.batch is not None:
        return price.batch
    return next((tier.rates for tier in reversed(price.tiers) if usage.input_tokens > tier.above), price)


def _more_for_prompt(rates: Rates, usage: Usage) -> int:
    """Return what the kinds of prompt tokens cost more than plain ones, or less. Sound that was cached is cached."""
    plain, left, more = rates.input, usage.input_tokens, 0
    read = min(usage.cache_read_tokens, left)
    left -= read
    if rates.cache_read is not None:
        more += read * (rates.cache_read - plain)
    written = min(usage.cache_write_tokens, left)
    left -= written
    write = plain if rates.cache_write is None else rates.cache_write
    more += written * (write - plain)
    if rates.cache_write_1h is not None:
        more += min(usage.cache_write_1h_tokens, written) * (rates.cache_write_1h - write)
    if rates.audio_input is not None:
        more += min(usage.audio_input_tokens, left) * (rates.audio_input - plain)
    return more


def _more_for_answer(rates: Rates, usage: Usage) -> int:
    plain, left, more = rates.output, usage.output_tokens, 0
    thought = min(usage.reasoning_tokens, left)
    left -= thought
    if rates.reasoning is not None:
        more += thought * (rates.reasoning - plain)
    if rates.audio_output is not None:
        more += min(usage.audio_output_tokens, left) * (rates.audio_output - plain)
    return more


def usd(nano: int) -> str:
    """Write nano-dollars as dollars with nine decimals and no rounding, for example `0.000012500`."""
    sign = "-" if nano < 0 else ""
    whole, rest = divmod(abs(nano), NANO_PER_USD)
    return f"{sign}{whole}.{rest:09d}"


def described(price: Price | None) -> str:
    """Say what a price is: `0.15 and 0.6 USD per million tokens in and out (stack 1f3a9c2b)`."""
    if price is None:
        return "not known: neither in the stack nor in the price book"
    rates = f"{_plain(price.input)} and {_plain(price.output)} USD per million tokens in and out"
    return f"{rates} ({price.version})" if price.version else rates


def _plain(nano: int) -> str:
    text = usd(nano).rstrip("0")
    return text + "0" if text.endswith(".") else text
