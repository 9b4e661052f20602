"""What each deployment charges: what its `price:` says, on top of the price book where a provider's model is in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from penstock.pricing import book
from penstock.pricing.price import NANO_PER_USD, Price, Rates, Tier, nano_per_million
from penstock.stack import deployments, schema, url
from penstock.stack.keypath import KeyPath
from penstock.stack.problem import Problem
from penstock.stack.resolve import Resolved

_REMEDY = "set price: {input: USD, output: USD} per million tokens, 0 for what is free"
_TLS_PORT = 443


class Priced(msgspec.Struct, frozen=True):
    """
    Attributes:
        price: None when nobody knows it.
        entry: of the price book, where it has one.
    """

    price: Price | None
    entry: book.Entry | None = None

    def usd(self, keys: KeyPath) -> Decimal | None:
        """Return what is in force for a key below `price:`, in USD per million tokens; None where there is nothing."""
        nano = getattr(self.price, "_".join(map(str, keys)), None)
        return Decimal(nano) / NANO_PER_USD if isinstance(nano, int) else None


def of(items: Mapping[str, deployments.Engine | deployments.Provider], on: date) -> dict[str, Priced]:
    """
    Return the price of each deployment, by its name.

    Args:
        on: the day whose prices of the book count.
    """
    return {
        name: _provider(item, on) if isinstance(item, deployments.Provider) else _engine(item)
        for name, item in items.items()
    }


def uncountable(root: schema.Root, prices: Mapping[str, Priced], resolved: Resolved) -> Iterator[Problem]:
    """Find deployments without a known price that a model with a budget may use: no budget could count them."""
    told = set()
    for model, item in root.models.items():
        policies = [name for name in item.policies if root.policies[name].budgets]
        for name in (*item.weighted, *item.fallback):
            if policies and name not in told and prices[name].price is None:
                told.add(name)
                key: KeyPath = ("deployments", name)
                yield Problem(
                    key,
                    resolved.key_lines.get(key),
                    f"has no known price, so the budget of policy {policies[0]}, which model {model} has, cannot count "
                    f"it ({_why(prices[name])}); {_REMEDY}",
                )


def doubts(root: schema.Root, prices: Mapping[str, Priced], resolved: Resolved) -> Iterator[Problem]:
    """Find prices that are not known, or may not be what is charged."""
    for name, item in root.deployments.items():
        priced = prices[name]
        key: KeyPath = ("deployments", name)
        line = resolved.key_lines.get(key)
        if not isinstance(item, deployments.Provider):
            continue
        if priced.price is None:
            yield Problem(key, line, f"what it costs is not known ({_why(priced)}); {_REMEDY}")
            continue
        missing = [kind for kind in ("input", "output") if getattr(item.price, kind) is None]
        if priced.entry is None or priced.entry.price is None:
            if missing:
                at = (*key, "price")
                what = "prompts cost" if missing == ["input"] else "answers cost"
                said = f"names no {' and no '.join(missing)}, so {what if len(missing) == 1 else 'both cost'} nothing"
                yield Problem(at, resolved.key_lines.get(at), f"{said}; write {missing[0]}: 0 if that is meant")
        elif priced.entry.doubt and missing:
            yield Problem(key, line, f"{priced.entry.doubt} ({priced.entry.name}); set price: to have another")


def _why(priced: Priced) -> str:
    if priced.entry is None:
        return f"{book.NAME} has no such model at this address"
    return f"{priced.entry.doubt}, {priced.entry.name}"


def _provider(item: deployments.Provider, on: date) -> Priced:
    address = item.base_url
    entry = None
    if address.tls and address.port == _TLS_PORT and not url.local(address):  # no listed provider is anywhere else
        model = item.model.removeprefix("google/") if item.provider == "vertex" else item.model
        entry = book.look_up(url.written(address), model, on)
    listed = entry.price if entry is not None else None
    if not _given(item.price) and item.price.batch is None:
        return Priced(None if listed is None else listed.versioned(book.edition()), entry)
    source = "stack" if listed is None else f"stack on {book.edition()}"
    return Priced(_on_top(item.price, listed or Price()).versioned(source), entry)


def _engine(item: deployments.Engine) -> Priced:
    written = item.model_fields_set & {"price"}
    price = _on_top(item.price, Price())
    if written:
        return Priced(price.versioned("stack"))
    return Priced(price.versioned("bundled" if price != Price() else "free"))


def _on_top(given: deployments.Price, below: Price) -> Price:
    """Put what the stack says over other rates, those of every size."""
    changes = _given(given)
    tiers = tuple(Tier(tier.above, msgspec.structs.replace(tier.rates, **changes)) for tier in below.tiers)
    price = msgspec.structs.replace(below, **changes, tiers=tiers)
    if given.batch is None:
        return price
    plain = {name: getattr(price, name) for name in Rates.__struct_fields__}
    return msgspec.structs.replace(price, batch=Rates(**{**plain, **_given(given.batch)}))


def _given(rates: deployments.Rates) -> dict[str, Any]:
    values: dict[str, Decimal | None] = {
        "input": rates.input,
        "output": rates.output,
        "cache_read": rates.cache_read,
        "cache_write": rates.cache_write,
        "cache_write_1h": rates.cache_write_1h,
        "reasoning": rates.reasoning,
        "audio_input": rates.audio.input,
        "audio_output": rates.audio.output,
    }
    return {name: nano_per_million(value) for name, value in values.items() if value is not None}
