import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState

from penstock.gateway.dialects import responses
from penstock.gateway.translation.responses_to_chat import ResponsesToChat
from penstock.types.errors import UpstreamFailed
from tests.gateway.translation.chats import (
    DONE,
    LAST,
    USAGE,
    call,
    chunk,
    completion,
    plain,
    response,
    told,
    translation,
)


def streamed(*events: bytes, made: ResponsesToChat | None = None) -> list[Any]:
    """Return what a client is told on a stream, its end included."""
    made = made or translation(stream=True)
    return told(b"".join(map(made.events, events)) + made.end())


def kinds(events: list[Any]) -> list[str]:
    return [event.type.removeprefix("response.") for event in events]


def test_a_text_is_told_in_openais_order() -> None:
    events = streamed(
        chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}), chunk({"content": "lo"}),
        chunk({}, "stop"), *LAST,
    )  # fmt: skip
    assert kinds(events) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [event.delta for event in events if event.type.endswith(".delta")] == ["Hel", "lo"]
    begun, ended = events[0].response, events[-1].response
    assert (begun.status, begun.output, begun.usage) == ("in_progress", [], None)
    assert (ended.status, ended.output_text, ended.id) == ("completed", "Hello", begun.id)
    assert ended.usage.input_tokens_details.cached_tokens == 16
    assert events[6].text == "Hello"
    assert events[7].part == ended.output[0].content[0]
    assert events[8].item == ended.output[0]


