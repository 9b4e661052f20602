import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.gateway.dialects import responses
from penstock.gateway.translation.responses_to_chat import ResponsesToChat
from penstock.gateway.translation.translation import Translation
from penstock.types.errors import InvalidRequest, UpstreamFailed, UpstreamUnusable
from tests.gateway.translation.chats import USAGE, asked, completion, plain, response, told, translation

WEATHER = {"type": "function", "name": "weather", "description": "now", "strict": True,
           "parameters": {"type": "object", "properties": {"b": {}, "a": {}}}}  # fmt: skip
ASKED_WEATHER = {"type": "function", "function": {k: v for k, v in WEATHER.items() if k != "type"}}
TIME = {"type": "function", "name": "time", "parameters": None}


def item(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind} | fields


def message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def test_it_is_a_translation() -> None:
    kind: type[Translation] = ResponsesToChat
    assert kind is ResponsesToChat


def test_a_plain_question() -> None:
    assert asked() == {"model": "mini", "messages": [message("user", "hello")]}


def test_a_stream_is_asked_for_its_usage() -> None:
    sent = asked(stream=True)
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})


@pytest.mark.parametrize(
    ("capped", "own", "cap"), [(False, None, None), (True, None, 4096), (True, 9, 9), (False, 9, 9)]
)
def test_the_cap_has_the_upstreams_name(capped: bool, own: int | None, cap: int | None) -> None:
    assert asked(capped, max_output_tokens=own).get("max_tokens") == cap


@pytest.mark.parametrize(
    ("items", "messages"),
    [
        ([message("user", [item("input_text", text="hi")])], [message("user", "hi")]),
        (
            [message("user", [item("input_text", text="a"), item("input_text", text="b")])],
            [message("user", [item("text", text="a"), item("text", text="b")])],
        ),
        (
            [message("user", [item("input_image", image_url="data:image/png;base64,AA", detail="low")])],
            [message("user", [
                item("image_url", image_url={"url": "data:image/png;base64,AA", "detail": "low"})
            ])],
        ),
        (
            [message("user", [item("input_file", filename="a.pdf", file_data="data:application/pdf;base64,AA")])],
            [message("user", [
                item("file", file={"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"})
            ])],
        ),
        (
            [message("user", [item("input_audio", input_audio={"data": "AA", "format": "wav"})])],
            [message("user", [item("input_audio", input_audio={"data": "AA", "format": "wav"})])],
        ),
        (
            [message("developer", "be brief"), message("system", [item("input_text", text="and kind")]),
             message("user", "hi"), message("developer", "now in French")],
            [message("system", "be brief\n\nand kind"), message("user", "hi"), message("system", "now in French")],
        ),
        (
            [item("message", id="msg_1", status="completed", role="assistant", content=[
                item("output_text", text="I ", annotations=[]), item("output_text", text="can"),
                item("refusal", refusal="but will not"),
            ])],
            [message("assistant", "I can") | {"refusal": "but will not"}],
        ),
    ],
)  # fmt: skip
def test_items_become_messages(items: list[Any], messages: list[Any]) -> None:
    assert asked(input=items)["messages"] == messages


def test_instructions_come_first_and_are_one_with_what_else_does() -> None:
    sent = asked(instructions="be brief", input=[message("developer", "and kind"), message("user", "hi")])
    assert sent["messages"] == [message("system", "be brief\n\nand kind"), message("user", "hi")]


