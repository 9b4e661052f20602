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


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    Tokens of one exchange. Every token is in `input_tokens` or `output_tokens`, once; the others say what part is what.

    Attributes:
        input_tokens: prompt tokens, cached ones included.
        output_tokens: generated tokens, reasoning included.
        cache_read_tokens: the part of `input_tokens` the upstream served from its prompt cache.
        source: how the counts are known.
        cache_write_tokens: the part of `input_tokens` the upstream put into its prompt cache.
        cache_write_1h_tokens: the part of `cache_write_tokens` that is to stay there for an hour.
        reasoning_tokens: the part of `output_tokens` that was thought and not said.
        audio_input_tokens: the part of `input_tokens` that was sound.
        audio_output_tokens: the part of `output_tokens` that is sound.
        batch: the upstream did it at its price for batches.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    source: UsageSource = UsageSource.NONE
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    audio_input_tokens: int = 0
    audio_output_tokens: int = 0
    batch: bool = False
