"""What an exchange used, in tokens, and how we know."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class UsageSource(StrEnum):
    """Where the token counts come from."""

    UPSTREAM = "upstream"  # the engine or provider reported them
    COUNTED = "counted"  # we counted what was delivered
    ESTIMATED = "estimated"  # derived from sizes in bytes
    NONE = "none"  # nothing was used


class Usage(msgspec.Struct, frozen=True):
    """
    Tokens of one exchange.

    Attributes:
        input_tokens: prompt tokens, cached ones included.
        output_tokens: generated tokens, reasoning included.
        cache_read_tokens: the part of `input_tokens` the upstream served from its prompt cache.
        source: how the counts are known.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    source: UsageSource = UsageSource.NONE