def test_a_turn_with_parallel_calls_is_one_message_and_its_results_follow() -> None:
    arguments = '{"city": "Bern",  "unit":1.0}'
    sent = asked(input=[
        message("user", "weather?"),
        item("reasoning", id="rs_1", summary=[], content=[item("reasoning_text", text="hm")], encrypted_content="x"),
        item("message", role="assistant", content=[item("output_text", text="I look.")]),
        item("function_call", id="fc_1", call_id="c1", name="weather", arguments=arguments, status="completed"),
        item("message", role="assistant", content=[item("output_text", text=" Twice.")]),
        item("function_call", call_id="c2", name="time", arguments="{}"),
        item("function_call_output", call_id="c1", output="rain"),
        item("function_call_output", call_id="c2", output=[item("input_text", text="noon")]),
        item("function_call", call_id="c3", name="time", arguments="{}"),
        item("function_call_output", call_id="c3", output=[item("input_image", image_url="https://a/b.png")]),
    ])  # fmt: skip

    def calling(identity: str, name: str, text: str) -> dict[str, Any]:
        return {"id": identity, "type": "function", "function": {"name": name, "arguments": text}}

    assert sent["messages"] == [
        message("user", "weather?"),
        message("assistant", "I look. Twice.")
        | {"tool_calls": [calling("c1", "weather", arguments), calling("c2", "time", "{}")]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        {"role": "tool", "tool_call_id": "c2", "content": "noon"},
        message("assistant", None) | {"tool_calls": [calling("c3", "time", "{}")]},
        {"role": "tool", "tool_call_id": "c3", "content": [item("image_url", image_url={"url": "https://a/b.png"})]},
    ]


def test_tools_keep_their_bytes() -> None:
    schema = b'{"type": "object",  "properties": {"z": {}, "a": {"minimum": 1.0}}}'
    body = b'{"model":"m","input":"x","tools":[{"type":"function","name":"f","parameters":%b}]}' % schema
    sent = ResponsesToChat(responses.parse(body), "mini", "max_tokens", False).request()
    assert schema in sent


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"tools": [WEATHER]}, {"tools": [ASKED_WEATHER]}),
        ({"tools": [TIME]}, {"tools": [{"type": "function", "function": {"name": "time"}}]}),
        ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}),
        (
            {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False},
            {"tools": [ASKED_WEATHER], "tool_choice": "required", "parallel_tool_calls": False},
        ),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "weather"}},
            {"tools": [ASKED_WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        ),
        (
            {"tools": [TIME, WEATHER], "tool_choice": item("allowed_tools", mode="required", tools=[WEATHER])},
            {"tools": [ASKED_WEATHER], "tool_choice": "required"},
        ),
        ({"text": {"format": {"type": "text"}}}, {}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        (
            {"text": {"format": item("json_schema", name="n", schema={"type": "object"}, strict=True)}},
            {"response_format": item(
                "json_schema", json_schema={"name": "n", "schema": {"type": "object"}, "strict": True}
            )},
        ),
        ({"text": {"verbosity": "low"}}, {"verbosity": "low"}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        ({"reasoning": {"effort": None}}, {}),
        (
            {"temperature": 0.5, "top_p": 0.9, "user": "u", "seed": 7, "top_k": 4, "stop": None},
            {"temperature": 0.5, "top_p": 0.9, "user": "u", "seed": 7, "top_k": 4},
        ),
        (
            {"metadata": {"a": "b"}, "store": False, "truncation": "disabled", "background": False,
             "include": ["reasoning.encrypted_content"], "previous_response_id": None, "top_logprobs": 0},
            {},
        ),
    ],
)  # fmt: skip
def test_parameters(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    sent = asked(**fields)
    assert {name: value for name, value in sent.items() if name not in ("model", "messages")} == expected
    assert not translation(**fields).dropped


def test_what_is_left_out_is_named() -> None:
    made = translation(
        prompt_cache_key="k", truncation="auto", max_tool_calls=3, safety_identifier=None, invented={"a": 1}
    )
    assert set(json.loads(made.request())) == {"model", "messages"}
    assert made.dropped == ("prompt_cache_key", "truncation", "max_tool_calls", "invented")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"store": True}, "store"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"tools": [WEATHER, {"type": "web_search"}]}, "tools[1].type"),
        ({"tools": [{"type": "custom", "name": "f"}]}, "tools[0].type"),
        ({"tools": [WEATHER], "tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"tool_choice": item("allowed_tools", mode="auto", tools=[item("mcp")])}, "tool_choice.tools[0].type"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"input": [item("item_reference", id="msg_1")]}, "input[0].type"),
        ({"input": [message("user", "x"), item("computer_call_output", output={"image_url": "x"})]}, "input[1].type"),
        ({"input": [message("user", [item("input_image", file_id="f")])]}, "input[0].content[0].file_id"),
        ({"input": [message("user", [item("input_file", file_url="https://a")])]}, "input[0].content[0].file_url"),
        ({"input": [message("user", [item("input_hologram")])]}, "input[0].content[0].type"),
        ({"input": [message("assistant", [item("input_image", image_url="x")])]}, "input[0].content[0].type"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        translation(**fields).request()
    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [message("robot", "x")]}, "input[0].role"),
        ({"input": [item("message", content="x")]}, "input[0].role"),
        ({"input": [message("user", 5)]}, "input[0].content"),
        ({"input": [message("user", [item("input_image")])]}, "input[0].content[0].image_url"),
        ({"input": [item("function_call", call_id="c", name="f")]}, "input[0].arguments"),
        ({"input": [item("function_call_output", output="x")]}, "input[0].call_id"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.name"),
        ({"reasoning": {"effort": 5}}, "reasoning.effort"),
    ],
)
def test_what_is_malformed_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        translation(**fields).request()
    assert caught.value.param == param


