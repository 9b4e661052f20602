"""Anthropic's events, in the form its documentation gives them, as OpenAI's clients read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.gateway.translation.translation import Translation
from penstock.types.errors import UpstreamFailed, UpstreamRejected
from penstock.types.usage import Usage, UsageSource
from tests.gateway.translation.exchange import chat_call, chunks, spoken, to_messages

START = {
    "type": "message_start",
    "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": [],
        "stop_reason": None, "stop_sequence": None,
        "usage": {"input_tokens": 25, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 100,
                  "cache_creation": {"ephemeral_1h_input_tokens": 3}, "output_tokens": 1},
    },
}  # fmt: skip
STOP = {"type": "message_stop"}


def event(data: dict[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def begun(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def piece(index: int, kind: str, **said: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **said}}


def closed(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def stopped(reason: str, output: int = 15, **usage: Any) -> dict[str, Any]:
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason, "stop_sequence": None},
        "usage": {"output_tokens": output, **usage},
    }


TEXT = [
    START,
    begun(0, type="text", text=""),
    {"type": "ping"},
    piece(0, "text_delta", text="Hel"),
    piece(0, "text_delta", text="lo ü"),
    closed(0),
    stopped("end_turn"),
    STOP,
]
TOOLS = [
    START,
    begun(0, type="text", text=""),
    piece(0, "text_delta", text="I look."),
    closed(0),
    begun(1, type="tool_use", id="toolu_1", name="get_weather", input={}),
    piece(1, "input_json_delta", partial_json=""),
    piece(1, "input_json_delta", partial_json='{"city": "B'),
    piece(1, "input_json_delta", partial_json='ern"}'),
    closed(1),
    begun(2, type="tool_use", id="toolu_2", name="now", input={}),
    piece(2, "input_json_delta", partial_json=""),
    closed(2),
    stopped("tool_use"),
    STOP,
]
THOUGHT = [
    START,
    begun(0, type="thinking", thinking="", signature=""),
    piece(0, "thinking_delta", thinking="Let me "),
    piece(0, "thinking_delta", thinking="see."),
    piece(0, "signature_delta", signature="EqQB"),
    closed(0),
    begun(1, type="redacted_thinking", data="EmwK"),
    closed(1),
    begun(2, type="text", text=""),
    piece(2, "text_delta", text="Yes."),
    closed(2),
    stopped("end_turn"),
    STOP,
]


def streaming(*, usage_wanted: bool = True) -> Translation:
    return to_messages(chat_call(stream=True, stream_options={"include_usage": usage_wanted}))


def told(given: list[dict[str, Any]], *, usage_wanted: bool = True) -> dict[str, Any]:
    translation = streaming(usage_wanted=usage_wanted)
    out = b"".join(translation.events(event(each)) for each in given) + translation.end()
    return spoken(chunks(out))


def test_a_text() -> None:
    found = told(TEXT)
    assert (found["content"], found["finish_reason"]) == ("Hello ü", "stop")
    (usage,) = found["usage"]
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (132, 15, 147)
    assert (usage.prompt_tokens_details.cached_tokens, usage.prompt_tokens_details.cache_write_tokens) == (100, 7)


def test_every_chunk_has_the_names_of_the_stream() -> None:
    found = chunks(b"".join(map(streaming().events, map(event, TEXT))))
    assert {(chunk.id, chunk.model, chunk.object) for chunk in found} == {
        ("msg_1", "claude-sonnet-4-5", "chat.completion.chunk")
    }
    assert found[-1].choices == []


def test_usage_is_told_only_where_it_is_wanted() -> None:
    assert told(TEXT, usage_wanted=False)["usage"] == []


def test_usage_for_the_ledger_grows_with_what_is_told() -> None:
    assert streaming().usage is None
    translation = streaming(usage_wanted=False)
    translation.events(event(START))
    assert translation.usage == Usage(132, 1, 100, UsageSource.UPSTREAM, 7, 3)
    translation.events(event(stopped("end_turn", 15, input_tokens=26, cache_read_input_tokens=None)))
    assert translation.usage == Usage(133, 15, 100, UsageSource.UPSTREAM, 7, 3), "what is told last counts"


def test_calls_of_several_tools() -> None:
    found = told(TOOLS)
    assert found["content"] == "I look."
    assert found["finish_reason"] == "tool_calls"
    assert found["tool_calls"] == {
        0: {"id": "toolu_1", "name": "get_weather", "arguments": '{"city": "Bern"}'},
        1: {"id": "toolu_2", "name": "now", "arguments": "{}"},
    }


def test_arguments_that_come_at_once() -> None:
    found = told(
        [START, begun(0, type="tool_use", id="t", name="f", input={"a": 1}), closed(0), stopped("tool_use"), STOP]
    )
    assert json.loads(found["tool_calls"][0]["arguments"]) == {"a": 1}


def test_thought_and_its_signature() -> None:
    found = told(THOUGHT)
    assert (found["reasoning_content"], found["content"]) == ("Let me see.", "Yes.")
    assert found["thinking_blocks"] == [
        {"type": "thinking", "thinking": "Let me see.", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "EmwK"},
    ]


def test_what_the_upstream_does_by_itself_is_left_out() -> None:
    found = told(
        [
            START,
            begun(0, type="server_tool_use", id="s", name="web_search", input={}),
            piece(0, "input_json_delta", partial_json='{"query":"x"}'),
            closed(0),
            begun(1, type="web_search_tool_result", tool_use_id="s", content=[]),
            closed(1),
            begun(2, type="text", text=""),
            piece(2, "citations_delta", citation={"type": "x"}),
            piece(2, "text_delta", text="Found."),
            {"type": "something_new", "x": 1},
            closed(2),
            stopped("end_turn"),
            STOP,
        ]
    )
    assert (found["content"], found["tool_calls"]) == ("Found.", {})


def test_a_refusal_says_why() -> None:
    end = stopped("refusal")
    end["delta"]["stop_details"] = {"type": "refusal", "explanation": "Not this."}
    found = told([START, end, STOP])
    assert (found["refusal"], found["finish_reason"]) == ("Not this.", "content_filter")


def test_events_of_other_line_ends_and_forms() -> None:
    translation = streaming()
    whole = b"".join(map(event, TEXT))
    assert spoken(chunks(translation.events(whole.replace(b"\n", b"\r\n"))))["content"] == "Hello ü"
    bare = b"".join(f"data:{json.dumps(each)}\n\n".encode() for each in TEXT)
    assert spoken(chunks(streaming().events(b": hello\n\n" + bare)))["content"] == "Hello ü"


def test_an_end_that_the_upstream_left_out() -> None:
    translation = streaming()
    out = b"".join(map(translation.events, map(event, TEXT[:-1])))
    found = spoken(chunks(out + translation.end()))
    assert (found["content"], found["finish_reason"]) == ("Hello ü", "stop")
    assert translation.end() == b""


@pytest.mark.parametrize("length", range(len(TEXT) - 1))
def test_a_stream_that_is_cut_off(length: int) -> None:
    translation = streaming()
    for each in TEXT[: min(length, len(TEXT) - 2)]:
        translation.events(event(each))
    with pytest.raises(UpstreamFailed, match="cut off"):
        translation.end()


def test_an_error_in_the_stream() -> None:
    translation = streaming()
    translation.events(event(START))
    with pytest.raises(UpstreamRejected) as caught:
        translation.events(event({"type": "error", "error": {"type": "overloaded_error", "message": "sk-secret"}}))
    assert caught.value.status == 529
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":',
        b"nonsense",
        b'{"type":"content_block_delta","delta":"x"}',
        b'{"type":"ping","x":"\xff"}',
        b"[" * 100_000,
    ],
)
def test_a_malformed_event(data: bytes) -> None:
    with pytest.raises(UpstreamFailed, match="malformed"):
        streaming().events(b"event: x\ndata: " + data + b"\n\n")


def test_what_is_malformed_behind_a_whole_answer_does_not_matter() -> None:
    translation = streaming()
    out = b"".join(map(translation.events, map(event, TEXT[:-1])))
    out += translation.events(b'event: message_stop\ndata: {"type":"mess\n\n')
    assert spoken(chunks(out + translation.end()))["content"] == "Hello ü"


def test_half_a_character_is_replaced() -> None:
    assert told([*TEXT[:2], piece(0, "text_delta", text="a\ud83d"), *TEXT[5:]])["content"] == "a\ufffd"


def test_a_thought_too_long_to_keep_goes_without_its_signature() -> None:
    found = told(
        [
            START,
            begun(0, type="thinking", thinking=""),
            *[piece(0, "thinking_delta", thinking="x" * 1024 * 1024)] * 5,
            piece(0, "signature_delta", signature="EqQB"),
            closed(0),
            stopped("end_turn"),
            STOP,
        ]
    )
    assert len(found["reasoning_content"]) == 5 * 1024 * 1024
    assert found["thinking_blocks"] == []
