"""Points in time: nanoseconds since the epoch inside, ISO 8601 in UTC outside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_NS = 2**63 - 1


def from_ns(at_ns: int) -> datetime:
    """Return a moment in UTC, to the microsecond below."""
    return _EPOCH + timedelta(microseconds=at_ns // 1000)


def to_ns(moment: datetime) -> int:
    """Return nanoseconds since the epoch, as far as 64 bits go (the year 2262); a moment without a zone is in UTC."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    nanoseconds = (aware - _EPOCH) // timedelta(microseconds=1) * 1000
    return max(-_MOST_NS // 2, min(nanoseconds, _MOST_NS))
