import json
from typing import Any

import pytest

from penstock.gateway.dialects import errors, events, responses_answers, usage
from penstock.types.dialect import Dialect
from penstock.types.errors import InvalidRequest, UpstreamFailed, UpstreamRejected

DELTA = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "sequence_number": 4, "logprobs": []}


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n".encode()


@pytest.mark.parametrize(
    ("given", "content"),
    [
        (event("response.created", response={"status": "in_progress", "error": None}), False),
        (event("response.in_progress", response={"output": []}), False),
        (event("response.queued", response={}), False),
        (event("response.output_item.added", item={"type": "message", "content": []}), False),
        (event("response.output_item.added", item={"type": "reasoning", "summary": []}), False),
        (event("response.output_item.added", item={"type": "function_call", "name": "f"}), True),
        (event("response.output_item.added", item={"type": "web_search_call"}), True),
        (event("response.output_item.added", item=None), False),
        (event("response.output_item.done", item={"type": "message", "content": [{}]}), True),
        (event("response.output_item.done", item={"type": "reasoning", "summary": []}), False),
        (event("response.content_part.added", part={"type": "output_text", "text": ""}), False),
        (event("response.output_text.delta", delta="x"), True),
        (event("response.output_text.delta", delta=""), False),
        (event("response.reasoning_text.delta", delta="x"), True),
        (event("response.reasoning_summary_text.delta", delta="x"), True),
        (event("response.function_call_arguments.delta", delta="{"), True),
        (event("response.completed", response={"output": []}), True),
        (event("response.incomplete", response={"output": []}), True),
        (event("keepalive", sequence_number=3), False),
    ],
)
def test_content_is_told_from_what_only_announces_it(given: bytes, content: bool) -> None:
    seen = responses_answers.note(given)
    assert seen is not None
    assert seen.content is content
    assert not seen.failed


@pytest.mark.parametrize(
    ("given", "ended", "failed"),
    [
        (event("response.completed", response={}), True, False),
        (event("response.incomplete", response={}), True, False),
        (event("response.failed", response={"error": {"code": "server_error"}}), False, True),
        (event("error", message="overloaded", code=None), False, True),
        (b'data: {"error":{"message":"out of memory"}}\n\n', False, True),
        (event("response.output_text.delta", delta="x"), False, False),
    ],
)
def test_ends_and_failures(given: bytes, ended: bool, failed: bool) -> None:
    seen = responses_answers.note(given)
    assert seen is not None
    assert (bool(seen.finished), seen.failed) == (ended, failed)


@pytest.mark.parametrize("given", [b": ping\n\n", b"data: [DONE]\n\n", b'data: {"type":5}\n\n', b"data: {\n\n"])
def test_what_is_not_known_says_nothing(given: bytes) -> None:
    assert responses_answers.note(given) is None


def test_what_brings_a_part_of_the_answer_is_counted() -> None:
    stream = [
        event("response.output_item.added", item={"type": "function_call"}),
        event("response.function_call_arguments.delta", delta="{}"),
        event("response.function_call_arguments.done", arguments="{}"),
        event("response.completed", response={}),
    ]
    assert [bool(seen and seen.speaks) for seen in map(responses_answers.note, stream)] == [
        False,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("given", "ordinary"),
    [
        (event("response.output_text.delta", delta="x", **DELTA), True),
        (
            'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"é"}\n\n'.encode(),
            True,
        ),
        (event("response.function_call_arguments.delta", delta="{", **DELTA), True),
        (event("response.output_text.delta", delta="", **DELTA), False),
        (event("response.output_text.delta", delta=None, **DELTA), False),
        (event("response.output_text.done", delta="x", **DELTA), False),
        (event("response.completed", response={}), False),
        (event("error", message="x"), False),
        (event("response.output_text.delta", delta="x") * 2, False),
        (event("response.output_text.delta", delta="x")[:-1], False),
        (event("response.output_text.delta", delta="x")[:-2] + b"xx", False),
        (event("response.output_text.delta", delta="x").replace(b"\ndata", b"\nid: 7\ndata"), False),
        (event("response.output_text.delta", delta="x").replace(b"\ndata", b"\rdata: 1\ndata"), False),
        (event("response.output_text.delta", delta="x").replace(b'{"', b'{\r"'), False),
        (event("response.output_text.delta", delta="x").replace(b'"x"', b'"\xff"'), False),
        (event("response.output_text.delta", delta="x").replace(b'"x"', b'"x'), False),
    ],
)
def test_ordinary_events_are_told_from_those_to_be_looked_at(given: bytes, ordinary: bool) -> None:
    assert responses_answers.ordinary(given, True) == (given if ordinary else b"")
    if ordinary:
        seen = responses_answers.note(given)
        assert seen is not None
        assert seen.speaks
        assert not (seen.failed or bool(seen.finished) or responses_answers.malformed(given))


@pytest.mark.parametrize(
    ("given", "malformed"),
    [
        (event("response.created", response={}), False),
        (b"event: response.created\ndata: {\n\n", True),
        (b'event: response.created\ndata: {"a":\ndata: 1}\n\n', False),
        (b'event: response.created\ndata: {"a":"x\ndata: y"}\n\n', True),
        (b'event: x\ndata: {"a":"\xff"}\n\n', True),
        (b'event: x\ndata: {"delta":"\\ud83d"}\n\n', False),
        (b": ping\n\n", False),
    ],
)
def test_malformed_events(given: bytes, malformed: bool) -> None:
    assert responses_answers.malformed(given) is malformed


def test_usage_is_in_the_last_event() -> None:
    told = {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 3, "total_tokens": 12}
    found = usage.reported(events.data_of(event("response.completed", response={"usage": told})))
    assert found is not None
    assert (found.input_tokens, found.cache_read_tokens, found.output_tokens) == (9, 4, 3)


@pytest.mark.parametrize(
    ("error", "code", "param"),
    [
        (UpstreamFailed("at 10.0.0.1"), "upstream_failed", None),
        (InvalidRequest("no", param="text", code="unsupported_parameter"), "unsupported_parameter", "text"),
        (UpstreamRejected("no", status=400, body=b'{"error":{"message":"a\\nb","code":5}}'), 5, None),
    ],
)
def test_a_failure_is_an_event_that_every_client_sees(error: Exception, code: str | int, param: str | None) -> None:
    told = errors.event(error, Dialect.RESPONSES)
    data = json.loads(events.data_of(told))
    assert told.startswith(b"event: error\n")
    assert (data["type"], data["code"], data["param"]) == ("error", code, param)
    assert data["error"]["message"] == data["message"], "the SDK raises for what has an error"
    seen = responses_answers.note(told)
    assert seen is not None
    assert seen.failed
