"""Durations, sizes and shares with their units, exact: no float is involved."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Self

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?(ms|s|m|h|d)")
_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}

_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?(B|[kKMGT]B|[KMGT]iB)?")
_BYTES = {
    "TiB": 1024**4,
    "GiB": 1024**3,
    "MiB": 1024**2,
    "KiB": 1024,
    "TB": 1000**4,
    "GB": 1000**3,
    "MB": 1000**2,
    "KB": 1000,
    "kB": 1000,
    "B": 1,
}

_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,4})?) ?%")
_OF_A_PERCENT = 10_000  # a share is in millionths


class Duration(int):
    """A span of time in whole milliseconds; `str()` gives it back with its unit."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read `500ms`, `10s`, `1.5m`, `2h`, `1d`.

        Raises:
            ValueError: not a number with one of these units, or finer than a millisecond.
        """
        match = _DURATION.fullmatch(text)
        if match is None:
            raise ValueError("a duration is a number and a unit (ms, s, m, h, d), such as 500ms, 10s or 2m")
        milliseconds = Decimal(match[1]) * _MILLISECONDS[match[2]]
        if milliseconds != milliseconds.to_integral_value():
            raise ValueError("a duration is a whole number of milliseconds")
        return cls(milliseconds)

    @property
    def seconds(self) -> float:
        """The duration in seconds."""
        return int(self) / 1000

    def __str__(self) -> str:
        if not self:
            return "0s"
        unit = next(unit for unit, factor in _MILLISECONDS.items() if int(self) % factor == 0)
        return f"{int(self) // _MILLISECONDS[unit]}{unit}"


class Size(int):
    """A number of bytes; `str()` gives it back with the largest binary unit that divides it."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read `4096` (bytes), `10MB` (powers of 1000), `32MiB` (powers of 1024).

        Raises:
            ValueError: not a number with one of these units, or not a whole number of bytes.
        """
        match = _SIZE.fullmatch(text)
        if match is None:
            raise ValueError(
                "a size is a number of bytes or carries a unit (kB, MB, GB or KiB, MiB, GiB), such as 32MiB"
            )
        size = Decimal(match[1]) * _BYTES[match[2] or "B"]
        if size != size.to_integral_value():
            raise ValueError("a size is a whole number of bytes")
        return cls(size)

    def __str__(self) -> str:
        for unit in ("TiB", "GiB", "MiB", "KiB"):
            if self and int(self) % _BYTES[unit] == 0:
                return f"{int(self) // _BYTES[unit]}{unit}"
        return f"{int(self)}B"


class Share(int):
    """A part of a whole, in millionths of it; `str()` gives it back in percent."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read `10%`, `0.5%`.

        Raises:
            ValueError: not a number with a percent sign, or finer than a ten-thousandth of a percent.
        """
        match = _SHARE.fullmatch(text)
        if match is None:
            raise ValueError("a share is a number with a percent sign, such as 10% or 0.5%")
        return cls(Decimal(match[1]) * _OF_A_PERCENT)

    @property
    def fraction(self) -> float:
        """The share of 1."""
        return int(self) / (100 * _OF_A_PERCENT)

    def __str__(self) -> str:
        return f"{(Decimal(int(self)) / _OF_A_PERCENT).normalize():f}%"
