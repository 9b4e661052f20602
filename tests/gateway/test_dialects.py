"""Both official SDKs, unmodified, against an upstream of either shape: all four pairs."""

import base64
import json
from collections.abc import Iterator
from typing import Any, cast

import anthropic
import httpx
import openai
import pytest

from penstock.journal.records import Settled
from penstock.types.dialect import Dialect
from penstock.types.usage import UsageSource
from tests.processes import PRICE, Front, Lab, eventually, model, provider

UPSTREAMS = ["openai", "anthropic"]
OF_RESPONSES = [*UPSTREAMS, "native"]
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
PLACES = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def order(text: str = "one two", /, **fields: object) -> str:
    return f"lab: {json.dumps(fields)} {text}"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, Lab]]:
    with Lab() as lab, Front(tmp_path_factory.mktemp("front")) as front:
        front.publish(
            [
                *(provider(kind, lab.address(), provider=kind) for kind in UPSTREAMS),
                provider("native", lab.address(), speaks=(Dialect.RESPONSES,)),
            ],
            [model(kind, kind) for kind in OF_RESPONSES] + [model("either", "anthropic", fallback=("openai",))],
        )
        yield front, lab


@pytest.fixture
def front(pair: tuple[Front, Lab]) -> Front:
    return pair[0]


@pytest.fixture
def lab(pair: tuple[Front, Lab]) -> Lab:
    return pair[1]


@pytest.fixture
def of_openai(front: Front) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key=front.key, max_retries=0) as client:
        yield client


@pytest.fixture
def of_anthropic(front: Front) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=front.url, api_key=front.key, max_retries=0) as client:
        yield client


def asked(lab: Lab) -> tuple[str, dict[str, Any]]:
    """Return path and body of the last request that the lab has received."""
    last = lab.last()[0]
    return last["path"], json.loads(last["body"])


# The official SDK of OpenAI


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_chat(of_openai: openai.OpenAI, front: Front, lab: Lab, upstream: str) -> None:
    reply = of_openai.chat.completions.create(
        model=upstream, messages=[{"role": "system", "content": "be brief"}, {"role": "user", "content": "one two"}]
    )
    assert reply.choices[0].message.content == "echo: one two"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert asked(lab)[0] == ("/v1/messages" if upstream == "anthropic" else "/v1/chat/completions")
    record = front.settled(cast("str", reply._request_id))
    assert (record.usage.source, record.usage.output_tokens) == (UsageSource.UPSTREAM, reply.usage.completion_tokens)
    assert record.deployment == upstream


@pytest.mark.parametrize("include_usage", [True, False])
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_chat_stream(of_openai: openai.OpenAI, upstream: str, include_usage: bool) -> None:
    chunks = list(
        of_openai.chat.completions.create(
            model=upstream,
            messages=[{"role": "user", "content": "one two three"}],
            stream=True,
            stream_options={"include_usage": include_usage},
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == "echo: one two three"
    assert sum(chunk.usage is not None for chunk in chunks) == include_usage
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_parallel_tools_and_their_results(of_openai: openai.OpenAI, lab: Lab, upstream: str, stream: bool) -> None:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": PLACES}}]
    messages: list[Any] = [{"role": "user", "content": order(tool_calls=2)}]
    if stream:
        with of_openai.chat.completions.stream(model=upstream, messages=messages, tools=tools) as events:
            choice: Any = events.get_final_completion().choices[0]
    else:
        choice = of_openai.chat.completions.create(model=upstream, messages=messages, tools=tools).choices[0]
    assert choice.finish_reason == "tool_calls"
    calls = choice.message.tool_calls
    assert calls is not None
    assert [call.function.name for call in calls] == ["weather", "weather"]
    assert len({call.id for call in calls}) == 2
    assert all(json.loads(call.function.arguments) for call in calls)
    messages.append(choice.message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"}))
    messages += [{"role": "tool", "tool_call_id": call.id, "content": f"sunny {call.id}"} for call in calls]
    final = of_openai.chat.completions.create(model=upstream, messages=messages, tools=tools)
    assert "sunny" in (final.choices[0].message.content or "")
    if upstream == "anthropic":
        results = asked(lab)[1]["messages"][-1]["content"]
        assert [result["tool_use_id"] for result in results] == [call.id for call in calls]


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_an_image(of_openai: openai.OpenAI, lab: Lab, upstream: str) -> None:
    of_openai.chat.completions.create(
        model=upstream,
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "what is it"},
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
                ],
            }
        ],
    )
    if upstream == "anthropic":
        block = asked(lab)[1]["messages"][0]["content"][1]
        assert block["source"] == {"type": "base64", "media_type": "image/png", "data": PIXEL}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, openai.BadRequestError), (500, openai.InternalServerError), (529, openai.InternalServerError)],
)
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_errors_have_openais_shape(
    of_openai: openai.OpenAI, upstream: str, status: int, kind: type[openai.APIStatusError]
) -> None:
    with pytest.raises(kind) as caught:
        of_openai.chat.completions.create(
            model=upstream, messages=[{"role": "user", "content": order(status=status, error="too long")}]
        )
    assert isinstance(caught.value.body, dict)
    assert ("too long" in caught.value.body["message"]) is (status == 400)


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_a_cut_stream_is_an_error_to_openais_sdk(of_openai: openai.OpenAI, front: Front, upstream: str) -> None:
    with pytest.raises(openai.APIError):
        for _ in of_openai.chat.completions.create(
            model=upstream, messages=[{"role": "user", "content": order(cut_after=1)}], stream=True
        ):
            pass


