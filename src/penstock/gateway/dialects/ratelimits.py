"""
What is left of a caller's limit per minute, as header lines: in OpenAI's words, and in Anthropic's for who speaks that.

They come in two parts, with the number that remains between them, since most of them are always the same.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime


def head(kind: str, limit: int) -> bytes:
    """Return the lines up to how many of `kind`, requests or tokens, remain."""
    name = kind.encode()
    return b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: " % (name, limit, name)


def tail(kind: str, reset_s: float) -> bytes:
    """Return the rest of them: in how many seconds all of it would be there again."""
    return b"\r\nx-ratelimit-reset-%b: %gs\r\n" % (kind.encode(), math.ceil(reset_s * 10) / 10)


def anthropic_head(kind: str, limit: int) -> bytes:
    """Return the same as Anthropic words it."""
    name = kind.encode()
    return b"anthropic-ratelimit-%b-limit: %d\r\nanthropic-ratelimit-%b-remaining: " % (name, limit, name)


def anthropic_tail(kind: str, reset_at: float) -> bytes:
    """
    Return the rest of them: when that is, as RFC 3339 writes it.

    Args:
        reset_at: seconds since the epoch.
    """
    at = datetime.fromtimestamp(math.ceil(reset_at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return b"\r\nanthropic-ratelimit-%b-reset: %b\r\n" % (kind.encode(), at.encode())
