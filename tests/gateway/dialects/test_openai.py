import json
from typing import Any

import pytest

from penstock.gateway.dialects import openai
from penstock.types.dialect import Dialect
from penstock.types.errors import InvalidRequest

HELLO = [{"role": "user", "content": "hello"}]


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "chat", "messages": HELLO} | fields).encode()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": "10"}, "max_tokens"),
        ({"max_completion_tokens": -1}, "max_completion_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"model": 5}, "model"),
        ({"model": ""}, "model"),
        ({"model": "m" * 300}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"n": 0}, "n"),
        ({"n": 1000}, "n"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"stop": 5}, "stop"),
        ({"seed": "x"}, "seed"),
        ({"tools": "x"}, "tools"),
        ({"tools": [1]}, "tools[0]"),
        ({"tool_choice": 1}, "tool_choice"),
        ({"logit_bias": "zz"}, "logit_bias"),
        ({"logit_bias": {"5": 1000}}, "logit_bias[...]"),
        ({"response_format": "json"}, "response_format"),
        ({"top_logprobs": 99}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": []}, "stream_options"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        openai.parse(Dialect.CHAT, body(**fields))
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("dialect", "document", "param"),
    [
        (Dialect.CHAT, {"messages": HELLO}, "model"),
        (Dialect.CHAT, {"model": "chat"}, "messages"),
        (Dialect.COMPLETIONS, {"model": "chat"}, "prompt"),
        (Dialect.COMPLETIONS, {"model": "chat", "prompt": 5}, "prompt"),
        (Dialect.COMPLETIONS, {"model": "chat", "prompt": []}, "prompt"),
        (Dialect.EMBEDDINGS, {"model": "chat"}, "input"),
        (Dialect.EMBEDDINGS, {"model": "chat", "input": ""}, "input"),
    ],
)
def test_what_is_missing_is_named(dialect: Dialect, document: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        openai.parse(dialect, json.dumps(document).encode())
    assert caught.value.param == param


@pytest.mark.parametrize("value", [None, 1, 2**31 - 1])
def test_nulls_and_the_largest_values_pass(value: int | None) -> None:
    call = openai.parse(Dialect.CHAT, body(max_tokens=value, stop=None, temperature=None, unknown={"x": [1]}))
    assert call.max_output == value


def test_the_newer_name_of_the_cap_wins() -> None:
    assert openai.parse(Dialect.CHAT, body(max_tokens=5, max_completion_tokens=7)).max_output == 7


def test_a_plain_body_for_an_upstream_of_the_same_name_is_the_clients_own() -> None:
    sent = body()
    assert openai.for_upstream(openai.parse(Dialect.CHAT, sent), "chat", None) is sent


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": None, "other": 1}])
def test_usage_is_asked_for_in_every_stream(options: dict[str, Any] | None) -> None:
    call = openai.parse(Dialect.CHAT, body(stream=True, stream_options=options))
    assert not call.usage_wanted
    patched = json.loads(openai.for_upstream(call, "mini", None))
    assert patched["model"] == "mini"
    assert patched["stream_options"] == {**(options or {}), "include_usage": True}


def test_a_client_that_asks_for_usage_itself_is_left_alone() -> None:
    sent = body(stream=True, stream_options={"include_usage": True})
    call = openai.parse(Dialect.CHAT, sent)
    assert call.usage_wanted
    assert openai.for_upstream(call, "chat", None) is sent


def test_content_may_be_parts_or_null() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "x"}]}, {"role": "assistant", "content": None}]
    assert openai.parse(Dialect.CHAT, body(messages=messages)).model == "chat"


@pytest.mark.parametrize(
    ("fields", "choices"),
    [
        ({"prompt": "x"}, 1),
        ({"prompt": "x", "n": 3}, 3),
        ({"prompt": ["x", "y"], "n": 3}, 6),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1, 2], [3]]}, 2),
    ],
)
def test_how_many_answers_are_asked_for(fields: dict[str, Any], choices: int) -> None:
    assert openai.parse(Dialect.COMPLETIONS, json.dumps({"model": "m"} | fields).encode()).choices == choices


@pytest.mark.parametrize("name", ["n_predict", "n_cmpl"])
@pytest.mark.parametrize("dialect", [Dialect.CHAT, Dialect.COMPLETIONS])
def test_other_names_for_what_is_counted_are_refused(name: str, dialect: Dialect) -> None:
    with pytest.raises(InvalidRequest) as caught:
        openai.parse(dialect, body(prompt="x", **{name: 100}))
    assert (caught.value.param, caught.value.code) == (name, "unsupported_parameter")
    assert openai.parse(dialect, body(prompt="x", **{name: None})).choices == 1


@pytest.mark.parametrize(
    ("dialect", "name"), [(Dialect.CHAT, "best_of"), (Dialect.COMPLETIONS, "max_completion_tokens")]
)
def test_what_only_the_other_dialect_counts_is_refused(dialect: Dialect, name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        openai.parse(dialect, body(prompt="x", max_tokens=1, **{name: 100}))
    assert (caught.value.param, caught.value.code) == (name, "unsupported_parameter")


def test_of_two_caps_the_larger_is_what_may_be_used() -> None:
    call = openai.parse(Dialect.CHAT, body(max_tokens=100, max_completion_tokens=3))
    assert call.most_output == 100


def test_all_that_is_tried_for_the_best_is_counted() -> None:
    sent = json.dumps({"model": "chat", "prompt": ["a", "b"], "best_of": 5, "n": 2, "max_tokens": 10}).encode()
    assert openai.parse(Dialect.COMPLETIONS, sent).most_output == 2 * 5 * 10


@pytest.mark.parametrize("stream", [False, True])
def test_a_cap_that_is_due_is_put_in_where_there_is_none(stream: bool) -> None:
    call = openai.parse(Dialect.CHAT, body(stream=stream))
    sent = json.loads(openai.for_upstream(call, "mini", "max_completion_tokens"))
    assert (sent["model"], sent["max_completion_tokens"], "max_tokens" in sent) == ("mini", 4096, False)
    mine = openai.parse(Dialect.CHAT, body(max_tokens=7))
    assert json.loads(openai.for_upstream(mine, "mini", "max_completion_tokens")) == {
        **json.loads(mine.document.body),
        "model": "mini",
    }


def test_an_upstream_that_knows_the_old_name_of_the_cap_alone_is_told_it() -> None:
    call = openai.parse(Dialect.CHAT, body(max_completion_tokens=7))
    assert json.loads(openai.for_upstream(call, "m", "max_tokens"))["max_tokens"] == 7
    assert "max_tokens" not in json.loads(openai.for_upstream(call, "m", "max_completion_tokens"))
    assert "max_tokens" not in json.loads(openai.for_upstream(call, "m", None)), "nothing is held for it"


@pytest.mark.parametrize("name", ["MAX_TOKENS", "Max_Tokens", "Model", "N", "Stream"])
def test_what_is_counted_has_its_name_in_one_case_alone(name: str) -> None:
    """Upstreams written in Go take either; the cap that is held and the one that counts would be two."""
    with pytest.raises(InvalidRequest) as caught:
        openai.parse(Dialect.CHAT, body(max_tokens=5, **{name: 4000}))
    assert (caught.value.param, caught.value.code) == (name, "unsupported_parameter")
    assert openai.parse(Dialect.CHAT, body(chatTemplate=1)).model == "chat"
