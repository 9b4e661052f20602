"""What answers of Anthropic's Messages API say."""

import json
from typing import Any

import pytest

from penstock.gateway.dialects import anthropic
from penstock.gateway.dialects import anthropic_answers as answers
from penstock.types.errors import UpstreamUnusable
from penstock.types.usage import Usage, UsageSource

CALL = anthropic.parse(b'{"model":"chat","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}')
COUNT = anthropic.parse_count(b'{"model":"chat","messages":[{"role":"user","content":"hello"}]}')
USAGE = {"input_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2, "output_tokens": 1}


def event(kind: str, end: str = "\n", **fields: Any) -> bytes:
    return f"event: {kind}{end}data: {json.dumps({'type': kind} | fields)}{end}{end}".encode()


def delta(**fields: Any) -> bytes:
    return event("content_block_delta", index=0, delta=fields)


@pytest.mark.parametrize(
    ("sent", "content", "finished"),
    [
        (event("message_start", message={"usage": USAGE, "content": []}), False, 0),
        (event("ping"), False, 0),
        (event("content_block_start", index=0, content_block={"type": "text", "text": ""}), False, 0),
        (event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}), False, 0),
        (event("content_block_start", index=0, content_block={"type": "redacted_thinking", "data": "x"}), True, 0),
        (event("content_block_start", index=0, content_block={"type": "tool_use", "name": "f", "input": {}}), True, 0),
        (delta(type="text_delta", text="x"), True, 0),
        (delta(type="text_delta", text=""), False, 0),
        (delta(type="thinking_delta", thinking="x"), True, 0),
        (delta(type="input_json_delta", partial_json="{"), True, 0),
        (delta(type="citations_delta", citation={"url": "x"}), True, 0),
        (event("content_block_stop", index=0), False, 0),
        (event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5}), True, 1),
        (event("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 5}), False, 0),
    ],
)
def test_content_is_told_from_what_only_announces_it(sent: bytes, content: bool, finished: int) -> None:
    said = answers.note(sent)
    assert said is not None
    assert (said.content, said.finished, said.failed) == (content, finished, False)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_end_and_a_failure(end: str) -> None:
    assert answers.is_end(event("message_stop", end))
    assert not answers.is_end(delta(type="text_delta", text="message_stop"))
    failed = answers.note(event("error", end, error={"type": "overloaded_error", "message": "x"}))
    assert failed is not None
    assert failed.failed
    assert answers.is_end(answers.END)


def test_ordinary_events_go_the_short_way() -> None:
    plain = (
        delta(type="text_delta", text="x")
        .replace(b": ", b":")
        .replace(b"event:", b"event: ")
        .replace(b"data:", b"data: ")
    )
    assert answers.ordinary(plain, True) == plain
    assert answers.ordinary(delta(type="text_delta", text="ž"), True)
    for other in (
        delta(type="text_delta", text=""),
        event("ping"),
        event("content_block_delta", "\r\n", index=0, delta={"type": "text_delta", "text": "x"}),
        plain + plain,
        plain[:-3] + b"\n\n",
        plain.replace(b'"x"', b'"\xff"'),
        event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5}),
    ):
        assert answers.ordinary(other, True) == b""


def test_usage_comes_in_two_parts() -> None:
    first = answers.usage_in(event("message_start", message={"usage": USAGE, "content": []}), Usage())
    assert first == Usage(10, 1, 3, UsageSource.UPSTREAM, cache_write_tokens=2)
    last = answers.usage_in(event("message_delta", delta={}, usage={"output_tokens": 7}), first)
    assert last == Usage(10, 7, 3, UsageSource.UPSTREAM, cache_write_tokens=2)
    assert answers.usage_in(event("ping"), first) is None


def test_a_whole_message() -> None:
    sent = json.dumps({"type": "message", "content": [{"type": "text", "text": "hi"}], "usage": USAGE}).encode()
    assert answers.usage_of(sent, CALL) == Usage(10, 1, 3, UsageSource.UPSTREAM, cache_write_tokens=2)
    silent = json.dumps({"type": "message", "content": [{"type": "text", "text": "x" * 400}]}).encode()
    assert answers.usage_of(silent, CALL).source is UsageSource.ESTIMATED
    assert answers.usage_of(silent, CALL).output_tokens > 100


@pytest.mark.parametrize(
    "sent", [b"", b"<html>", b"[]", b'{"type":"error","error":{"message":"x"}}', b'{"content":"\xff']
)
def test_what_is_no_message(sent: bytes) -> None:
    with pytest.raises(UpstreamUnusable):
        answers.usage_of(sent, CALL)


def test_a_count_costs_nothing() -> None:
    assert answers.usage_of(b'{"input_tokens":17}', COUNT) == Usage()
    with pytest.raises(UpstreamUnusable):
        answers.usage_of(b'{"type":"message","content":[]}', COUNT)


@pytest.mark.parametrize(
    ("sent", "malformed"),
    [
        (event("ping"), False),
        (b"event: content_block_delta\ndata: {nope\n\n", True),
        (b'event: x\ndata: {"a":"\xff"}\n\n', True),
        (b": comment\n\n", False),
        (b'event: x\ndata: {"a":"\\ud83d"}\n\n', False),
    ],
)
def test_what_no_client_could_read(sent: bytes, malformed: bool) -> None:
    assert answers.malformed(sent) is malformed
