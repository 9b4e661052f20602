"""When an upstream says that it may be asked again. What it says is a floor: no exchange is sent there before."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import msgspec

LONGEST_S = 300.0  # an upstream that says more is asked again after so long, in case it was wrong
_MAX_FIELD = 64
_NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,9})?")
_PART = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|h|m|s)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class _Detail(msgspec.Struct):
    delay: str | None = msgspec.field(default=None, name="retryDelay")


class _Error(msgspec.Struct):
    details: list[_Detail] = []


class _Body(msgspec.Struct):
    error: _Error


def retry_after(headers: Mapping[bytes, bytes], body: bytes, at: float) -> float | None:
    """
    Return the seconds to wait, at most `LONGEST_S`, or None where nothing clear is said.

    The first of these that can be read counts: `retry-after-ms`, `retry-after` as seconds or an HTTP date (RFC 9110,
    10.2.3), OpenAI's `x-ratelimit-reset-*` of what has nothing remaining, `retryDelay` in the body of a Google API's
    error (`google.rpc.RetryInfo`).

    Args:
        headers: names in lower case.
        at: seconds since the epoch.
    """
    said = _number(headers, b"retry-after-ms")
    if said is not None:
        said /= 1000
    if said is None:
        said = _number(headers, b"retry-after")
    if said is None:
        said = _date(headers, at)
    if said is None:
        said = _reset(headers)
    if said is None:
        said = _delay(body)
    return None if said is None else min(LONGEST_S, max(0.0, said))


def _text(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"")[:_MAX_FIELD].decode("latin-1").strip()


def _number(headers: Mapping[bytes, bytes], name: bytes) -> float | None:
    text = _text(headers, name)
    return float(text) if _NUMBER.fullmatch(text) else None


def _date(headers: Mapping[bytes, bytes], at: float) -> float | None:
    text = _text(headers, b"retry-after")
    if ":" not in text:
        return None
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - at
    except (ValueError, OverflowError):
        return None


def _reset(headers: Mapping[bytes, bytes]) -> float | None:
    """Return when the last of what is used up is there again."""
    found = [
        seconds
        for kind in (b"requests", b"tokens")
        if _text(headers, b"x-ratelimit-remaining-" + kind) == "0"
        and (seconds := _duration(_text(headers, b"x-ratelimit-reset-" + kind))) is not None
    ]
    return max(found, default=None)


def _duration(text: str) -> float | None:
    """Read a duration as OpenAI writes it: `12ms`, `1s`, `6m0s`."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return math.fsum(float(number) * _UNITS_S[unit] for number, unit in parts)


def _delay(body: bytes) -> float | None:
    if b'"retryDelay"' not in body:
        return None
    try:
        details = msgspec.json.decode(body, type=_Body).error.details
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    delays = [_duration(detail.delay) for detail in details if detail.delay and len(detail.delay) <= _MAX_FIELD]
    return max((delay for delay in delays if delay is not None), default=None)
