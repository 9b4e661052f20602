from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.pricing.period import Period, bounds

EPOCH = date(1970, 1, 1)


def day(text: str) -> int:
    return (date.fromisoformat(text) - EPOCH).days


@pytest.mark.parametrize(
    ("period", "at", "first", "end"),
    [
        (Period.DAY, "2026-11-21", "2026-11-21", "2026-11-22"),
        (Period.WEEK, "2026-11-21", "2026-11-16", "2026-11-23"),
        (Period.WEEK, "2026-11-16", "2026-11-16", "2026-11-23"),
        (Period.WEEK, "1970-01-01", "1969-12-29", "1970-01-05"),
        (Period.MONTH, "2026-11-30", "2026-11-01", "2026-12-01"),
        (Period.MONTH, "2026-12-31", "2026-12-01", "2027-01-01"),
        (Period.MONTH, "2028-02-29", "2028-02-01", "2028-03-01"),
        (Period.MONTH, "2026-01-01", "2026-01-01", "2026-02-01"),
    ],
)
def test_a_period_has_its_first_day_and_the_day_after_it(period: Period, at: str, first: str, end: str) -> None:
    assert bounds(period, day(at)) == (day(first), day(end))


def test_the_only_period_of_all_time_has_no_end() -> None:
    assert bounds(Period.TOTAL, 20_000) == (0, 0)


@given(st.sampled_from([Period.DAY, Period.WEEK, Period.MONTH]), st.integers(0, 60_000))
def test_periods_follow_each_other_without_a_gap(period: Period, at: int) -> None:
    first, end = bounds(period, at)
    assert first <= at < end
    assert bounds(period, end)[0] == end
    assert bounds(period, first) == bounds(period, end - 1) == (first, end)
    assert (EPOCH + timedelta(days=first)).day == 1 or period is not Period.MONTH