@pytest.mark.parametrize("upstream", OF_RESPONSES)
def test_response(of_openai: openai.OpenAI, front: Front, lab: Lab, upstream: str) -> None:
    reply = of_openai.responses.create(model=upstream, instructions="be brief", input="one two", store=False)
    assert reply.output_text == "echo: one two"
    assert reply.status == "completed"
    paths = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "native": "/v1/responses"}
    assert asked(lab)[0] == paths[upstream]
    assert reply.usage is not None
    record = front.settled(cast("str", reply._request_id))
    assert (record.usage.source, record.usage.output_tokens) == (UsageSource.UPSTREAM, reply.usage.output_tokens)


@pytest.mark.parametrize("upstream", OF_RESPONSES)
def test_response_stream(of_openai: openai.OpenAI, front: Front, upstream: str) -> None:
    with of_openai.responses.stream(model=upstream, input="one two three") as stream:
        deltas = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert deltas == final.output_text == "echo: one two three"
    assert final.usage is not None
    record = eventually(lambda: [r for r in front.journal() if isinstance(r, Settled)][-1:], "the settlement")[0]
    assert (record.usage.source, record.usage.output_tokens) == (UsageSource.UPSTREAM, final.usage.output_tokens)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("upstream", OF_RESPONSES)
def test_functions_of_a_response(of_openai: openai.OpenAI, upstream: str, stream: bool) -> None:
    tools: Any = [{"type": "function", "name": "weather", "parameters": PLACES, "strict": False}]
    asking: list[Any] = [{"role": "user", "content": order(tool_calls=2)}]
    if stream:
        with of_openai.responses.stream(model=upstream, input=asking, tools=tools) as events:
            reply: Any = events.get_final_response()
    else:
        reply = of_openai.responses.create(model=upstream, input=asking, tools=tools)
    calls = [item for item in reply.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["weather", "weather"]
    asking += [
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
        for call in calls
    ]
    asking += [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
    assert "sunny" in of_openai.responses.create(model=upstream, input=asking, tools=tools).output_text


@pytest.mark.parametrize("upstream", OF_RESPONSES)
def test_a_cut_stream_of_a_response_is_an_error(of_openai: openai.OpenAI, upstream: str) -> None:
    with pytest.raises(openai.APIError):
        for _ in of_openai.responses.create(model=upstream, input=order(cut_after=1), stream=True):
            pass


@pytest.mark.parametrize("upstream", OF_RESPONSES)
def test_what_nobody_keeps_is_not_found(of_openai: openai.OpenAI, upstream: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        of_openai.responses.create(model=upstream, input="one", previous_response_id="resp_1")
    assert (caught.value.param, caught.value.code) == ("previous_response_id", "previous_response_not_found")


# The official SDK of Anthropic


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_message(of_anthropic: anthropic.Anthropic, front: Front, lab: Lab, upstream: str) -> None:
    reply = of_anthropic.messages.create(
        model=upstream, max_tokens=64, system="be brief", messages=[{"role": "user", "content": "one two"}]
    )
    assert [block.text for block in reply.content if block.type == "text"] == ["echo: one two"]
    assert reply.stop_reason == "end_turn"
    assert asked(lab)[0] == ("/v1/messages" if upstream == "anthropic" else "/v1/chat/completions")
    assert reply._request_id is not None
    record = front.settled(reply._request_id)
    assert (record.usage.source, record.usage.output_tokens) == (UsageSource.UPSTREAM, reply.usage.output_tokens)
    assert record.usage.input_tokens == reply.usage.input_tokens


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_message_stream(of_anthropic: anthropic.Anthropic, front: Front, upstream: str) -> None:
    with of_anthropic.messages.stream(
        model=upstream, max_tokens=64, messages=[{"role": "user", "content": "one two three"}]
    ) as events:
        text = "".join(events.text_stream)
        final = events.get_final_message()
    assert text == "echo: one two three"
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_parallel_tool_use(of_anthropic: anthropic.Anthropic, lab: Lab, upstream: str, stream: bool) -> None:
    asking: dict[str, Any] = {
        "model": upstream,
        "max_tokens": 64,
        "tools": [{"name": "weather", "input_schema": PLACES}],
        "messages": [{"role": "user", "content": order(tool_calls=2)}],
    }
    if stream:
        with of_anthropic.messages.stream(**asking) as events:
            reply = cast("anthropic.types.Message", events.get_final_message())
    else:
        reply = of_anthropic.messages.create(**asking)
    assert reply.stop_reason == "tool_use"
    uses = [block for block in reply.content if block.type == "tool_use"]
    assert [use.name for use in uses] == ["weather", "weather"]
    assert all(use.input for use in uses)
    results = [{"type": "tool_result", "tool_use_id": use.id, "content": f"sunny {use.id}"} for use in uses]
    asking["messages"] += [
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in reply.content]},
        {"role": "user", "content": results},
    ]
    final = of_anthropic.messages.create(**asking)
    assert "sunny" in "".join(block.text for block in final.content if block.type == "text")
    if upstream == "openai":
        told = [message for message in asked(lab)[1]["messages"] if message["role"] == "tool"]
        assert [message["tool_call_id"] for message in told] == [use.id for use in uses]


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_thinking(of_anthropic: anthropic.Anthropic, upstream: str) -> None:
    reply = of_anthropic.messages.create(
        model=upstream,
        max_tokens=4096,
        thinking={"type": "enabled", "budget_tokens": 1024},
        messages=[{"role": "user", "content": order(thinking=3)}],
    )
    assert [block.type for block in reply.content] == ["thinking", "text"]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, anthropic.BadRequestError), (500, anthropic.InternalServerError), (529, anthropic.InternalServerError)],
)
@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_errors_have_anthropics_shape(
    of_anthropic: anthropic.Anthropic, upstream: str, status: int, kind: type[anthropic.APIStatusError]
) -> None:
    with pytest.raises(kind) as caught:
        of_anthropic.messages.create(
            model=upstream,
            max_tokens=9,
            messages=[{"role": "user", "content": order(status=status, error="too long")}],
        )
    told = cast("dict[str, Any]", caught.value.body)
    assert told["type"] == "error"
    assert ("too long" in told["error"]["message"]) is (status == 400)
    assert caught.value.request_id is not None