def test_a_plain_answer() -> None:
    made = translation(instructions="be brief", metadata={"a": "b"}, temperature=0.5, tools=[WEATHER])
    made.request()
    found = response(made.reply(completion({"content": 'Hello "you" \u00e9\n'})))
    assert plain(found) == {
        "id": "resp_", "object": "response", "created_at": 1700000000.0, "model": "mini-1b",
        "status": "completed", "background": False, "store": False, "parallel_tool_calls": True, "tool_choice": "auto",
        "instructions": "be brief", "metadata": {"a": "b"}, "temperature": 0.5, "tools": [WEATHER], "top_logprobs": 0,
        "reasoning": {}, "text": {"format": {"type": "text"}}, "truncation": "disabled",
        "output": [{
            "id": "msg_0", "type": "message", "role": "assistant", "status": "completed",
            "content": [{
                "type": "output_text", "text": 'Hello "you" \u00e9\n', "annotations": [], "logprobs": [],
            }],
        }],
        "usage": {
            "input_tokens": 20, "input_tokens_details": {"cached_tokens": 16, "cache_write_tokens": 0},
            "output_tokens": 7, "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 27,
        },
    }  # fmt: skip
    assert found.output_text == 'Hello "you" \u00e9\n'
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.cache_read_tokens, made.usage.output_tokens) == (20, 16, 7)


def test_thoughts_text_and_calls_are_items_in_this_order() -> None:
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}},
        {"id": "c2", "type": "function", "function": {"name": "time", "arguments": "{}"}},
    ]
    reply = completion({"reasoning_content": "hm", "content": "I look.", "tool_calls": calls}, "tool_calls")
    output = plain(response(translation().reply(reply)))["output"]
    assert output == [
        {"id": "rs_0", "type": "reasoning", "summary": [], "status": "completed",
         "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "I look.", "annotations": [], "logprobs": []}]},
        {"id": "fc_2", "type": "function_call", "status": "completed", "call_id": "c1", "name": "weather",
         "arguments": '{"city":"Bern"}'},
        {"id": "fc_3", "type": "function_call", "status": "completed", "call_id": "c2", "name": "time",
         "arguments": "{}"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("finish_reason", "status", "reason"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        (None, "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
    ],
)
def test_how_an_answer_ended(finish_reason: str | None, status: str, reason: str | None) -> None:
    found = response(translation().reply(completion({"content": "x"}, finish_reason)))
    assert found.status == status
    assert (found.incomplete_details and found.incomplete_details.reason) == reason
    assert [getattr(each, "status", None) for each in found.output] == [status]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None}, ""),
        ({"content": ""}, ""),
        ({"content": [{"type": "text", "text": "a"}, {"type": "thinking"}, {"type": "text", "text": '"b'}]}, 'a"b'),
        ({"content": {"no": "text"}}, ""),
    ],
)
def test_other_shapes_of_content(message: dict[str, Any], text: str) -> None:
    assert response(translation().reply(completion(message))).output_text == text


def test_a_refusal_is_a_part_of_its_own() -> None:
    output = plain(response(translation().reply(completion({"content": "Well,", "refusal": "no"}))))["output"]
    assert [part["type"] for part in output[0]["content"]] == ["output_text", "refusal"]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_both_names_of_thoughts(name: str) -> None:
    output = plain(response(translation().reply(completion({name: "hm", "content": None}))))["output"]
    assert [each["type"] for each in output] == ["reasoning"]


def test_quirks_of_calls() -> None:
    calls = [
        {"function": {"name": "f", "arguments": {"a": "\u00e9\n"}}},
        {"id": "same", "function": {"name": "g", "arguments": None}},
        {"id": "same", "function": {"name": "h", "arguments": "{}"}},
    ]
    output = plain(response(translation().reply(completion({"tool_calls": calls}))))["output"]
    assert [json.loads(each["arguments"] or "null") for each in output] == [{"a": "\u00e9\n"}, None, {}]
    assert len({each["call_id"] for each in output}) == 3, "clients tell calls apart by it"
    assert all(each["call_id"] for each in output)


