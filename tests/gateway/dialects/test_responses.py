import json
from typing import Any

import pytest

from penstock.gateway.dialects import responses
from penstock.types.dialect import Dialect
from penstock.types.errors import InvalidRequest


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "chat", "input": "hello"} | fields).encode()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": "10"}, "max_output_tokens"),
        ({"input": 5}, "input"),
        ({"input": [1]}, "input[0]"),
        ({"input": [{"type": 5}]}, "input[0].type"),
        ({"instructions": ["x"]}, "instructions"),
        ({"model": ""}, "model"),
        ({"model": "m" * 300}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        ({"stream_options": {}}, "stream_options"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"top_logprobs": 99}, "top_logprobs"),
        ({"tools": [1]}, "tools[0]"),
        ({"tool_choice": 1}, "tool_choice"),
        ({"text": "json"}, "text"),
        ({"reasoning": "high"}, "reasoning"),
        ({"metadata": {"a": 1}}, "metadata[...]"),
        ({"include": "all"}, "include"),
        ({"store": "no"}, "store"),
        ({"previous_response_id": 5}, "previous_response_id"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        responses.parse(body(**fields))
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("document", "param"),
    [
        ({"input": "x"}, "model"),
        ({"model": "chat"}, "input"),
        ({"model": "chat", "input": None, "conversation": None}, "input"),
    ],
)
def test_what_is_missing_is_named(document: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        responses.parse(json.dumps(document).encode())
    assert (caught.value.param, caught.value.code) == (param, "missing_required_parameter")


def test_what_an_upstream_keeps_is_noted() -> None:
    plain = responses.parse(body())
    assert (plain.previous, plain.reference, plain.sealed, plain.stored) == (None, "", False, True)
    assert responses.parse(body(previous_response_id="resp_1")).previous == "resp_1"
    assert responses.parse(body(conversation="c", previous_response_id=None)).reference == "conversation"
    assert responses.parse(body(input=[{"type": "reasoning", "encrypted_content": "x"}])).sealed
    assert not responses.parse(body(input="my encrypted_content")).sealed
    assert [responses.parse(body(store=said)).stored for said in (None, True, False)] == [True, True, False]


@pytest.mark.parametrize("field", [{"previous_response_id": "resp_1"}, {"prompt": {"id": "p"}}, {"conversation": "c"}])
def test_who_goes_on_from_something_need_not_say_more(field: dict[str, Any]) -> None:
    assert responses.parse(json.dumps({"model": "chat", **field}).encode()).model == "chat"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n_predict", "n", "n_cmpl", "best_of"])
def test_other_names_for_what_is_counted_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        responses.parse(body(**{name: 100}))
    assert (caught.value.param, caught.value.code) == (name, "unsupported_parameter")


def test_what_goes_on_in_the_background_is_refused() -> None:
    with pytest.raises(InvalidRequest) as caught:
        responses.parse(body(background=True))
    assert (caught.value.param, caught.value.code) == ("background", "unsupported_parameter")
    assert responses.parse(body(background=False)).model == "chat"


def test_what_a_request_asks_for() -> None:
    call = responses.parse(body(stream=True, max_output_tokens=7, instructions="short", unknown={"x": [1]}, top_p=None))
    assert (call.dialect, call.model, call.stream, call.max_output, call.choices) == (
        Dialect.RESPONSES, "chat", True, 7, 1,
    )  # fmt: skip
    assert call.usage_wanted, "the last event of every stream has it"
    assert call.prompt_bytes == len('"hello"') + len('"short"')
    assert not responses.parse(body()).usage_wanted


def test_a_plain_body_for_an_upstream_of_the_same_name_is_the_clients_own() -> None:
    sent = body(stream=True)
    assert responses.for_upstream(responses.parse(sent), "chat", None) is sent


def test_only_the_models_name_is_exchanged() -> None:
    sent = json.dumps({"model": "chat", "input": [{"role": "user", "content": "é"}], "x": 1.50}, separators=(",", ":"))
    patched = responses.for_upstream(responses.parse(sent.encode()), "mini", None)
    assert patched.decode() == sent.replace("chat", "mini")


@pytest.mark.parametrize(
    ("own", "cap"), [({}, 4096), ({"max_output_tokens": None}, 4096), ({"max_output_tokens": 7}, 7)]
)
def test_a_cap_that_is_due_is_put_in_where_there_is_none(own: dict[str, Any], cap: int) -> None:
    sent = json.loads(responses.for_upstream(responses.parse(body(**own)), "mini", "max_tokens"))
    assert sent == {"model": "mini", "input": "hello", "max_output_tokens": cap}
