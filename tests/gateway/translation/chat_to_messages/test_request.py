"""Requests of OpenAI's clients as Anthropic is sent them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.gateway.dialects import openai
from penstock.types.dialect import Dialect
from penstock.types.errors import InvalidRequest
from tests.gateway.translation.exchange import chat_call, to_messages

CACHED = {"type": "ephemeral"}
UNFINISHED = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "["}}
PNG = "iVBORw0KGgo="
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tell the weather.",
        "parameters": {"type": "object", "properties": {"unit": {"type": "string"}, "city": {"type": "string"}}},
    },
}


def sent(model: str = "claude-sonnet-4-5", **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(to_messages(chat_call(**fields), model).request())
    return made


def turns(*given: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sent(messages=list(given))["messages"]
    return found


def refused(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        to_messages(chat_call(**fields)).request()
    return caught.value


def test_a_small_request() -> None:
    call = chat_call(
        messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        max_tokens=50, temperature=0.5, stop="\nEND", stream=True, user="u-1",
    )  # fmt: skip
    made = to_messages(call)
    assert json.loads(made.request()) == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 50,
        "stream": True,
        "temperature": 0.5,
        "stop_sequences": ["\nEND"],
        "metadata": {"user_id": "u-1"},
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Hello"}],
    }
    assert made.dropped == ()


def test_a_cap_is_put_in_where_there_is_none() -> None:
    assert sent()["max_tokens"] == 4096
    assert sent(max_completion_tokens=7)["max_tokens"] == 7


def test_system_prompts_become_one_wherever_they_stand() -> None:
    made = sent(
        messages=[
            {"role": "system", "content": [{"type": "text", "text": "One.", "cache_control": CACHED}]},
            {"role": "user", "content": "Hello"},
            {"role": "developer", "content": "Two."},
            {"role": "user", "content": "you"},
        ]
    )
    assert made["system"] == [
        {"type": "text", "text": "One.", "cache_control": CACHED},
        {"type": "text", "text": "Two."},
    ]
    assert made["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "you"}]}
    ]


def test_calls_and_results_in_the_order_that_anthropic_wants() -> None:
    made = turns(
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Bern"}'}},
                {"id": "functions.f:1", "type": "function", "function": {"name": "now", "arguments": ""}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "rain"},
        {"role": "user", "content": "Hurry"},
        {"role": "tool", "tool_call_id": "functions.f:1", "content": [{"type": "text", "text": "noon"}]},
    )
    assert made[1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "a", "name": "get_weather", "input": {"city": "Bern"}},
                {"type": "tool_use", "id": "functions_f_1", "name": "now", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "rain"},
                {"type": "tool_result", "tool_use_id": "functions_f_1", "content": [{"type": "text", "text": "noon"}]},
                {"type": "text", "text": "Hurry"},
            ],
        },
    ]


def test_results_of_a_later_turn_stand_first_in_theirs() -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    made = turns(
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "user", "content": "more"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "user", "content": "quick"},
        {"role": "tool", "tool_call_id": "a", "content": "2"},
    )
    assert [each["role"] for each in made] == ["assistant", "user", "assistant", "user"]
    assert [block["type"] for block in made[3]["content"]] == ["tool_result", "text"]


def test_what_says_nothing_is_left_out() -> None:
    assert turns(
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": [{"type": "text", "text": " \n"}, {"type": "text", "text": "b"}]},
    ) == [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]


def test_a_system_prompt_alone_is_what_the_user_says() -> None:
    made = sent(messages=[{"role": "system", "content": "Write a poem."}, {"role": "user", "content": ""}])
    assert made["messages"] == [{"role": "user", "content": "Write a poem."}]
    assert "system" not in made


def test_images_and_files() -> None:
    made = turns(
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}, "cache_control": CACHED},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}},
                {"type": "file", "file": {"file_data": "data:text/plain;base64,SGk="}},
            ],
        }
    )
    assert made[0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        {
            "type": "image",
            "source": {"type": "url", "url": "https://example.org/a.png"},
            "cache_control": CACHED,
        },
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "text", "data": "Hi", "media_type": "text/plain"}},
    ]


def test_notes_on_caching_pass() -> None:
    made = sent(
        messages=[
            {"role": "system", "content": "S", "cache_control": CACHED},
            {"role": "user", "content": [{"type": "text", "text": "U", "cache_control": {**CACHED, "ttl": "1h"}}]},
        ],
        tools=[{**TOOL, "cache_control": CACHED}],
    )
    assert made["system"] == [{"type": "text", "text": "S", "cache_control": CACHED}]
    assert made["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert made["tools"][0]["cache_control"] == CACHED


def test_tools_keep_their_bytes() -> None:
    schema = '{"type": "object",  "properties": {"z": {"maximum": 1.0e2}, "a": {"const": "\\u00e9"}}}'
    body = (
        '{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","tool_calls":[{"id":"a",'
        '"type":"function","function":{"name":"f","arguments":"{\\"z\\": 1,  \\"a\\": 2.50}"}}]}],'
        '"tools":[{"type":"function","function":{"name":"f","parameters":' + schema + "}}]}"
    )
    made = to_messages(openai.parse(Dialect.CHAT, body.encode())).request()
    assert b'"input_schema":' + schema.encode() in made
    assert b'"input":{"z": 1,  "a": 2.50}' in made


@pytest.mark.parametrize(
    ("chosen", "parallel", "expected"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("auto", None, {"type": "auto"}),
        ("auto", False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", None, {"type": "any"}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
        ("none", False, {"type": "none"}),
        ({"type": "function", "function": {"name": "get_weather"}}, None, {"type": "tool", "name": "get_weather"}),
    ],
)
def test_which_tools_may_be_called(chosen: Any, parallel: bool | None, expected: Any) -> None:
    made = sent(tools=[TOOL], tool_choice=chosen, parallel_tool_calls=parallel)
    assert made.get("tool_choice") == expected
    assert made["tools"] == [
        {
            "name": "get_weather",
            "description": "Tell the weather.",
            "input_schema": TOOL["function"]["parameters"],  # type: ignore[index]  # it is an object
        }
    ]


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("claude-opus-4-7", "high", ({"type": "adaptive"}, {"effort": "high"})),
        ("anthropic.claude-opus-4-6-v1", "minimal", ({"type": "adaptive"}, {"effort": "low"})),
        ("claude-fable-5-1", "xhigh", ({"type": "adaptive"}, {"effort": "xhigh"})),
        ("claude-sonnet-4-20250514", "medium", ({"type": "enabled", "budget_tokens": 5000}, None)),
        ("claude-3-7-sonnet-latest", "low", ({"type": "enabled", "budget_tokens": 2000}, None)),
        ("qwen3-8b", "high", ({"type": "enabled", "budget_tokens": 8000}, None)),
        ("claude-opus-4-5@20251101", "none", ({"type": "disabled"}, None)),
    ],
)
def test_effort_in_the_form_that_the_model_knows(model: str, effort: str, expected: tuple[Any, Any]) -> None:
    made = sent(model, reasoning_effort=effort, max_tokens=10000)
    assert (made.get("thinking"), made.get("output_config")) == expected


def test_effort_is_left_out_where_anthropic_would_refuse_it() -> None:
    for fields in (
        {"max_tokens": 1000},
        {"max_tokens": 9000, "tools": [TOOL], "tool_choice": "required"},
        {
            "max_tokens": 9000,
            "messages": [
                {"role": "user", "content": "x"},
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "a", "content": "1"},
            ],
        },
    ):
        translation = to_messages(chat_call(reasoning_effort="high", temperature=0.5, **fields))
        made = json.loads(translation.request())
        assert "thinking" not in made
        assert made["temperature"] == 0.5
        assert translation.dropped == ("reasoning_effort",)


def test_thinking_in_anthropics_own_words_passes() -> None:
    config = {"type": "enabled", "budget_tokens": 2000}
    translation = to_messages(chat_call(thinking=config, temperature=0.2, top_k=5, max_tokens=4000))
    made = json.loads(translation.request())
    assert made["thinking"] == config
    assert translation.dropped == ("temperature", "top_k")


def test_signed_thoughts_come_first_and_others_are_left_out() -> None:
    signed = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    hidden = {"type": "redacted_thinking", "data": "ZW5j"}
    unsigned = {"type": "thinking", "thinking": "Hm?", "signature": ""}
    made = turns(
        {"role": "user", "content": "x"},
        {
            "role": "assistant",
            "content": "y",
            "reasoning_content": "Hm.",
            "thinking_blocks": [signed, hidden, unsigned],
        },
        {"role": "user", "content": "z"},
    )
    assert made[1]["content"] == [signed, hidden, {"type": "text", "text": "y"}]


@pytest.mark.parametrize(
    ("model", "given", "expected", "dropped"),
    [
        ("claude-3-opus-20240229", {"temperature": 0.1, "top_p": 0.9}, {"temperature": 0.1, "top_p": 0.9}, ()),
        ("claude-opus-4-1-20250805", {"temperature": 1.0, "top_p": 0.9}, {"temperature": 1.0}, ("top_p",)),
        ("claude-opus-4-1-20250805", {"top_p": 0.9, "top_k": 4}, {"top_p": 0.9, "top_k": 4}, ()),
        ("claude-sonnet-4-5", {"temperature": 1.7, "top_k": -1}, {"temperature": 1.0}, ("temperature", "top_k")),
        ("claude-opus-4-7", {"temperature": 1, "top_p": 1}, {}, ("temperature", "top_p")),
        ("anthropic/claude-5-sonnet", {"temperature": 0}, {}, ("temperature",)),
        ("llama-3", {"temperature": 0.1, "top_p": 0.9}, {"temperature": 0.1, "top_p": 0.9}, ()),
    ],
)
def test_sampling_as_the_model_takes_it(
    model: str, given: dict[str, Any], expected: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    translation = to_messages(chat_call(**given), model)
    made = json.loads(translation.request())
    assert {name: made[name] for name in ("temperature", "top_p", "top_k") if name in made} == expected
    assert translation.dropped == dropped


def test_hints_without_a_counterpart_are_named() -> None:
    translation = to_messages(
        chat_call(
            seed=1, presence_penalty=0.5, logit_bias={"1": 2}, metadata={"a": "b"}, store=False, n=1, logprobs=False,
            modalities=["text"], stop=["x", " "], service_tier="flex", user="u" * 300, unknown_thing=1, prediction=None,
        )
    )  # fmt: skip
    assert json.loads(translation.request())["stop_sequences"] == ["x"]
    assert set(translation.dropped) == {
        "seed", "presence_penalty", "logit_bias", "metadata", "stop", "service_tier", "user", "unknown_thing",
    }  # fmt: skip


def test_the_names_of_what_is_left_out_are_bounded() -> None:
    translation = to_messages(chat_call(**{f"{i:03}" + "x" * 200: 1 for i in range(100)}))
    translation.request()
    assert len(translation.dropped) == 32
    assert {len(name) for name in translation.dropped} == {64}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": True, "top_logprobs": 3}, "logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x", "format": "wav"}}, "audio"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"web_search_options": {"search_context_size": "low"}}, "web_search_options"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice.type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": ""}}]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": [{"role": "function", "name": "f", "content": "1"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
            "messages[0].content[0].file.file_id",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]}]},
            "messages[0].content[0].image_url.url",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_expressed_is_refused(fields: dict[str, Any], param: str) -> None:
    error = refused(**fields)
    assert (error.param, error.code) == (param, "unsupported_parameter")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [UNFINISHED]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"tools": [TOOL], "tool_choice": "sometimes"}, "tool_choice"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages"),
        ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        (
            {"messages": [{"role": "assistant", "thinking_blocks": [{"type": "thinking", "thinking": 1}]}]},
            "messages[0].thinking_blocks[0].thinking",
        ),
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused(fields: dict[str, Any], param: str) -> None:
    error = refused(**fields)
    assert (error.param, error.code) == (param, "invalid_value")


def test_a_schema_for_the_answer() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string"}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}}
    assert sent(response_format=wanted)["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    assert "output_config" not in sent(response_format={"type": "text"})
