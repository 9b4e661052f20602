"""What of an answer is its text, whole or in events, in every dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.shadow.transcript import Transcript
from penstock.types.dialect import Dialect

LONG = 10_000


def event(document: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(document)}\n\n".encode()


def heard(dialect: Dialect, *documents: Any) -> Transcript:
    transcript = Transcript(dialect, LONG)
    transcript.hear(b"".join(event(document) for document in documents))
    return transcript


def read(dialect: Dialect, document: Any, most: int = LONG) -> Transcript:
    transcript = Transcript(dialect, most)
    transcript.read(json.dumps(document).encode())
    return transcript


def delta(index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"id": "changes", "choices": [{"index": index, "delta": fields, "finish_reason": None}]}


def call(index: int, **function: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "id": "changes", "type": "function", "function": function}]}


def test_a_chat_says_the_same_whole_and_in_events() -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"at":1}'}}]
    message = {"role": "assistant", "content": "one two", "tool_calls": calls, "reasoning_content": "hm"}
    whole = read(Dialect.CHAT, {"choices": [{"index": 0, "message": message}], "usage": {"prompt_tokens": 1}})
    parts = heard(
        Dialect.CHAT,
        delta(role="assistant", content=""),
        delta(reasoning_content="hm"),
        delta(content="one "),
        delta(content="two"),
        delta(**call(0, name="look", arguments="")),
        delta(**call(0, arguments='{"at":')),
        delta(**call(0, arguments="1}")),
        {"choices": [], "usage": {"prompt_tokens": 1}},
    )
    assert whole.text == parts.text == 'one two\nlook{"at":1}'
    assert whole.whole
    assert parts.whole


def test_choices_are_put_together_whichever_order_their_events_come_in() -> None:
    one = heard(Dialect.CHAT, delta(0, content="a"), delta(1, content="x"), delta(0, content="b"))
    other = heard(Dialect.CHAT, delta(1, content="x"), delta(0, content="a"), delta(0, content="b"))
    assert one.text == other.text == "ab\nx"


def test_a_message_says_the_same_whole_and_in_events() -> None:
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "one two"},
        {"type": "tool_use", "id": "1", "name": "look", "input": {"at": 1}},
    ]
    whole = read(Dialect.MESSAGES, {"type": "message", "content": content, "usage": {"input_tokens": 1}})
    parts = heard(
        Dialect.MESSAGES,
        {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "one two"}},
        {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "name": "look", "input": {}}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"at": 1}'}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}},
        {"type": "message_stop"},
    )
    assert whole.text == parts.text == 'one two\nlook{"at": 1}'


def test_a_response_says_the_same_whole_and_in_events() -> None:
    output: list[dict[str, Any]] = [
        {"type": "reasoning", "id": "r", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {
            "type": "message",
            "content": [{"type": "output_text", "text": "one two"}, {"type": "refusal", "refusal": "no"}],
        },
        {"type": "function_call", "call_id": "changes", "name": "look", "arguments": '{"at":1}'},
    ]
    response = {"object": "response", "id": "changes", "output": output, "usage": {"input_tokens": 1}}
    whole = read(Dialect.RESPONSES, response)
    parts = heard(
        Dialect.RESPONSES,
        {"type": "response.created", "response": {"output": []}},
        {"type": "response.reasoning_text.delta", "output_index": 0, "content_index": 0, "delta": "hm"},
        {"type": "response.output_item.added", "output_index": 1, "item": {"type": "message", "content": []}},
        {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "one "},
        {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "two"},
        {"type": "response.output_text.done", "output_index": 1, "content_index": 0, "text": "one two"},
        {"type": "response.refusal.delta", "output_index": 1, "content_index": 1, "delta": "no"},
        {"type": "response.output_item.done", "output_index": 1, "item": output[1]},
        {"type": "response.output_item.added", "output_index": 2, "item": {**output[2], "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": '{"at":'},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "1}"},
        {"type": "response.output_item.done", "output_index": 2, "item": output[2]},
        {"type": "response.completed", "response": response},
    )
    assert whole.text == parts.text == 'one two\nno\nlook{"at":1}'
    assert whole.whole
    assert parts.whole


def test_completions_and_refusals_are_read() -> None:
    assert read(Dialect.COMPLETIONS, {"choices": [{"index": 0, "text": "one"}]}).text == "one"
    assert read(Dialect.CHAT, {"choices": [{"message": {"content": None, "refusal": "no"}}]}).text == "no"


def test_what_is_no_event_with_data_is_passed_over() -> None:
    transcript = Transcript(Dialect.CHAT, LONG)
    transcript.hear(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
    transcript.hear(b": keep-alive\n\n" + event(delta(content="one")) + b"data: [DONE]\n\n")
    assert (transcript.text, transcript.whole) == ("one", True)


@pytest.mark.parametrize("document", [[], {"choices": 1}, {"choices": [{"message": {"content": [{"a": 1}]}}]}])
def test_what_cannot_be_read_is_not_taken_for_silence(document: Any) -> None:
    assert not read(Dialect.CHAT, document).whole
    broken = Transcript(Dialect.CHAT, LONG)
    broken.read(b'{"choices": [')
    assert not broken.whole


def test_embeddings_say_nothing_that_could_be_compared() -> None:
    transcript = read(Dialect.EMBEDDINGS, {"data": [{"embedding": [0.1]}]})
    assert (transcript.text, transcript.whole) == ("", False)


@given(st.lists(st.text(max_size=50), max_size=30), st.integers(0, 200))
def test_its_bound_holds_whatever_comes(pieces: list[str], most: int) -> None:
    transcript = Transcript(Dialect.CHAT, most)
    for piece in pieces:
        transcript.hear(event(delta(content=piece)))
    said = "".join(pieces)
    assert said.startswith(transcript.text)
    assert len(transcript.text) <= most
    if transcript.whole:
        assert transcript.text == said