def test_thoughts_text_and_calls() -> None:
    events = streamed(
        chunk({"reasoning_content": "hm"}), chunk({"content": "I look."}), chunk(call(0, id="c1", name="weather")),
        chunk(call(0, '{"a"')), chunk(call(0, ":1}")), chunk(call(1, "{}", id="c2", name="time")),
        chunk({}, "tool_calls"), *LAST,
    )  # fmt: skip
    assert kinds(events) == [
        "created", "in_progress",
        "output_item.added", "content_part.added", "reasoning_text.delta",
        "reasoning_text.done", "content_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    calls = events[-1].response.output[2:]
    assert [(each.call_id, each.name, each.arguments) for each in calls] == [
        ("c1", "weather", '{"a":1}'), ("c2", "time", "{}"),
    ]  # fmt: skip


def test_nothing_is_told_before_there_is_content() -> None:
    made = translation(stream=True)
    assert made.events(b": ping\n\n" + chunk({"role": "assistant", "content": ""}) + chunk({"reasoning": None})) == b""
    assert made.events(chunk({"content": "x"})).startswith(b"event: response.created\n")


def test_calls_told_by_turns_stay_apart() -> None:
    events = streamed(
        chunk(call(0, "{", id="c1", name="f")), chunk(call(1, "{", id="c2", name="g")),
        chunk(call(0, '"a":1}')), chunk(call(1, '"b":2}')), chunk({}, "tool_calls"), DONE,
    )  # fmt: skip
    deltas: dict[int, str] = {}
    for event in events:
        if event.type == "response.function_call_arguments.delta":
            deltas[event.output_index] = deltas.get(event.output_index, "") + event.delta
    assert deltas == {0: '{"a":1}', 1: '{"b":2}'}
    assert [each.arguments for each in events[-1].response.output] == ['{"a":1}', '{"b":2}']
    ends = [event for event in events if event.type == "response.output_item.done"]
    assert [(event.output_index, event.item) for event in ends] == list(enumerate(events[-1].response.output))


@pytest.mark.parametrize(
    ("parts", "calls"),
    [
        (  # Gemini's: every call has index 0
            [call(0, "{}", id="c1", name="f"), call(0, '{"b":2}', id="c2", name="g")],
            [("c1", "f", "{}"), ("c2", "g", '{"b":2}')],
        ),
        (  # no index at all
            [call(None, "{", id="c1", name="f"), call(None, "}"), call(None, "{}", id="c2", name="g")],
            [("c1", "f", "{}"), ("c2", "g", "{}")],
        ),
        (  # names repeated with every part
            [call(0, "{", id="c1", name="f"), call(0, "}", id="c1", name="f")],
            [("c1", "f", "{}")],
        ),
        (  # another identity with every part, as vLLM had it
            [call(0, "{", id="c1", name="f"), call(0, "}", id="c9")],
            [("c1", "f", "{}")],
        ),
        (  # the name comes late
            [call(0, "{", id="c1"), call(0, "}", name="f")],
            [("c1", "f", "{}")],
        ),
        (  # blanks behind the end
            [call(0, "{}", id="c1", name="f"), call(1, "{}", id="c2", name="g"), call(0, "\n ")],
            [("c1", "f", "{}"), ("c2", "g", "{}")],
        ),
        (  # no arguments
            [call(0, id="c1", name="f")],
            [("c1", "f", "")],
        ),
    ],
)
def test_quirks_of_calls(parts: list[dict[str, Any]], calls: list[tuple[str, str, str]]) -> None:
    output = streamed(*map(chunk, parts), chunk({}, "tool_calls"), DONE)[-1].response.output
    assert [(each.call_id, each.name, each.arguments) for each in output] == calls


def test_text_after_a_call_is_an_item_of_its_own() -> None:
    events = streamed(
        chunk({"content": "a"}), chunk(call(0, "{}", id="c", name="f")), chunk({"content": "b"}), chunk({}, "stop"),
    )  # fmt: skip
    output = events[-1].response.output
    assert [each.type for each in output] == ["message", "function_call", "message"]
    assert events[-1].response.output_text == "ab"


def test_a_refusal() -> None:
    events = streamed(chunk({"content": "Well"}), chunk({"refusal": "no"}), chunk({}, "stop"), *LAST)
    assert kinds(events)[4:13] == [
        "output_text.delta", "output_text.done", "content_part.done", "content_part.added", "refusal.delta",
        "refusal.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    assert [event.content_index for event in events[4:11]] == [0, 0, 0, 1, 1, 1, 1]


def test_an_answer_cut_short_by_its_cap() -> None:
    events = streamed(chunk({"reasoning": "hm"}), chunk({"content": "He"}), chunk({}, "length"), *LAST)
    assert events[-1].type == "response.incomplete"
    ended = events[-1].response
    assert (ended.status, ended.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert [each.status for each in ended.output] == ["completed", "incomplete"]


def test_an_end_without_done_is_one_where_the_answer_was_finished() -> None:
    assert kinds(streamed(chunk({"content": "x"}), chunk({}, "stop")))[-1] == "completed"
    made = translation(stream=True)
    made.events(chunk({"content": "x"}) + chunk({}, "stop") + DONE)
    assert made.end() == b""
    assert made.events(chunk({"content": "y"})) == b"", "nothing follows the end"


def test_other_answers_than_the_first_are_left_out() -> None:
    other = chunk({"content": "y"}).replace(b'"index": 0', b'"index": 1')
    assert other != chunk({"content": "y"})
    assert streamed(chunk({"content": "x"}), other, chunk({}, "stop"))[-1].response.output_text == "x"


def test_an_empty_answer() -> None:
    assert kinds(streamed(DONE)) == ["created", "in_progress", "completed"]


def test_a_stream_that_is_cut_off() -> None:
    made = translation(stream=True)
    made.events(chunk({"content": "x"}))
    with pytest.raises(UpstreamFailed, match="cut off"):
        made.end()


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"error":{"message":"out of memory"}}\n\n',
        b'event: error\ndata: {"error":{"message":"out of memory"}}\n\n',
        b"data: {\n\n",
        b'data: {"choices":5}\n\n',
        b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"a\ndata: b"}}]}\n\n',
        chunk({}, "abort"),
        chunk(call(0, "x", id="c", name="f")) + chunk(call(0, "{}", id="c")) + chunk(call(2)) + DONE,
        chunk(call(0, "{}", id="c", name="f")) + chunk(call(1, "{}", id="d", name="g")) + chunk(call(0, "{}")),
        chunk({"content": "x" * 17 * 1024 * 1024}),
    ],
)
def test_a_failure_is_told(event: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        translation(stream=True).events(event)


def test_the_stream_of_an_upstream_without_end_is_given_up() -> None:
    made, part = translation(stream=True), chunk({"content": "x" * 1024 * 1024})
    with pytest.raises(UpstreamFailed, match="16 MiB"):
        for _ in range(20):
            made.events(part)


def test_what_is_repeated_of_a_request_does_not_break_its_line() -> None:
    body = b'{"model":"m","input":"x","stream":true,"metadata":{\n"a":\r\n"b"},"tools":[\n]}'
    made = ResponsesToChat(responses.parse(body), "mini", "max_tokens", False)
    events = streamed(chunk({"content": "x"}), chunk({}, "stop"), made=made)
    assert events[-1].response.metadata == {"a": "b"}


def test_half_a_character_is_replaced() -> None:
    event = chunk({"content": "TEXT"}).replace(b"TEXT", rb"a\ud83d")
    assert streamed(event, chunk({}, "stop"))[-1].response.output_text == "a\ufffd"


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_line_ends(end: bytes) -> None:
    events = b"".join([chunk({"content": "x"}), chunk({}, "stop"), DONE]).replace(b"\n\n", end)
    assert streamed(events)[-1].response.output_text == "x"


def test_usage_is_that_of_the_upstream() -> None:
    made = translation(stream=True)
    events = streamed(chunk({"content": "x"}, usage=None), chunk({}, "stop"), *LAST, made=made)
    assert events[-1].response.usage.total_tokens == USAGE["total_tokens"]
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.output_tokens) == (20, 7)
    assert streamed(chunk({"content": "x"}), chunk({}, "stop"))[-1].response.usage is None


