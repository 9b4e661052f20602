"""Chunks of chat, as OpenAI and engines give them, as Anthropic's clients read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.gateway.dialects.openai_answers import END as DONE
from penstock.types.errors import UpstreamFailed, UpstreamRejected
from penstock.types.usage import Usage, UsageSource
from tests.gateway.translation.exchange import message, messages_call, to_chat

USAGE = {
    "prompt_tokens": 132, "completion_tokens": 15, "total_tokens": 147,
    "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 7},
}  # fmt: skip


def chunk(delta: dict[str, Any] | None = None, reason: str | None = None, **fields: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]
    made = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o", "choices": choices}
    return f"data: {json.dumps({**made, **fields})}\n\n".encode()


def call(index: int | None, arguments: str = "", *, name: str | None = None, tool: str | None = None) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": tool} if tool else {})
    made: dict[str, Any] = {"function": function} | ({"id": name, "type": "function"} if name else {})
    return made if index is None else {"index": index, **made}


def calls(*given: dict[str, Any]) -> bytes:
    return chunk({"tool_calls": list(given)})


ROLE = chunk({"role": "assistant", "content": "", "refusal": None})
TEXT = [ROLE, chunk({"content": "Hel"}), chunk({"content": "lo ü"}), chunk({}, "stop"), chunk(usage=USAGE), DONE]


def told(*given: bytes) -> dict[str, Any]:
    translation = to_chat()
    return message(b"".join(map(translation.events, given)) + translation.end()).to_dict()


def blocks(*given: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = told(*given)["content"]
    return found


def use(name: str, tool: str, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": name, "name": tool, "input": given}


def test_a_text() -> None:
    assert told(*TEXT) == {
        "id": "chatcmpl-1",
        "type": "message",
        "role": "assistant",
        "model": "gpt-4o",
        "content": [{"type": "text", "text": "Hello ü"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 25,
            "cache_creation_input_tokens": 7,
            "cache_read_input_tokens": 100,
            "output_tokens": 15,
        },
    }


def test_each_piece_goes_on_at_once() -> None:
    translation = to_chat()
    assert translation.events(ROLE).count(b"event: ") == 1, "the stream begins before there is content"
    assert b"Hel" in translation.events(TEXT[1])
    assert translation.events(TEXT[2]).count(b"event: ") == 1


def test_the_end_waits_for_the_usage_or_for_done() -> None:
    translation = to_chat()
    for each in TEXT[:3]:
        translation.events(each)
    assert (translation.events(TEXT[3]), translation.usage) == (b"", None)
    assert b"message_stop" in translation.events(TEXT[4])
    assert translation.usage == Usage(132, 15, 100, UsageSource.UPSTREAM, 7)
    assert translation.events(DONE) + translation.end() == b""


@pytest.mark.parametrize(
    "end",
    [
        [chunk({}, "stop"), DONE],
        [chunk({"content": ""}, "stop"), chunk(usage=USAGE)],
        [chunk({}, "stop", usage=USAGE), DONE],
        [chunk({}, "stop")],
        [DONE],
        [chunk({}, "stop"), b"data: {\n\n"],
        [chunk({}, "stop"), chunk({}, usage=USAGE), chunk(usage=USAGE), DONE],
    ],
)
def test_forms_of_the_end(end: list[bytes]) -> None:
    found = told(*TEXT[:3], *end)
    assert (found["content"], found["stop_reason"]) == ([{"type": "text", "text": "Hello ü"}], "end_turn")


def test_usage_with_every_chunk() -> None:
    early = {"prompt_tokens": 132, "completion_tokens": 1, "total_tokens": 133}
    found = told(chunk({"role": "assistant", "content": "a"}, usage=early), *TEXT[3:])
    assert found["usage"]["output_tokens"] == 15


def test_thought_text_and_calls_in_turn() -> None:
    assert blocks(
        chunk({"role": "assistant", "content": None, "reasoning_content": "Let me "}),
        chunk({"reasoning_content": "see.", "content": None}),
        chunk({"content": "I look."}),
        calls(call(0, name="call_1", tool="get_weather")),
        calls(call(0, '{"city":')),
        calls(call(0, '"Bern"}')),
        calls(call(1, "", name="call_2", tool="now")),
        chunk({}, "tool_calls"),
        DONE,
    ) == [
        {"type": "thinking", "thinking": "Let me see.", "signature": ""},
        {"type": "text", "text": "I look."},
        use("call_1", "get_weather", city="Bern"),
        use("call_2", "now"),
    ]


def test_calls_that_take_turns() -> None:
    assert blocks(
        ROLE,
        calls(call(0, name="a", tool="f"), call(1, name="b", tool="g")),
        calls(call(1, '{"y"')),
        calls(call(0, '{"x"')),
        calls(call(1, ":2}"), call(0, ":1}")),
        chunk({"content": "So."}),
        chunk({}, "tool_calls"),
        DONE,
    ) == [use("a", "f", x=1), use("b", "g", y=2), {"type": "text", "text": "So."}]


def test_the_first_call_goes_on_at_once() -> None:
    translation = to_chat()
    translation.events(ROLE)
    assert b"content_block_start" in translation.events(calls(call(0, name="a", tool="f")))
    assert b"input_json_delta" in translation.events(calls(call(0, '{"x":1}')))


@pytest.mark.parametrize(
    "given",
    [
        [call(None, '{"x":1}', name="a", tool="f"), call(None, '{"y":2}', name="b", tool="g")],
        [call(None, '{"x":', name="a", tool="f"), call(None, "1}"), call(None, '{"y":2}', name="b", tool="g")],
        [call(0, '{"x":1}', name="a", tool="f"), call(0, '{"y":2}', name="b", tool="g")],
        [call(0, '{"x":', name="a"), call(0, "1}", tool="f"), call(1, '{"y":2}', name="b", tool="g")],
        [
            call(0, '{"x":', name="a", tool="f"),
            call(0, "1}", name="a", tool="f"),
            call(5, '{"y":2}', name="b", tool="g"),
        ],
    ],
)
def test_calls_as_engines_number_them(given: list[dict[str, Any]]) -> None:
    expected = [use("a", "f", x=1), use("b", "g", y=2)]
    assert blocks(ROLE, *map(calls, given), chunk({}, "stop"), DONE) == expected
    assert blocks(ROLE, calls(*given), chunk({}, "tool_calls"), DONE) == expected


def test_a_call_without_an_id_gets_one() -> None:
    found = blocks(ROLE, calls(call(0, "{}", tool="f")), calls(call(1, "{}", tool="f")), chunk({}, "tool_calls"), DONE)
    assert len({block["id"] for block in found}) == 2


def test_a_call_is_the_reason_even_where_the_engine_says_stop() -> None:
    assert told(ROLE, calls(call(0, "{}", name="a", tool="f")), chunk({}, "stop"), DONE)["stop_reason"] == "tool_use"


def test_signatures_survive_where_there_is_a_place_for_them() -> None:
    signed = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    hidden = {"type": "redacted_thinking", "data": "ZW5j"}
    assert blocks(
        ROLE,
        chunk({"reasoning_content": "Hm."}),
        chunk({"thinking_blocks": [signed]}),
        chunk({"thinking_blocks": [hidden]}),
        chunk({"content": "Yes."}),
        chunk({}, "stop"),
        DONE,
    ) == [signed, hidden, {"type": "text", "text": "Yes."}]


def test_a_refusal() -> None:
    found = told(ROLE, chunk({"refusal": "Not "}), chunk({"refusal": "this."}), chunk({}, "stop"), DONE)
    assert (found["content"], found["stop_reason"]) == ([{"type": "text", "text": "Not this."}], "refusal")


def test_the_sequence_that_ended_it_where_the_engine_tells_it() -> None:
    translation = to_chat(messages_call(stop_sequences=["END"]))
    end = {"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END"}
    found = message(b"".join(map(translation.events, [ROLE, chunk(choices=[end]), DONE])))
    assert (found.stop_reason, found.stop_sequence) == ("stop_sequence", "END")


def test_half_a_character_is_replaced() -> None:
    assert blocks(ROLE, chunk({"content": "a\ud83d"}), *TEXT[3:]) == [{"type": "text", "text": "a\ufffd"}]


@pytest.mark.parametrize("length", range(4))
def test_a_stream_that_is_cut_off(length: int) -> None:
    translation = to_chat()
    for each in TEXT[: min(length, 3)]:
        translation.events(each)
    with pytest.raises(UpstreamFailed, match="cut off"):
        translation.end()


def test_an_error_in_the_stream() -> None:
    translation = to_chat()
    translation.events(ROLE)
    with pytest.raises(UpstreamRejected) as caught:
        translation.events(b'data: {"error":{"message":"sk-secret","type":"invalid_request_error","code":400}}\n\n')
    assert caught.value.status == 400
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [b"{", b"nonsense", b'{"choices":[{"delta":"x"}]}', b'{"x":"\xff"}', b'{"choices":[{"delta":{"content":[1]}}]}'],
)
def test_a_malformed_event(data: bytes) -> None:
    with pytest.raises(UpstreamFailed, match="malformed"):
        to_chat().events(b"data: " + data + b"\n\n")


def test_what_is_held_is_bounded() -> None:
    translation = to_chat()
    translation.events(ROLE + calls(call(0, name="a", tool="f"), call(1, name="b", tool="g")))
    with pytest.raises(UpstreamFailed, match="8 MiB"):
        for _ in range(9):
            translation.events(calls(call(1, "x" * 1024 * 1024)))


def test_the_number_of_calls_is_bounded() -> None:
    translation = to_chat()
    with pytest.raises(UpstreamFailed, match="1,024"):
        translation.events(calls(*[call(index, name="a", tool="f") for index in range(2000)]))
