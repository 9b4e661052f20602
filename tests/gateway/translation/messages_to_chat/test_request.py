"""Requests of Anthropic's clients as upstreams that speak OpenAI's chat are sent them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from penstock.gateway.translation import TRANSLATIONS
from penstock.types.dialect import Dialect
from penstock.types.errors import InvalidRequest
from tests.gateway.translation.exchange import messages_call, to_chat

CACHED = {"type": "ephemeral"}
TOOL = {
    "name": "get_weather",
    "description": "Tell the weather.",
    "input_schema": {"type": "object", "properties": {"unit": {"type": "string"}, "city": {"type": "string"}}},
    "cache_control": CACHED,
}


def sent(**fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(to_chat(messages_call(**fields)).request())
    return made


def said(*given: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sent(messages=list(given))["messages"]
    return found


def test_a_small_request() -> None:
    translation = to_chat(
        messages_call(
            system="Be brief.", stream=True, temperature=0.5, top_p=0.9, stop_sequences=["END"],
            metadata={"user_id": "u-1"}, service_tier="standard_only",
        )
    )  # fmt: skip
    assert json.loads(translation.request()) == {
        "model": "gpt-4o",
        "max_completion_tokens": 100,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["END"],
        "service_tier": "default",
        "user": "u-1",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
    }
    assert translation.dropped == ()


def test_the_cap_goes_by_the_upstreams_name_for_it() -> None:
    made = json.loads(to_chat(cap_name="max_tokens").request())
    assert made["max_tokens"] == 100
    assert "max_completion_tokens" not in made


@pytest.mark.parametrize(("capped", "cap"), [(True, 4096), (False, None)])
def test_a_cap_that_is_missing(capped: bool, cap: int | None) -> None:
    call = msgspec.structs.replace(messages_call(), max_output=None)
    made = TRANSLATIONS[Dialect.MESSAGES, Dialect.CHAT](call, "m", "max_tokens", capped).request()
    assert json.loads(made).get("max_tokens") == cap


def test_system_prompts() -> None:
    made = sent(
        system=[{"type": "text", "text": "One.", "cache_control": CACHED}, {"type": "text", "text": "Two."}],
        messages=[{"role": "user", "content": "a"}, {"role": "system", "content": "Three."}],
    )["messages"]
    assert made == [
        {"role": "system", "content": "One.\n\nTwo."},
        {"role": "user", "content": "a"},
        {"role": "system", "content": "Three."},
    ]


def test_calls_and_results() -> None:
    made = said(
        {"role": "user", "content": [{"type": "text", "text": "Weather?", "cache_control": CACHED}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "ZW5j"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "where", "input": {"city": "B"}},
                {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "rain"},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_2",
                    "content": [
                        {"type": "text", "text": "no clock"},
                        {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}},
                    ],
                    "is_error": True,
                },
                {"type": "text", "text": "Go on."},
            ],
        },
    )
    assert made == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": "toolu_1", "type": "function", "function": {"name": "where", "arguments": '{"city": "B"}'}},
                {"id": "toolu_2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "rain"},
        {"role": "tool", "tool_call_id": "toolu_2", "content": "Error: no clock"},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                {"type": "text", "text": "Go on."},
            ],
        },
    ]  # fmt: skip


def test_results_alone_are_no_turn_of_the_users() -> None:
    made = said({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]})
    assert made == [{"role": "tool", "tool_call_id": "t", "content": ""}]


def test_calls_alone_have_null_for_content() -> None:
    made = said({"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]})
    assert made[0]["content"] is None


def test_thought_goes_back_only_to_upstreams_that_do_not_sign_it() -> None:
    made = said(
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": ""},
                                          {"type": "text", "text": "x"}]},
    )  # fmt: skip
    assert made == [{"role": "assistant", "content": "x", "reasoning_content": "Hm."}]


def test_images_and_documents() -> None:
    made = said(
        {
            "role": "user",
            "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
                {"type": "document", "title": "a.pdf",
                 "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}},
                {"type": "document", "title": "T", "context": "C",
                 "source": {"type": "text", "media_type": "text/plain", "data": "D"}},
                {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "E"}]}},
                {"type": "document", "source": {"type": "content", "content": "F"}},
            ],
        }
    )  # fmt: skip
    assert made[0]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
        *[{"type": "text", "text": text} for text in "TCDEF"],
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, (None, None)),
        ({"type": "auto"}, ("auto", None)),
        ({"type": "auto", "disable_parallel_tool_use": True}, ("auto", False)),
        ({"type": "any"}, ("required", None)),
        ({"type": "none"}, ("none", None)),
        (
            {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True},
            ({"type": "function", "function": {"name": "get_weather"}}, False),
        ),
    ],
)
def test_tools(choice: Any, expected: Any) -> None:
    made = sent(tools=[TOOL], **({} if choice is None else {"tool_choice": choice}))
    assert made["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "Tell the weather.",
                "parameters": TOOL["input_schema"],
            },
        }
    ]
    assert (made.get("tool_choice"), made.get("parallel_tool_calls")) == expected


@pytest.mark.parametrize(
    ("fields", "effort", "wishes"),
    [
        ({}, None, ()),
        ({"thinking": {"type": "disabled"}}, None, ()),
        ({"thinking": {"type": "adaptive"}}, None, ("thinking",)),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low", ("thinking",)),
        ({"thinking": {"type": "enabled", "budget_tokens": 8000}}, "medium", ("thinking",)),
        ({"thinking": {"type": "enabled", "budget_tokens": 32000}}, "high", ("thinking",)),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}},
            "xhigh",
            ("thinking", "output_config.effort"),
        ),
    ],
)
def test_effort(fields: dict[str, Any], effort: str | None, wishes: tuple[str, ...]) -> None:
    """A GPT that does not think would refuse to be told how much: then it is left out, and admitted."""
    thinks = to_chat(messages_call(**fields), "gpt-5-mini")
    assert json.loads(thinks.request()).get("reasoning_effort") == effort
    assert thinks.dropped == ()
    does_not = to_chat(messages_call(**fields), "gpt-4o-mini")
    assert "reasoning_effort" not in json.loads(does_not.request())
    assert does_not.dropped == wishes


@pytest.mark.parametrize("name", ["output_config", "output_format"])
def test_a_schema_for_the_answer(name: str) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string"}}, "additionalProperties": False}
    wanted: dict[str, Any] = {"type": "json_schema", "schema": schema}
    made = sent(**{name: {"format": wanted} if name == "output_config" else wanted})
    assert made["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": True},
    }


def test_hints_without_a_counterpart_are_named() -> None:
    translation = to_chat(
        messages_call(
            top_k=5,
            cache_control=CACHED,
            metadata={"user_id": "u" * 65},
            context_management={"edits": [1]},
            speed="fast",
        )
    )
    translation.request()
    assert translation.dropped == ("top_k", "context_management", "speed", "metadata")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"inference_geo": "us"}, "inference_geo"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}
                ]
            },
            "messages[0].content[0].source.type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "url", "url": "x"}}]}]},
            "messages[0].content[0].source",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "search_result"}]}]}, "messages[0].content[0].type"),
        (
            {"messages": [{"role": "user", "content": [{"type": "redacted_thinking", "data": "x"}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]},
            "messages[0].content[0].type",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
    ],
)
def test_what_cannot_be_expressed_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sent(**fields)
    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "tool_choice"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format"),
        ({"system": [{"type": "text", "text": None}]}, "system[0].text"),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": []}]}
                ]
            },
            "messages[0].content[0].input",
        ),
    ],
)
def test_what_is_malformed_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        sent(**fields)
    assert (caught.value.param, caught.value.code) == (param, "invalid_value")
