"""Chat's replies, as OpenAI and engines give them, as Anthropic's clients read them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import Message

from penstock.types.errors import UpstreamUnusable
from penstock.types.usage import Usage, UsageSource
from tests.gateway.translation.exchange import messages_call, to_chat

REPLY: dict[str, Any] = {
    "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
    "object": "chat.completion",
    "created": 1741570283,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello!", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29},
}


def body(message: dict[str, Any], reason: str | None = "stop", **choice: Any) -> bytes:
    choices = [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason, **choice}]
    return json.dumps({**REPLY, "choices": choices}).encode()


def read(message: dict[str, Any], reason: str | None = "stop", **choice: Any) -> Message:
    return Message.model_validate_json(to_chat().reply(body(message, reason, **choice)))


def call(name: str, arguments: str, **fields: Any) -> dict[str, Any]:
    return {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": arguments}, **fields}


def test_a_text() -> None:
    found = Message.model_validate_json(to_chat().reply(json.dumps(REPLY).encode()))
    assert (found.id, found.model, found.role, found.type) == (REPLY["id"], REPLY["model"], "assistant", "message")
    assert [block.to_dict() for block in found.content] == [{"type": "text", "text": "Hello!"}]
    assert (found.stop_reason, found.stop_sequence) == ("end_turn", None)
    assert (found.usage.input_tokens, found.usage.output_tokens) == (19, 10)


@pytest.mark.parametrize("reason", ["tool_calls", "stop"])
def test_calls_with_arguments_as_they_came(reason: str) -> None:
    calls = [call("get_weather", '{"z": 1,  "city": "Bern"}'), call("now", "")]
    out = to_chat().reply(body({"content": None, "tool_calls": calls}, reason))
    assert b'"input":{"z": 1,  "city": "Bern"}' in out
    found = Message.model_validate_json(out)
    assert [block.to_dict() for block in found.content] == [
        {"type": "tool_use", "id": "call_get_weather", "name": "get_weather", "input": {"z": 1, "city": "Bern"}},
        {"type": "tool_use", "id": "call_now", "name": "now", "input": {}},
    ]
    assert found.stop_reason == "tool_use"


def test_a_call_that_was_cut_off_with_the_answer_is_left_out() -> None:
    found = read({"tool_calls": [call("f", "{}"), call("g", '{"a": "unfini')]}, "length")
    assert [getattr(block, "name", None) for block in found.content] == ["f"]
    assert found.stop_reason == "max_tokens"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thought(name: str) -> None:
    found = read({"content": "Yes.", name: "Let me see."})
    assert [block.to_dict() for block in found.content] == [
        {"type": "thinking", "thinking": "Let me see.", "signature": ""},
        {"type": "text", "text": "Yes."},
    ]


def test_signatures_survive_where_there_is_a_place_for_them() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "ZW5j"},
    ]
    found = read({"content": "Yes.", "reasoning_content": "Hm.", "thinking_blocks": blocks})
    assert [block.to_dict() for block in found.content] == [*blocks, {"type": "text", "text": "Yes."}]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        ("something_new", "end_turn"),
        (None, "end_turn"),
    ],
)
def test_why_it_ended(reason: str | None, expected: str) -> None:
    assert read({"content": "x"}, reason).stop_reason == expected


def test_the_sequence_that_ended_it_where_the_engine_tells_it() -> None:
    translation = to_chat(messages_call(stop_sequences=["END"]))
    found = Message.model_validate_json(translation.reply(body({"content": "x"}, stop_reason="END")))
    assert (found.stop_reason, found.stop_sequence) == ("stop_sequence", "END")
    found = Message.model_validate_json(translation.reply(body({"content": "x"}, stop_reason=128009)))
    assert (found.stop_reason, found.stop_sequence) == ("end_turn", None)


def test_a_refusal() -> None:
    found = read({"content": None, "refusal": "Not this."})
    assert [block.to_dict() for block in found.content] == [{"type": "text", "text": "Not this."}]
    assert found.stop_reason == "refusal"


def test_every_token_is_counted_once() -> None:
    counts = {
        "prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
        "prompt_tokens_details": {"cached_tokens": 1920, "cache_write_tokens": 6},
        "completion_tokens_details": {"reasoning_tokens": 192},
    }  # fmt: skip
    translation = to_chat()
    found = Message.model_validate_json(translation.reply(json.dumps({**REPLY, "usage": counts}).encode()))
    assert translation.usage == Usage(2006, 300, 1920, UsageSource.UPSTREAM, 6, reasoning_tokens=192)
    used = found.usage
    assert (used.input_tokens, used.cache_read_input_tokens, used.cache_creation_input_tokens) == (80, 1920, 6)
    assert used.output_tokens == 300


def test_no_usage_is_zeros_for_the_client_and_none_for_the_ledger() -> None:
    translation = to_chat()
    given = {name: value for name, value in REPLY.items() if name != "usage"}
    found = Message.model_validate_json(translation.reply(json.dumps(given).encode()))
    assert (found.usage.input_tokens, found.usage.output_tokens) == (0, 0)
    assert translation.usage is None


def test_half_a_character_is_replaced() -> None:
    (block,) = read({"content": "ab\ud83d"}).content
    assert block.to_dict()["text"] == "ab\ufffd"


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"<html>",
        b'{"error":{"message":"x"}}',
        b'{"choices":[]}',
        b'{"choices":[{"message":"x"}]}',
        json.dumps(REPLY).replace("Hello", "\xff").encode("latin-1"),
        body({"content": None, "tool_calls": [call("f", "{")]}, "tool_calls"),
        body({"content": None, "tool_calls": [call("f", "[]")]}, "tool_calls"),
    ],
)
def test_what_is_no_reply(given: bytes) -> None:
    with pytest.raises(UpstreamUnusable):
        to_chat().reply(given)
