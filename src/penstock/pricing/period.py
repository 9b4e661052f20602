"""Periods of a budget, in UTC."""

from __future__ import annotations

from datetime import date, timedelta
from enum import StrEnum

DAY_S = 86_400
_EPOCH = date(1970, 1, 1)


class Period(StrEnum):
    """How long a budget lasts before it begins anew."""

    DAY = "day"
    WEEK = "week"  # from Monday on
    MONTH = "month"
    TOTAL = "total"  # it never does


def bounds(period: Period, day: int) -> tuple[int, int]:
    """
    Return the first day of the period that a day lies in, and the first day after it, in days since the epoch.

    The only period of `TOTAL` begins on day 0 and has no end, which is 0 too.
    """
    if period is Period.TOTAL:
        return 0, 0
    if period is Period.DAY:
        return day, day + 1
    at = _EPOCH + timedelta(days=day)
    if period is Period.WEEK:
        first = day - at.weekday()
        return first, first + 7
    begin = at.replace(day=1)
    end = (begin + timedelta(days=31)).replace(day=1)
    return (begin - _EPOCH).days, (end - _EPOCH).days
