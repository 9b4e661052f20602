"""Requests of Anthropic's dialect."""

import json
from typing import Any

import pytest

from penstock.gateway.dialects import anthropic
from penstock.types.dialect import Dialect
from penstock.types.errors import InvalidRequest

HELLO = [{"role": "user", "content": "hello"}]


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "chat", "max_tokens": 16, "messages": HELLO} | fields).encode()


def test_a_request_for_a_message() -> None:
    sent = body(stream=True, system="be brief", unknown={"a": 1})
    call = anthropic.parse(sent)
    assert (call.dialect, call.model, call.stream, call.usage_wanted) == (Dialect.MESSAGES, "chat", True, True)
    assert (call.max_output, call.choices, call.most_output) == (16, 1, 16)
    assert call.prompt_bytes == len(json.dumps(HELLO)) + len('"be brief"')
    assert anthropic.for_upstream(call, "chat", None) is sent


def test_only_the_model_changes_on_the_way() -> None:
    sent = body(tools=[{"name": "f", "input_schema": {"b": 1, "a": 2}}])
    patched = anthropic.for_upstream(anthropic.parse(sent), "upstream-model", "max_tokens")
    assert json.loads(patched) == json.loads(sent) | {"model": "upstream-model"}
    assert b'{"b": 1, "a": 2}' in patched, "what is inside keeps its order"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": "hello"}, "messages"),
        ({"temperature": 1.5}, "temperature"),
        ({"model": ""}, "model"),
        ({"stop_sequences": "x"}, "stop_sequences"),
        ({"tools": [1]}, "tools[0]"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        anthropic.parse(body(**fields))
    assert (caught.value.param or "").replace("[...]", "[0]") == param


def test_a_cap_is_demanded() -> None:
    with pytest.raises(InvalidRequest) as caught:
        anthropic.parse(json.dumps({"model": "chat", "messages": HELLO}).encode())
    assert (caught.value.param, caught.value.code) == ("max_tokens", "missing_required_parameter")


@pytest.mark.parametrize("sent", [b"", b"[]", b"{", b'{"model":"a","model":"b"}', b"\xff"])
def test_what_is_no_request(sent: bytes) -> None:
    with pytest.raises(InvalidRequest):
        anthropic.parse(sent)


def test_counting_holds_no_tokens() -> None:
    call = anthropic.parse_count(json.dumps({"model": "chat", "messages": HELLO}).encode())
    assert (call.dialect, call.most_input, call.most_output) == (Dialect.COUNT, 0, 0)
    with pytest.raises(InvalidRequest) as caught:
        anthropic.parse_count(body())
    assert caught.value.param == "max_tokens"


@pytest.mark.parametrize("name", ["max_completion_tokens", "n_predict", "n", "n_cmpl", "best_of"])
def test_other_names_for_what_is_counted_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        anthropic.parse(body(**{name: 100}))
    assert (caught.value.param, caught.value.code) == (name, "unsupported_parameter")
