"""Durations and sizes as people write them: `200ms`, `1.5s`, `2m`; `64KiB`, `20MiB`, `10kB`."""

from __future__ import annotations

import math
import re

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)(?:/s)?")
_DURATIONS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZES = {
    "": 1,
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "KiB": 1024,
    "MB": 1000**2,
    "MiB": 1024**2,
    "GB": 1000**3,
    "GiB": 1024**3,
}


def parse_duration(value: object) -> float:
    """
    Return seconds. A number without a unit is refused, except 0.

    Raises:
        ValueError: the sentence says what a duration looks like.
    """
    match = _QUANTITY.fullmatch(str(value).strip())
    if match and float(match[1]) == 0 and not match[2]:
        return 0.0
    if not match or match[2] not in _DURATIONS or not math.isfinite(float(match[1])):
        raise ValueError(f"`{value}` is not a duration such as `200ms`, `1.5s` or `2m`")
    return float(match[1]) * _DURATIONS[match[2]]


def parse_size(value: str) -> int:
    """
    Return bytes. Rates may end in `/s`.

    Raises:
        ValueError: the sentence says what a size looks like.
    """
    match = _QUANTITY.fullmatch(value.strip())
    if not match or match[2] not in _SIZES or not math.isfinite(float(match[1])):
        raise ValueError(f"`{value}` is not a size such as `512`, `64KiB` or `20MiB`")
    return int(float(match[1]) * _SIZES[match[2]])
