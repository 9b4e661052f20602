"""Readers of numbers and of numbers with a unit."""

from __future__ import annotations

import re
from decimal import Context, Decimal, localcontext

from penstock.pricing.price import nano_per_million
from penstock.stack import scalar
from penstock.stack.reader import REFERENCE, Reader, Surroundings, Unfit, shown
from penstock.stack.units import Duration, Share, Size

_WHOLE_NUMBER = re.compile(r"[-+]?[0-9]{1,18}")
_DEAREST_USD = Decimal(1_000_000)
_HEAVIEST = Decimal(1_000_000)


def whole(minimum: int, maximum: int) -> Reader:
    """A whole number from `minimum` to `maximum`."""
    wanted = f"must be a whole number from {minimum} to {maximum}"

    def read(value: object, _around: Surroundings) -> int:
        number = value
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
            number = int(value)
        if not isinstance(number, int) or isinstance(number, bool) or not minimum <= number <= maximum:
            raise Unfit(f"{wanted}, not {shown(value)}")
        return number

    return Reader(read, {"anyOf": [{"type": "integer", "minimum": minimum, "maximum": maximum}, REFERENCE]})


def version(known: int) -> Reader:
    """The version of the file's format; there is one so far."""

    def read(value: object, _around: Surroundings) -> int:
        if value != known or isinstance(value, bool):
            raise Unfit(f"this version of Penstock reads version {known} of the file, not {shown(value)}")
        return known

    return Reader(read, {"const": known})


def duration(shortest: str, longest: str) -> Reader:
    """A `Duration` within bounds that are written like values of the file."""
    low, high = Duration.parse(shortest), Duration.parse(longest)

    def read(value: object, _around: Surroundings) -> Duration:
        if not isinstance(value, str):
            unit = f", such as {value}s" if isinstance(value, int) and not isinstance(value, bool) else ""
            raise Unfit(f"must be a duration with its unit (ms, s, m, h, d){unit}, not {shown(value)}")
        try:
            length = Duration.parse(value)
        except ValueError as error:
            raise Unfit(f"{error}, not {shown(value)}") from None
        if not low <= length <= high:
            raise Unfit(f"must be from {shortest} to {longest}, not {shown(value)}")
        return length

    pattern = r"^[0-9]+(\.[0-9]+)? ?(ms|s|m|h|d)$"
    return Reader(read, {"anyOf": [{"type": "string", "pattern": pattern}, REFERENCE]})


def size(smallest: str, largest: str) -> Reader:
    """A `Size` within bounds that are written like values of the file."""
    low, high = Size.parse(smallest), Size.parse(largest)

    def read(value: object, _around: Surroundings) -> Size:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise Unfit(f"must be a size such as 32MiB, not {shown(value)}")
        try:
            amount = Size.parse(str(value))
        except ValueError as error:
            raise Unfit(f"{error}, not {shown(value)}") from None
        if not low <= amount <= high:
            raise Unfit(f"must be from {smallest} to {largest}, not {shown(value)}")
        return amount

    pattern = r"^[0-9]+(\.[0-9]+)? ?(B|[kKMGT]B|[KMGT]iB)?$"
    return Reader(
        read, {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": pattern}, REFERENCE]}
    )


def share() -> Reader:
    """A `Share` above nothing, up to all."""

    def read(value: object, _around: Surroundings) -> Share:
        if not isinstance(value, str):
            number = isinstance(value, int | Decimal) and not isinstance(value, bool)
            sign = f", such as {value}%" if number else ""
            raise Unfit(f"must be a share with its percent sign{sign}, not {shown(value)}")
        try:
            part = Share.parse(value)
        except ValueError as error:
            raise Unfit(f"{error}, not {shown(value)}") from None
        if not 0 < part <= Share.parse("100%"):
            raise Unfit(f"must be above 0% and at most 100%, not {shown(value)}")
        return part

    return Reader(read, {"anyOf": [{"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?%$"}, REFERENCE]})


def usd() -> Reader:
    """A price as an exact `Decimal`: USD per million tokens."""

    def read(value: object, _around: Surroundings) -> Decimal:
        price = _decimal(value)
        if price is None or not 0 <= price <= _DEAREST_USD:
            raise Unfit(f"must be a price in USD per million tokens, zero or more, not {shown(value)}")
        with localcontext(Context(prec=200)):  # no rounding may hide a digit that the price has too many
            nano_per_million(price)
        return price

    return Reader(read, {"anyOf": [{"type": "number", "minimum": 0, "maximum": int(_DEAREST_USD)}, REFERENCE]})


def amount() -> Reader:
    """An amount of money as an exact `Decimal`: USD."""

    def read(value: object, _around: Surroundings) -> Decimal:
        dollars = _decimal(value)
        if dollars is None or not 0 <= dollars <= _DEAREST_USD:
            raise Unfit(f"must be an amount in USD, from 0 to {_DEAREST_USD}, not {shown(value)}")
        with localcontext(Context(prec=200)):
            if dollars != round(dollars, 9):
                raise Unfit(f"must have at most nine decimal places, not {shown(value)}")
        return dollars

    return Reader(read, {"anyOf": [{"type": "number", "minimum": 0, "maximum": int(_DEAREST_USD)}, REFERENCE]})


def weight() -> Reader:
    """A share of the traffic as a `Decimal` above zero; only its ratio to the others counts."""

    def read(value: object, _around: Surroundings) -> Decimal:
        share = _decimal(value)
        if share is None or not 0 < share <= _HEAVIEST:
            raise Unfit(f"must be a weight above 0 and at most {_HEAVIEST}, not {shown(value)}")
        return share

    return Reader(read, {"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": int(_HEAVIEST)}, REFERENCE]})


def _decimal(value: object) -> Decimal | None:
    if isinstance(value, str):
        value = scalar.value_of(value)
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        return Decimal(value)
    return None