@pytest.mark.parametrize("upstream", UPSTREAMS)
def test_a_cut_stream_is_an_error_to_anthropics_sdk(of_anthropic: anthropic.Anthropic, upstream: str) -> None:
    with (
        pytest.raises(anthropic.APIStatusError),
        of_anthropic.messages.stream(
            model=upstream, max_tokens=9, messages=[{"role": "user", "content": order(cut_after=1)}]
        ) as events,
    ):
        events.until_done()


def test_own_errors_are_mapped(of_anthropic: anthropic.Anthropic, front: Front) -> None:
    hello: Any = [{"role": "user", "content": "hello"}]
    with pytest.raises(anthropic.NotFoundError):
        of_anthropic.messages.create(model="nope", max_tokens=9, messages=hello)
    stranger = anthropic.Anthropic(base_url=front.url, api_key="sk-wrong", max_retries=0)
    with stranger, pytest.raises(anthropic.AuthenticationError):
        stranger.messages.create(model="openai", max_tokens=9, messages=hello)
    with pytest.raises(anthropic.BadRequestError) as caught:
        of_anthropic.messages.create(model="openai", max_tokens=0, messages=hello)
    assert "max_tokens" in str(caught.value)


def test_models_are_listed_to_both(of_openai: openai.OpenAI, of_anthropic: anthropic.Anthropic) -> None:
    names = {"openai", "anthropic", "native", "either"}
    assert {entry.id for entry in of_openai.models.list()} == names
    assert {entry.id for entry in of_anthropic.models.list()} == names
    assert of_anthropic.models.retrieve("either").created_at.year == 2023


def test_tokens_are_counted_where_the_upstream_can(of_anthropic: anthropic.Anthropic, front: Front) -> None:
    hello: Any = [{"role": "user", "content": "one two"}]
    assert of_anthropic.messages.count_tokens(model="anthropic", messages=hello).input_tokens > 0
    with pytest.raises(anthropic.BadRequestError) as caught:
        of_anthropic.messages.count_tokens(model="openai", messages=hello)
    assert "operation" in str(caught.value)


# What is true of any pair


def test_what_one_dialect_cannot_express_another_deployment_answers(of_openai: openai.OpenAI, front: Front) -> None:
    hello: Any = [{"role": "user", "content": "one"}]
    with pytest.raises(openai.BadRequestError) as caught:
        of_openai.chat.completions.create(model="anthropic", messages=hello, logprobs=True)
    assert caught.value.code == "unsupported_parameter"
    reply = of_openai.chat.completions.create(model="either", messages=hello, logprobs=True)
    assert front.settled(cast("str", reply._request_id)).deployment == "openai"


