"""
Token counts out of the replies and events of APIs other than OpenAI's chats.

Providers differ in what their prompt count holds. OpenAI's Responses and Gemini count cached tokens in it; Anthropic
and Bedrock leave out what was read from the cache and what was written to it. Gemini leaves thoughts out of its
candidates. All become one `Usage`, in which every token is in the prompt's count or in the answer's, once.
"""

from __future__ import annotations

import msgspec

from penstock.types.usage import Usage, UsageSource

LARGEST = 10**9  # no exchange has more tokens; larger figures are an upstream's error
_AUDIO = "AUDIO"


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    audio_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None


class _CacheCreation(msgspec.Struct):
    ephemeral_1h_input_tokens: int | None = None


class _Iteration(msgspec.Struct):
    type: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None


class _Usage(msgspec.Struct):
    """OpenAI's Responses, Anthropic's Messages, and Bedrock's Converse."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None  # of Responses from here on
    output_tokens_details: _OutputDetails | None = None
    cache_read_input_tokens: int | None = None  # of Messages
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    iterations: list[_Iteration] | None = None
    in_converse: int | None = msgspec.field(name="inputTokens", default=None)
    out_converse: int | None = msgspec.field(name="outputTokens", default=None)
    read_converse: int | None = msgspec.field(name="cacheReadInputTokens", default=None)
    written_converse: int | None = msgspec.field(name="cacheWriteInputTokens", default=None)


class _Modality(msgspec.Struct, rename="camel"):
    modality: str = ""
    token_count: int = 0


class _Gemini(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    cached_content_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    prompt_tokens_details: list[_Modality] | None = None
    candidates_tokens_details: list[_Modality] | None = None


class _Inner(msgspec.Struct):
    usage: _Usage | None = None
    service_tier: str | None = None


class _Document(msgspec.Struct):
    usage: _Usage | None = None
    service_tier: str | None = None
    message: _Inner | None = None  # in the first event of Messages
    response: _Inner | None = None  # in the last event of Responses
    gemini: _Gemini | None = msgspec.field(name="usageMetadata", default=None)


_decode = msgspec.json.Decoder(_Document).decode


def reported(document: bytes, before: Usage | None = None) -> Usage | None:
    """
    Return the usage that a JSON reply or event of one of these APIs carries; None when it has none to be believed.

    Args:
        before: what an earlier event of the same stream has told. Messages tell the prompt's in the first event and the
            answer's later.
    """
    try:
        found = _decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if found.gemini is not None:
        return _gemini(found.gemini)
    inner = found.message or found.response or _Inner(found.usage, found.service_tier)
    usage = inner.usage
    if usage is None:
        return None
    if usage.in_converse is not None:
        read, written = usage.read_converse or 0, usage.written_converse or 0
        return _apart(usage.in_converse, usage.out_converse or 0, read, written, 0)
    if usage.input_tokens is None:
        return _added(before, usage.output_tokens)
    if usage.cache_read_input_tokens is not None or usage.cache_creation_input_tokens is not None:
        return _messages(usage.input_tokens, usage, before)
    return _responses(usage.input_tokens, usage, batch=inner.service_tier == "flex")


def checked(usage: Usage) -> Usage | None:
    """Return a usage whose counts are possible together, else None."""
    prompt = (usage.cache_read_tokens, usage.cache_write_tokens, usage.audio_input_tokens)
    if (
        0 <= usage.input_tokens <= LARGEST
        and 0 <= usage.output_tokens <= LARGEST
        and min(prompt) >= 0
        and usage.cache_read_tokens + usage.cache_write_tokens <= usage.input_tokens
        and usage.audio_input_tokens <= usage.input_tokens
        and 0 <= usage.cache_write_1h_tokens <= usage.cache_write_tokens
        and 0 <= usage.reasoning_tokens <= usage.output_tokens
        and 0 <= usage.audio_output_tokens <= usage.output_tokens
    ):
        return usage
    return None


def _responses(prompt: int, usage: _Usage, *, batch: bool) -> Usage | None:
    of_prompt, of_output = usage.input_tokens_details, usage.output_tokens_details
    return checked(
        Usage(
            input_tokens=prompt,
            output_tokens=usage.output_tokens or 0,
            cache_read_tokens=(of_prompt and of_prompt.cached_tokens) or 0,
            source=UsageSource.UPSTREAM,
            cache_write_tokens=(of_prompt and of_prompt.cache_write_tokens) or 0,
            reasoning_tokens=(of_output and of_output.reasoning_tokens) or 0,
            audio_input_tokens=(of_prompt and of_prompt.audio_tokens) or 0,
            audio_output_tokens=(of_output and of_output.audio_tokens) or 0,
            batch=batch,
        )
    )


def _messages(prompt: int, usage: _Usage, before: Usage | None) -> Usage | None:
    """Return the usage of Messages. What summed up the conversation on the way is charged, and not in the sums."""
    output, read, written = (
        usage.output_tokens or 0,
        usage.cache_read_input_tokens or 0,
        usage.cache_creation_input_tokens or 0,
    )
    hour = _hour(usage.cache_creation)
    if usage.cache_creation is None and before is not None and before.cache_write_tokens == written:
        hour = before.cache_write_1h_tokens  # only the first event of a stream tells how long what was written stays
    for each in usage.iterations or ():
        if each.type != "compaction":
            continue
        parts = (
            each.input_tokens,
            each.output_tokens,
            each.cache_read_input_tokens or 0,
            each.cache_creation_input_tokens or 0,
        )
        if min(parts) < 0:
            return None
        prompt, output, read, written = prompt + parts[0], output + parts[1], read + parts[2], written + parts[3]
        hour += _hour(each.cache_creation)
    return _apart(prompt, output, read, written, hour)


def _hour(creation: _CacheCreation | None) -> int:
    return (creation and creation.ephemeral_1h_input_tokens) or 0


def _apart(prompt: int, output: int, read: int, written: int, hour: int) -> Usage | None:
    """Return the usage where the prompt's count holds neither what was read from the cache nor what was written."""
    if min(prompt, read, written) < 0:
        return None  # a negative part could make the sum look possible
    return checked(
        Usage(
            input_tokens=prompt + read + written,
            output_tokens=output,
            cache_read_tokens=read,
            source=UsageSource.UPSTREAM,
            cache_write_tokens=written,
            cache_write_1h_tokens=hour,
        )
    )


def _added(before: Usage | None, output: int | None) -> Usage | None:
    if before is None or output is None or before.source is not UsageSource.UPSTREAM:
        return None
    return checked(msgspec.structs.replace(before, output_tokens=output))


def _gemini(usage: _Gemini) -> Usage | None:
    if usage.prompt_token_count is None:
        return None
    parts = (usage.prompt_token_count, usage.tool_use_prompt_token_count or 0)
    said, thought = usage.candidates_token_count or 0, usage.thoughts_token_count or 0
    if min(*parts, said, thought) < 0:
        return None
    return checked(
        Usage(
            input_tokens=sum(parts),
            output_tokens=said + thought,
            cache_read_tokens=usage.cached_content_token_count or 0,
            source=UsageSource.UPSTREAM,
            reasoning_tokens=thought,
            audio_input_tokens=_audio(usage.prompt_tokens_details),
            audio_output_tokens=_audio(usage.candidates_tokens_details),
        )
    )


def _audio(details: list[_Modality] | None) -> int:
    return sum(part.token_count for part in details or () if part.modality == _AUDIO)