def test_half_a_character_is_replaced() -> None:
    reply = completion({"content": "TEXT"}).replace(b"TEXT", rb"a\ud83d b\ud83d\ude00 \\ud83d")
    assert response(translation().reply(reply)).output_text == "a\ufffd b\U0001f600 \\ud83d"


@pytest.mark.parametrize("usage", [None, {}, "x", {"prompt_tokens": -5, "completion_tokens": 1}])
def test_usage_that_is_not_told_is_not_invented(usage: Any) -> None:
    made = translation()
    assert response(made.reply(completion({"content": "x"}, usage=usage))).usage is None
    assert made.usage is None


@pytest.mark.parametrize(
    "reply",
    [
        b"", b"null", b"[]", b"{}", b"{", b"\xff", b'{"choices":[]}', b'{"choices":[{}]}',
        b'{"choices":[{"message":null}]}',
        b'{"error":{"message":"x"}}', b'{"choices":[{"message":{"tool_calls":[{"function":{"arguments":"{}"}}]}}]}',
        b'{"choices":[{"message":{"content":"x"},"finish_reason":"error"}]}', b'{"a":' + b"[" * 100_000,
        completion({"content": "x" * 17 * 1024 * 1024}),
    ],
)  # fmt: skip
def test_what_is_no_reply(reply: bytes) -> None:
    with pytest.raises(UpstreamUnusable):
        translation().reply(reply)


def test_other_tiers_than_openais_are_not_told() -> None:
    assert response(translation().reply(completion({"content": "x"}, service_tier="on_demand"))).service_tier is None
    assert response(translation().reply(completion({"content": "x"}, service_tier="flex"))).service_tier == "flex"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KINDS = ["message", "function_call", "function_call_output", "reasoning", "input_text", "output_text", "input_image",
         "function", "allowed_tools", "json_schema", "item_reference"]  # fmt: skip
PART = st.dictionaries(
    st.sampled_from(["type", "text", "image_url", "file_data", "name", "arguments"]),
    st.sampled_from(KINDS) | JSON,
)
ITEM = st.fixed_dictionaries({}, optional={
    "type": st.sampled_from(KINDS) | JSON, "role": st.sampled_from(["user", "assistant", "system"]) | JSON,
    "content": st.text(max_size=3) | st.lists(PART, max_size=3) | JSON, "call_id": JSON, "name": JSON,
    "arguments": JSON, "output": st.lists(PART, max_size=2) | JSON, "tools": st.lists(PART, max_size=2) | JSON,
    "mode": JSON, "format": PART | JSON,
})  # fmt: skip


@settings(deadline=None)
@given(
    st.fixed_dictionaries({}, optional={
        "input": st.lists(ITEM, max_size=4) | JSON, "tools": st.lists(ITEM, max_size=2) | JSON,
        "tool_choice": ITEM | JSON,
        "text": ITEM | JSON, "instructions": JSON, "include": JSON, "stream": st.booleans(), "reasoning": JSON,
    })
)  # fmt: skip
def test_any_request_is_translated_or_refused(fields: dict[str, Any]) -> None:
    try:
        sent = asked(**fields)
    except InvalidRequest as error:
        assert error.param is not None or error.code == "invalid_json"
    else:
        assert sent["messages"]


MESSAGE = st.dictionaries(
    st.sampled_from(["content", "reasoning_content", "refusal", "tool_calls"]),
    JSON | st.lists(st.fixed_dictionaries({"function": st.dictionaries(st.sampled_from(["name", "arguments"]), JSON)})),
)
CHOICE = st.dictionaries(st.sampled_from(["message", "delta", "finish_reason", "index"]), MESSAGE | JSON)
ANSWER = st.dictionaries(
    st.sampled_from(["choices", "error", "usage", "model", "created", "service_tier"]),
    st.lists(CHOICE, max_size=2) | st.just(USAGE) | JSON,
)


@settings(deadline=None)
@given(ANSWER | JSON)
def test_any_reply_is_translated_or_unusable(reply: Any) -> None:
    made = translation()
    with contextlib.suppress(UpstreamUnusable):
        response(made.reply(json.dumps(reply).encode()))


@settings(deadline=None)
@given(st.lists(ANSWER | JSON, max_size=4))
def test_any_event_is_translated_or_a_failure(answers: list[Any]) -> None:
    made = translation(stream=True)
    with contextlib.suppress(UpstreamFailed):
        told(b"".join(made.events(b"data: " + json.dumps(each).encode() + b"\n\n") for each in answers) + made.end())
