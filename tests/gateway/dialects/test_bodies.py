"""Usage as providers and engines write it, after their documentation; the numbers are chosen to be told apart."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.dialects import usage
from penstock.gateway.dialects.bodies import LARGEST
from penstock.pricing.price import Price, cost_nano
from penstock.types.usage import Usage, UsageSource

UP = UsageSource.UPSTREAM


def read(document: Any, before: Usage | None = None) -> Usage | None:
    return usage.reported(json.dumps(document).encode(), before)


CHAT = {"id": "chatcmpl-1", "object": "chat.completion", "choices": []}
BODIES: dict[str, tuple[Any, Usage]] = {
    "openai chat": (
        {
            **CHAT,
            "service_tier": "default",
            "usage": {
                "prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
                "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 20},
                "completion_tokens_details": {
                    "reasoning_tokens": 192, "audio_tokens": 5,
                    "accepted_prediction_tokens": 7, "rejected_prediction_tokens": 9,
                },
            },
        },
        Usage(2006, 300, 1920, UP, 0, 0, 192, 20, 5),
    ),
    "openai chat, flex": (
        {**CHAT, "service_tier": "flex", "usage": {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10,
                                                   "prompt_tokens_details": {"cached_tokens": 0}}},
        Usage(4, 6, 0, UP, batch=True),
    ),
    "a compatible server's chat, flex, without details": (
        {**CHAT, "service_tier": "flex", "usage": {"prompt_tokens": 4, "completion_tokens": 6, "total_tokens": 10}},
        Usage(4, 6, 0, UP, batch=True),
    ),
    "openai embeddings": (
        {"object": "list", "data": [], "usage": {"prompt_tokens": 8, "total_tokens": 8}}, Usage(8, 0, 0, UP)
    ),
    "openai responses": (
        {
            "object": "response", "output": [],
            "usage": {
                "input_tokens": 328, "input_tokens_details": {"cached_tokens": 256},
                "output_tokens": 52, "output_tokens_details": {"reasoning_tokens": 40}, "total_tokens": 380,
            },
        },
        Usage(328, 52, 256, UP, reasoning_tokens=40),
    ),
    "openai responses, the last event": (
        {
            "type": "response.completed",
            "response": {
                "object": "response", "service_tier": "flex",
                "usage": {"input_tokens": 37, "output_tokens": 11, "total_tokens": 48,
                          "input_tokens_details": {"cached_tokens": 0},
                          "output_tokens_details": {"reasoning_tokens": 0}},
            },
        },
        Usage(37, 11, 0, UP, batch=True),
    ),
    "anthropic messages": (
        {
            "type": "message", "role": "assistant", "content": [],
            "usage": {
                "input_tokens": 50, "cache_read_input_tokens": 100_000, "cache_creation_input_tokens": 748,
                "cache_creation": {"ephemeral_5m_input_tokens": 456, "ephemeral_1h_input_tokens": 292},
                "output_tokens": 503, "server_tool_use": {"web_search_requests": 1}, "service_tier": "standard",
            },
        },
        Usage(100_798, 503, 100_000, UP, 748, 292),
    ),
    "gemini": (
        {
            "candidates": [{"content": {"parts": [{"text": "x"}]}}],
            "usageMetadata": {
                "promptTokenCount": 1000, "cachedContentTokenCount": 400, "candidatesTokenCount": 30,
                "thoughtsTokenCount": 70, "toolUsePromptTokenCount": 11, "totalTokenCount": 1111,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 900},
                                        {"modality": "AUDIO", "tokenCount": 100}],
                "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 30}],
            },
        },
        Usage(1011, 100, 400, UP, 0, 0, 70, 100, 0),
    ),
    "bedrock converse": (
        {
            "output": {"message": {"role": "assistant", "content": [{"text": "x"}]}}, "stopReason": "end_turn",
            "usage": {"inputTokens": 30, "outputTokens": 628, "totalTokens": 1758,
                      "cacheReadInputTokens": 1000, "cacheWriteInputTokens": 100},
        },
        Usage(1130, 628, 1000, UP, 100),
    ),
    "bedrock converse, the event of a stream": (
        {"metadata": None, "usage": {"inputTokens": 47, "outputTokens": 20, "totalTokens": 67}, "metrics": {}},
        Usage(47, 20, 0, UP),
    ),
    "vllm": (
        {**CHAT, "usage": {"prompt_tokens": 90, "total_tokens": 100, "completion_tokens": 10,
                           "prompt_tokens_details": {"cached_tokens": 64}}},
        Usage(90, 10, 64, UP),
    ),
    "llama.cpp": (
        {**CHAT, "usage": {"completion_tokens": 10, "prompt_tokens": 90, "total_tokens": 100,
                           "prompt_tokens_details": {"cached_tokens": 89}}, "timings": {"cache_n": 89}},
        Usage(90, 10, 89, UP),
    ),
    "sglang": (
        {**CHAT, "usage": {"prompt_tokens": 90, "total_tokens": 100, "completion_tokens": 10,
                           "prompt_tokens_details": {"cached_tokens": 32}, "reasoning_tokens": 4}},
        Usage(90, 10, 32, UP, reasoning_tokens=4),
    ),
    "deepseek": (
        {**CHAT, "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30,
                           "prompt_cache_hit_tokens": 15, "prompt_cache_miss_tokens": 5}},
        Usage(20, 10, 15, UP),
    ),
    "moonshot": (
        {**CHAT, "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30, "cached_tokens": 12}},
        Usage(20, 10, 12, UP),
    ),
    "openrouter": (
        {**CHAT, "usage": {"prompt_tokens": 200, "completion_tokens": 10, "total_tokens": 210, "cost": 0.1,
                           "prompt_tokens_details": {"cached_tokens": 50, "cache_write_tokens": 100}}},
        Usage(200, 10, 50, UP, 100),
    ),
    "xai, whose completion leaves thoughts out": (
        {**CHAT, "usage": {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135,
                           "completion_tokens_details": {"reasoning_tokens": 94}}},
        Usage(32, 103, 0, UP, reasoning_tokens=94),
    ),
    "gemini's compatible api, which tells thoughts in the total alone": (
        {**CHAT, "usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 330}},
        Usage(10, 320, 0, UP, reasoning_tokens=300),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_every_token_is_counted_once_whoever_writes_it(name: str) -> None:
    document, expected = BODIES[name]
    assert read(document) == expected


def test_a_stream_of_messages_tells_the_prompt_first_and_the_answer_last() -> None:
    start = {
        "type": "message_start",
        "message": {
            "type": "message",
            "usage": {"input_tokens": 25, "cache_read_input_tokens": 70, "cache_creation_input_tokens": 5,
                      "output_tokens": 1},
        },
    }  # fmt: skip
    first = read(start)
    assert first == Usage(100, 1, 70, UP, 5)
    assert read({"type": "content_block_delta", "delta": {"text": "x"}}, first) is None
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}}
    assert read(delta, first) == Usage(100, 15, 70, UP, 5)
    assert read(delta) is None, "an answer alone is no usage"
    whole = {"type": "message_delta", "usage": {"input_tokens": 30, "cache_read_input_tokens": 70,
                                                "cache_creation_input_tokens": 5, "output_tokens": 15}}  # fmt: skip
    assert read(whole, first) == Usage(105, 15, 70, UP, 5), "of a search, whose results came into the prompt"


def test_a_bill_of_a_cache_that_was_written_and_read_has_no_token_twice() -> None:
    """As two reports about a peer had it: written tokens billed as input again, and read ones at full price."""
    claude = Price(3 * 10**9, 15 * 10**9, 300_000_000, 3_750_000_000)
    found = read({"usage": {"input_tokens": 8, "cache_creation_input_tokens": 12_304, "cache_read_input_tokens": 0,
                            "output_tokens": 550}})  # fmt: skip
    assert found is not None
    assert cost_nano(claude, found) == 8 * 3000 + 12_304 * 3750 + 550 * 15_000
    gemini = Price(1_250_000_000, 10_000_000_000, 125_000_000)
    found = read({"usageMetadata": {"promptTokenCount": 500_000, "cachedContentTokenCount": 499_000,
                                    "candidatesTokenCount": 1000}})  # fmt: skip
    assert found is not None
    assert cost_nano(gemini, found) == 1000 * 1250 + 499_000 * 125 + 1000 * 10_000


@pytest.mark.parametrize(
    "document",
    [
        {"usage": {"input_tokens": -1, "output_tokens": 5}},
        {"usage": {"input_tokens": 5, "output_tokens": -5}},
        {"usage": {"input_tokens": 5, "input_tokens_details": {"cached_tokens": 6}}},
        {"usage": {"input_tokens": 5, "output_tokens": 1, "output_tokens_details": {"reasoning_tokens": 2}}},
        {"usage": {"input_tokens": 5, "cache_read_input_tokens": -5, "cache_creation_input_tokens": 5}},
        {"usage": {"input_tokens": 5, "cache_read_input_tokens": 10**15, "output_tokens": 5}},
        {"usage": {"input_tokens": 5, "cache_creation_input_tokens": 2,
                   "cache_creation": {"ephemeral_1h_input_tokens": 3}}},
        {"usage": {"inputTokens": 5, "outputTokens": 2, "cacheReadInputTokens": -1}},
        {"usage": {"inputTokens": "5"}},
        {"usageMetadata": {"candidatesTokenCount": 5}},
        {"usageMetadata": {"promptTokenCount": 10, "thoughtsTokenCount": -5, "candidatesTokenCount": 5}},
        {"usageMetadata": {"promptTokenCount": 10, "cachedContentTokenCount": 11}},
        {"usageMetadata": {"promptTokenCount": 10**10}},
        {"usageMetadata": []},
        {"usage": {"prompt_tokens": 5, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": -1}}},
        {"usage": {"prompt_tokens": 5, "completion_tokens": 5, "completion_tokens_details": {"audio_tokens": 6}}},
        {"usage": {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10**12}},
        {"message": {"usage": {"input_tokens": 1.5}}},
        {"response": {"usage": None}},
        {"message": "an error, perhaps"},
    ],
)  # fmt: skip
def test_what_cannot_be_is_not_believed(document: Any) -> None:
    assert read(document) is None


numbers = st.none() | st.integers(-10, 10) | st.integers(-(10**12), 10**12)
names = st.sampled_from(
    [
        "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens", "input_tokens",
        "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "inputTokens", "outputTokens",
        "cacheReadInputTokens", "cacheWriteInputTokens", "prompt_cache_hit_tokens",
    ]
)  # fmt: skip
details = st.fixed_dictionaries(
    {},
    optional={
        name: st.dictionaries(st.sampled_from(["cached_tokens", "audio_tokens", "reasoning_tokens"]), numbers)
        for name in ("prompt_tokens_details", "completion_tokens_details", "input_tokens_details")
    },
)
gemini_names = st.sampled_from(
    ["promptTokenCount", "candidatesTokenCount", "cachedContentTokenCount", "thoughtsTokenCount"]
)


@given(st.dictionaries(names, numbers), details, st.none() | st.dictionaries(gemini_names, numbers))
def test_whatever_is_believed_is_possible(counts: dict[str, Any], more: dict[str, Any], gemini: Any) -> None:
    found = read({"usage": {**counts, **more}, **({"usageMetadata": gemini} if gemini else {})})
    if found is None:
        return
    assert 0 <= found.input_tokens <= LARGEST
    assert 0 <= found.output_tokens <= LARGEST
    assert 0 <= found.cache_read_tokens + found.cache_write_tokens <= found.input_tokens
    assert min(found.cache_read_tokens, found.cache_write_tokens, found.audio_input_tokens) >= 0
    assert 0 <= found.reasoning_tokens <= found.output_tokens
    assert found.source is UP


def test_what_is_kept_for_an_hour_is_told_at_the_beginning_of_a_stream_alone() -> None:
    counts = {"input_tokens": 3, "cache_creation_input_tokens": 10_000, "cache_read_input_tokens": 0}
    hour = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 10_000}
    first = read(
        {"type": "message_start", "message": {"usage": {**counts, "cache_creation": hour, "output_tokens": 1}}}
    )
    last = read({"type": "message_delta", "usage": {**counts, "output_tokens": 50}}, first)
    assert last == Usage(10_003, 50, 0, UP, 10_000, 10_000)


def test_summing_up_the_conversation_is_charged_too() -> None:
    """Anthropic leaves it out of its sums."""
    summed = {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3500,
              "cache_read_input_tokens": 20, "cache_creation_input_tokens": 3}  # fmt: skip
    said = {"type": "message", "input_tokens": 23_000, "output_tokens": 1000,
            "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}  # fmt: skip
    told = {"input_tokens": 23_000, "output_tokens": 1000, "cache_read_input_tokens": 0,
            "cache_creation_input_tokens": 0, "iterations": [summed, said]}  # fmt: skip
    assert read({"type": "message", "usage": told}) == Usage(203_023, 4500, 20, UP, 3)
    assert read({"type": "message", "usage": told | {"iterations": [summed | {"input_tokens": -1}]}}) is None
