"""Usage in the words of either dialect."""

from __future__ import annotations

import msgspec

from penstock.types.usage import Usage


class _PromptDetails(msgspec.Struct, omit_defaults=True):
    cached_tokens: int
    cache_write_tokens: int = 0


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int


class Chat(msgspec.Struct, omit_defaults=True):
    """The `usage` of chat, whose prompt holds what was read from a cache and what was written to it."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class Messages(msgspec.Struct):
    """The `usage` of messages, whose input holds neither."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int


def to_chat(usage: Usage) -> Chat:
    """Return the usage for a client that speaks chat."""
    read, written, thought = usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens
    return Chat(
        usage.input_tokens,
        usage.output_tokens,
        usage.input_tokens + usage.output_tokens,
        _PromptDetails(read, written) if read or written else None,
        _CompletionDetails(thought) if thought else None,
    )


def to_messages(usage: Usage | None) -> Messages:
    """Return the usage for a client that speaks messages, which expects one: zeros where nothing is known yet."""
    if usage is None:
        return Messages(0, 0, 0, 0)
    read, written = usage.cache_read_tokens, usage.cache_write_tokens
    return Messages(usage.input_tokens - read - written, written, read, usage.output_tokens)
