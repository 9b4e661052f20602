"""Anthropic's replies, in the form its documentation gives them, as OpenAI's clients read them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from penstock.types.errors import UpstreamUnusable
from penstock.types.usage import Usage, UsageSource
from tests.gateway.translation.exchange import to_messages

REPLY: dict[str, Any] = {
    "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Hello!"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 12, "output_tokens": 6, "service_tier": "standard"},
}


def read(**fields: Any) -> ChatCompletion:
    return ChatCompletion.model_validate_json(to_messages().reply(json.dumps({**REPLY, **fields}).encode()))


def test_a_text() -> None:
    found = read()
    assert (found.id, found.model, found.object) == (REPLY["id"], REPLY["model"], "chat.completion")
    (choice,) = found.choices
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant")
    assert (choice.message.content, choice.message.tool_calls) == ("Hello!", None)
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (12, 6, 18)
    assert found.usage.prompt_tokens_details is None


def test_texts_in_pieces_are_one() -> None:
    blocks = [{"type": "text", "text": "It is "}, {"type": "text", "text": "red.", "citations": [{"type": "x"}]}]
    assert read(content=blocks).choices[0].message.content == "It is red."


def test_calls_with_arguments_as_they_came() -> None:
    body = json.dumps({**REPLY, "content": [], "stop_reason": "tool_use"}).replace(
        '"content": []',
        '"content": [{"type":"text","text":"I look."},'
        '{"type":"tool_use","id":"toolu_1","name":"get_weather","input":{"z": 1,  "city":"B\\u00e9"}},'
        '{"type":"tool_use","id":"toolu_2","name":"now","input":{}}]',
    )
    (choice,) = ChatCompletion.model_validate_json(to_messages().reply(body.encode())).choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "I look.")
    assert choice.message.tool_calls is not None
    found = [(call.id, call.type, getattr(call, "function", None)) for call in choice.message.tool_calls]
    assert [(name, kind, f and (f.name, f.arguments)) for name, kind, f in found] == [
        ("toolu_1", "function", ("get_weather", '{"z": 1,  "city":"B\\u00e9"}')),
        ("toolu_2", "function", ("now", "{}")),
    ]


def test_calls_alone_have_no_content() -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}}
    assert read(content=[block], stop_reason="tool_use").choices[0].message.content is None


def test_thought_and_its_signatures() -> None:
    thought = [
        {"type": "thinking", "thinking": "Let me see. ", "signature": "EqoB"},
        {"type": "redacted_thinking", "data": "EmwK"},
        {"type": "thinking", "thinking": "Yes.", "signature": "EqoC"},
    ]
    message = read(content=[*thought, {"type": "text", "text": "Yes!"}]).choices[0].message
    assert message.content == "Yes!"
    assert message.model_extra == {"reasoning_content": "Let me see. Yes.", "thinking_blocks": thought}


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
        (None, "stop"),
    ],
)
def test_why_it_ended(reason: str | None, expected: str) -> None:
    assert read(stop_reason=reason).choices[0].finish_reason == expected


def test_a_refusal_says_why() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "Not this."}
    assert read(content=[], stop_reason="refusal", stop_details=details).choices[0].message.refusal == "Not this."


def test_every_token_is_counted_once() -> None:
    counts = {
        "input_tokens": 21, "cache_creation_input_tokens": 188, "cache_read_input_tokens": 2000, "output_tokens": 9,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 88},
    }  # fmt: skip
    translation = to_messages()
    found = ChatCompletion.model_validate_json(translation.reply(json.dumps({**REPLY, "usage": counts}).encode()))
    assert translation.usage == Usage(2209, 9, 2000, UsageSource.UPSTREAM, 188, 88)
    assert found.usage is not None
    assert found.usage.prompt_tokens_details is not None
    details = found.usage.prompt_tokens_details
    assert (found.usage.prompt_tokens, found.usage.total_tokens) == (2209, 2218)
    assert (details.cached_tokens, details.cache_write_tokens) == (2000, 188)


def test_usage_that_is_not_told_is_not_invented() -> None:
    translation = to_messages()
    body = {name: value for name, value in REPLY.items() if name != "usage"}
    assert ChatCompletion.model_validate_json(translation.reply(json.dumps(body).encode())).usage is None
    assert translation.usage is None


def test_half_a_character_is_replaced() -> None:
    body = json.dumps({**REPLY, "content": [{"type": "text", "text": "ab\ud83d"}]}).encode()
    found = ChatCompletion.model_validate_json(to_messages().reply(body))
    assert found.choices[0].message.content == "ab\ufffd"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}',
        json.dumps({**REPLY, "type": "completion"}).encode(),
        json.dumps({**REPLY, "content": "x"}).encode(),
        json.dumps(REPLY).replace("Hello", "\xff").encode("latin-1"),
        b'{"content":' + b"[" * 100_000,
    ],
)
def test_what_is_no_reply(body: bytes) -> None:
    with pytest.raises(UpstreamUnusable):
        to_messages().reply(body)
