"""
Token counts out of replies, or estimated where an upstream does not tell.

Replies to chats are read here; those of other APIs, and what else there is in some chats, by `bodies`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.gateway.dialects import bodies
from penstock.gateway.dialects.bodies import LARGEST
from penstock.gateway.dialects.call import BYTES_PER_TOKEN
from penstock.types.usage import Usage, UsageSource

_BATCH = "flex"  # OpenAI charges what this tier answers as it charges batches


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    audio_tokens: int | None = None
    cache_write_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    cached_tokens: int | None = None  # Moonshot
    prompt_cache_hit_tokens: int | None = None  # DeepSeek
    reasoning_tokens: int | None = None  # SGLang


class Reporting(msgspec.Struct):
    """A reply or event as far as it reports usage; what else is wanted of it a subclass adds."""

    usage: _Usage | None = None
    service_tier: Any = None


_decode = msgspec.json.Decoder(Reporting).decode


def reported(document: bytes, before: Usage | None = None) -> Usage | None:
    """
    Return the usage that a JSON reply or event carries, or None when it has none that can be believed.

    A document that is not JSON has none either. Which API it is of is told by the names in it.

    Args:
        before: what an earlier event of the same stream has told; where it is told in parts, this one adds to it.
    """
    try:
        found = believed(_decode(document))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found or bodies.reported(document, before)


def believed(document: Reporting) -> Usage | None:
    """Return the usage that a decoded reply or event of a chat carries, or None when it has none to be believed."""
    usage = document.usage
    if usage is None or usage.prompt_tokens is None:
        return None
    prompt, output = usage.prompt_tokens, usage.completion_tokens or 0
    if not (0 <= prompt <= LARGEST and 0 <= output <= LARGEST):
        return None
    if (
        usage.prompt_tokens_details is None
        and usage.completion_tokens_details is None
        and usage.total_tokens == prompt + output
        and document.service_tier != _BATCH
        and (usage.cached_tokens or usage.prompt_cache_hit_tokens or usage.reasoning_tokens) is None
    ):
        return Usage(prompt, output, 0, UsageSource.UPSTREAM)  # as nearly all are
    return _detailed(prompt, output, usage, batch=document.service_tier == _BATCH)


def _detailed(prompt: int, output: int, usage: _Usage, *, batch: bool) -> Usage | None:
    of_prompt, of_output = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = (of_prompt and of_prompt.cached_tokens) or usage.cached_tokens or usage.prompt_cache_hit_tokens or 0
    thought = (of_output and of_output.reasoning_tokens) or usage.reasoning_tokens or 0
    # xAI leaves thoughts out of the completion, and Gemini's compatible API tells them in the total alone.
    unsaid = max(0, (usage.total_tokens or 0) - prompt - output)
    if unsaid or thought > output:
        thought = max(thought, unsaid)
        output += thought
    return bodies.checked(
        Usage(
            input_tokens=prompt,
            output_tokens=output,
            cache_read_tokens=cached,
            source=UsageSource.UPSTREAM,
            cache_write_tokens=(of_prompt and of_prompt.cache_write_tokens) or 0,
            reasoning_tokens=thought,
            audio_input_tokens=(of_prompt and of_prompt.audio_tokens) or 0,
            audio_output_tokens=(of_output and of_output.audio_tokens) or 0,
            batch=batch,
        )
    )


def counted(prompt_tokens: int, content_events: int) -> Usage:
    """Return the usage of a stream from what was delivered: engines send a token or more per event."""
    return Usage(prompt_tokens, content_events, 0, UsageSource.COUNTED)


def estimated(prompt_tokens: int, reply_bytes: int) -> Usage:
    """Return the usage of a whole reply that does not report any, from its size: 0 where output is free."""
    return Usage(prompt_tokens, -(-reply_bytes // BYTES_PER_TOKEN), 0, UsageSource.ESTIMATED)


def with_output(told: Usage, prompt_tokens: int, content_events: int) -> Usage:
    """
    Return a usage with the output of a stream that broke off, as `counted`; the rest stays as it was told.

    A prompt of no tokens is not one: some upstreams begin with zeros, and tell in the end what it was.
    """
    prompt = told.input_tokens or prompt_tokens
    return msgspec.structs.replace(told, input_tokens=prompt, output_tokens=content_events, source=UsageSource.COUNTED)


def of_all(first: Usage, choices: int) -> Usage:
    """Return the usage of all choices where that of the first alone is known: as if each were as long."""
    return msgspec.structs.replace(
        first,
        output_tokens=first.output_tokens * choices,
        reasoning_tokens=first.reasoning_tokens * choices,
        audio_output_tokens=first.audio_output_tokens * choices,
        source=UsageSource.ESTIMATED,
    )