def test_what_was_left_out_is_admitted(front: Front) -> None:
    body = {"messages": [{"role": "user", "content": "one"}], "seed": 7, "x\r\nevil: 1": 2}
    for upstream in UPSTREAMS:
        got = front.client.post("/v1/chat/completions", json={"model": upstream} | body)
        assert got.status_code == 200
        assert "evil" not in got.headers
        assert ("seed" in got.headers.get("x-penstock-dropped", "")) is (upstream == "anthropic")


def test_what_was_left_out_is_settled_however_long_its_name(front: Front) -> None:
    got = front.client.post("/v1/responses", json={"model": "openai", "input": "one", "k" * 5_000_000: 1})
    assert got.status_code == 200
    assert front.settled(got.headers["x-request-id"]).cost_nano > 0
    names = {f"a{number}": 1 for number in range(900)}
    got = front.client.post("/v1/responses", json={"model": "openai", "input": "one"} | names)
    assert len(got.headers["x-penstock-dropped"].split(", ")) == 32


def test_a_fallback_speaks_its_own_dialect(of_anthropic: anthropic.Anthropic, front: Front, lab: Lab) -> None:
    rule = [{"path": "/v1/messages", "order": {"status": 500}, "times": 1}]
    httpx.post(f"{lab.url}/lab/script", json=rule).raise_for_status()
    reply = of_anthropic.messages.create(
        model="either", max_tokens=9, messages=[{"role": "user", "content": "one two"}]
    )
    httpx.post(f"{lab.url}/lab/script", json=[]).raise_for_status()
    assert [block.text for block in reply.content if block.type == "text"] == ["echo: one two"]
    assert front.settled(cast("str", reply._request_id)).deployment == "openai"


def test_cached_tokens_are_priced_in_every_pair(front: Front, lab: Lab) -> None:
    """Every token once, at its own price, whichever way the counts have been translated."""
    costs = set()
    for upstream in UPSTREAMS:
        said = order(prompt_tokens=1000, cached_tokens=600, completion_tokens=10)
        for path, body in (
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": said}]}),
            ("/v1/messages", {"messages": [{"role": "user", "content": said}], "max_tokens": 99}),
        ):
            for stream in (False, True):
                got = front.client.post(path, json={"model": upstream, "stream": stream} | body)
                assert got.status_code == 200
                record = front.settled(got.headers["x-request-id"])
                assert (record.usage.input_tokens, record.usage.cache_read_tokens) == (1000, 600)
                costs.add(record.cost_nano)
    assert len(costs) == 1
    assert PRICE.cache_read is not None


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_an_answer_whose_upstream_tells_no_usage_is_not_free(front: Front, path: str) -> None:
    said = order("long " * 200, usage="missing")
    asking = {"input": said} if path == "/v1/responses" else {"messages": [{"role": "user", "content": said}]}
    cap = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
    got = front.client.post(path, json={"model": "openai", cap: 999} | asking)
    assert got.status_code == 200
    record = front.settled(got.headers["x-request-id"])
    assert record.usage.source is UsageSource.ESTIMATED
    assert record.usage.output_tokens >= 200
    assert record.cost_nano > 0


def test_a_client_that_leaves_a_translated_stream_pays_for_what_it_got(front: Front, lab: Lab) -> None:
    body = {"model": "anthropic", "stream": True, "messages": [{"role": "user", "content": order(stall_after=2)}]}
    with front.client.stream("POST", "/v1/chat/completions", json=body) as got:
        identity = got.headers["x-request-id"]
        assert next(got.iter_raw())
    record = front.settled(identity)
    assert record.outcome == "cancelled"
    assert record.usage.output_tokens >= 1
    eventually(lambda: lab.stats()["in_progress"] == 0, "the upstream is free")


@pytest.mark.parametrize("name", ["a b", "a," * 40, ""])
def test_features_in_trial_are_names(front: Front, name: str) -> None:
    body = {"model": "anthropic", "max_tokens": 9, "messages": [{"role": "user", "content": "one"}]}
    got = front.client.post("/v1/messages", json=body, headers={"anthropic-beta": name})
    assert got.status_code == 400


def test_features_in_trial_reach_their_own_kind_alone(front: Front, lab: Lab) -> None:
    for upstream in UPSTREAMS:
        body = {"model": upstream, "max_tokens": 9, "messages": [{"role": "user", "content": "one"}]}
        got = front.client.post("/v1/messages", json=body, headers={"anthropic-beta": "context-1m-2025-08-07"})
        assert got.status_code == 200
        headers = {name.lower() for name in lab.last()[0]["headers"]}
        assert ("anthropic-beta" in headers) is (upstream == "anthropic")
        assert ("anthropic-version" in headers) is (upstream == "anthropic")