TEXT = st.text(min_size=1, max_size=12)


@st.composite
def answers(draw: st.DrawFn) -> dict[str, Any]:
    """Return a chat's message, as it is when it is whole."""
    message: dict[str, Any] = {}
    for name in ("reasoning_content", "content", "refusal"):
        if draw(st.booleans()):
            message[name] = draw(TEXT)
    arguments = st.dictionaries(TEXT, st.integers() | TEXT, max_size=2).map(json.dumps)
    calls = draw(st.lists(st.tuples(st.sampled_from(["f", "g"]), arguments), max_size=3))
    if calls:
        message["tool_calls"] = [
            {"id": f"c{i}", "type": "function", "function": {"name": name, "arguments": text}}
            for i, (name, text) in enumerate(calls)
        ]
    return message


def pieces(data: st.DataObject, text: str) -> list[str]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def deltas(data: st.DataObject, message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a message cut anywhere, its calls perhaps by turns."""
    parts = [
        {name: piece}
        for name in ("reasoning_content", "content", "refusal")
        for piece in (pieces(data, message[name]) if name in message else ())
    ]
    queues = [
        [call(index, first, id=each["id"], name=each["function"]["name"]), *(call(index, piece) for piece in rest)]
        for index, each in enumerate(message.get("tool_calls", ()))
        for first, *rest in [pieces(data, each["function"]["arguments"])]
    ]
    begun = 0  # calls begin in their order
    while any(queues):
        ready = [i for i, queue in enumerate(queues[: begun + 1]) if queue]
        chosen = data.draw(st.sampled_from(ready))
        parts.append(queues[chosen].pop(0))
        begun = max(begun, chosen + 1)
    return parts


@settings(deadline=None)
@given(st.data(), answers(), st.sampled_from(["stop", "length", "tool_calls"]))
def test_a_stream_is_the_whole_answer_however_it_is_cut(
    data: st.DataObject, message: dict[str, Any], finish_reason: str
) -> None:
    whole = response(translation(stream=True).reply(completion(message, finish_reason)))
    parts = deltas(data, message)
    made = translation(stream=True)
    events = streamed(*map(chunk, parts), chunk({}, finish_reason), *LAST, made=made)
    assert plain(events[-1].response) == plain(whole)
    # What the deltas say together is what the last event says, and every item has one beginning and one end.
    said: dict[tuple[int, str], str] = {}
    for event in events:
        if event.type.endswith(".delta"):
            key = (event.output_index, event.type)
            said[key] = said.get(key, "") + event.delta
    output = events[-1].response.output
    assert sorted(said.values()) == sorted(filter(None, map(text_of, contents(output))))
    for kind in ("added", "done"):
        places = [event.output_index for event in events if event.type == f"response.output_item.{kind}"]
        assert sorted(places) == list(range(len(output)))


def contents(output: list[Any]) -> list[Any]:
    return [part for item in output for part in (item.content if item.type != "function_call" else [item])]


def text_of(part: Any) -> str:
    return next(str(getattr(part, name)) for name in ("text", "refusal", "arguments") if hasattr(part, name))


@settings(deadline=None)
@given(st.data(), answers())
def test_the_sdks_own_helper_follows(data: st.DataObject, message: dict[str, Any]) -> None:
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=[], text_format=omit)
    events = streamed(*map(chunk, deltas(data, message)), chunk({}, "stop"), *LAST)
    seen = [each for event in events for each in state.handle_event(event)]
    assert seen[-1].type == "response.completed"
