"""OpenAI's Responses API as the official SDK sees it, and its events one by one."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.lab.asked import AskedError
from penstock.lab.dialects import responses
from penstock.lab.upstream import Upstream
from tests.lab.conftest import Run
from tests.lab.raw import Seen, ask

PATH = "/v1/responses"
TOOLS: Any = [
    {"type": "function", "name": "weather", "parameters": {"properties": {"city": {"type": "string"}}}},
    {"type": "web_search"},
    {"type": "function", "name": "clock"},
]
CALLED = [("weather", {"city": "city 0"}), ("clock", {"tool": "clock", "call": 1})]


def body(said: object = "one two", *, stream: bool = True, **fields: object) -> bytes:
    return json.dumps({"model": "m", "input": said, "stream": stream, **fields}).encode()


async def post(upstream: Upstream, order: str = "", sent: bytes | None = None) -> Seen:
    return await ask(upstream, order, body() if sent is None else sent, PATH, "x-request-id: 7")


@asynccontextmanager
async def sdk(upstream: Upstream) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=upstream.base_url, api_key="k", max_retries=0) as client:
        yield client


def ordering(order: str, said: Any = "one two", **fields: Any) -> Any:
    """Return the arguments of a call with an order."""
    return {"model": "m", "input": said, "extra_headers": {"x-lab": order}, **fields}


def test_a_response_plain_and_streamed(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        async with sdk(upstream) as client:
            plain = await client.responses.create(**ordering("cached_tokens=1", instructions="be brief"))
            assert (plain.id, plain.status, plain.output_text) == ("resp_lab-1", "completed", "echo: one two")
            assert plain.usage is not None
            assert (plain.usage.input_tokens, plain.usage.output_tokens, plain.usage.total_tokens) == (4, 3, 7)
            assert plain.usage.input_tokens_details.cached_tokens == 1
            async with client.responses.stream(**ordering("")) as stream:
                pieces = [event.delta async for event in stream if event.type == "response.output_text.delta"]
                streamed = await stream.get_final_response()
            assert pieces == ["echo:", " one", " two"]
            assert (streamed.status, streamed.output_text) == ("completed", "echo: one two")
            for stream_it in (True, False):
                capped: Any = await client.responses.create(**ordering("", max_output_tokens=1, stream=stream_it))
                if stream_it:
                    *_, last = [event async for event in capped]
                    assert last.type == "response.incomplete"
                    capped = last.response
                assert (capped.output_text, capped.status, capped.output[0].status) == ("echo:", *["incomplete"] * 2)
                assert capped.incomplete_details.reason == "max_output_tokens"

    serve(case, api_key="k")


def test_a_plain_response_is_what_its_stream_ends_with(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        order = "thinking=3; tool_calls=2; content=I look."
        streamed = (await post(upstream, order, body(tools=TOOLS))).events[-1]
        assert streamed["response"] == (await post(upstream, order, body(tools=TOOLS, stream=False))).json

    serve(case)


def test_the_events_of_a_stream(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        seen = await post(upstream, "thinking=1; tool_calls=1; content=hi; role_events=2")
        kinds = [event["type"].removeprefix("response.") for event in seen.events]
        assert kinds == [
            "created",
            "in_progress",
            "in_progress",
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.done",
            "reasoning_summary_part.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            *["function_call_arguments.delta"] * 4,
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
        assert [event["sequence_number"] for event in seen.events] == list(range(len(kinds)))
        named = [line.removeprefix("event: ") for line in seen.body.decode().split("\n") if line.startswith("event:")]
        assert named == [event["type"] for event in seen.events]
        added = [event for event in seen.events if event["type"] == "response.output_item.added"]
        done = [event for event in seen.events if event["type"] == "response.output_item.done"]
        assert [event["output_index"] for event in added] == [event["output_index"] for event in done] == [0, 1, 2]
        assert [event["item"]["id"] for event in added] == ["rs_7", "msg_7", "fc_7_0"]
        assert seen.events[-1]["response"]["output"] == [event["item"] for event in done]
        assert (await post(upstream, "done=false")).events[-1]["type"] == "response.output_item.done"

    serve(case)


@pytest.mark.parametrize("streamed", [True, False])
def test_tools_are_called_and_their_results_echoed(serve: Run, streamed: bool) -> None:
    async def case(upstream: Upstream) -> None:
        async with sdk(upstream) as client:

            async def create(order: str, said: object, **fields: Any) -> Any:
                call = ordering(order, said, tools=TOOLS, **fields)
                if not streamed:
                    return await client.responses.create(**call)
                async with client.responses.stream(**call) as stream:
                    return await stream.get_final_response()

            first = await create("tool_calls=2; thinking=2", "one two")
            thought, *calls = first.output
            assert thought.summary[0].text == "thinking about:"
            assert [(call.name, json.loads(call.arguments)) for call in calls] == CALLED
            assert first.usage.output_tokens_details.reasoning_tokens == 2
            results = [
                {"type": "function_call_output", "call_id": call.call_id, "output": output}
                for call, output in zip(calls, ("sunny", [{"type": "input_text", "text": "noon"}]), strict=True)
            ]
            asking = {"role": "user", "content": "one two"}
            called = [
                {"type": "function_call", "call_id": call.call_id, "name": "x", "arguments": ""} for call in calls
            ]
            second = await create("", [asking, *called, *results])
            assert (second.output_text, second.usage.input_tokens) == ("echo: sunny noon", 4)
            assert (await create("", results, previous_response_id=first.id)).output_text == "echo: sunny noon"
            with pytest.raises(openai.BadRequestError, match="No tool call found"):
                await create("", [asking, *results])
            with pytest.raises(openai.BadRequestError, match="No tool output found"):
                await create("", [asking, *called, *results[1:]])

    serve(case)


def test_images_count_and_are_not_echoed(serve: Run) -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,aGk="}

    async def case(upstream: Upstream) -> None:
        said = [{"role": "user", "content": [image, {"type": "input_text", "text": "what is it"}]}]
        seen = (await post(upstream, "", body(said, stream=False))).json
        assert seen["output"][0]["content"][0]["text"] == "echo: what is it"
        assert seen["usage"]["input_tokens"] == 4

    serve(case)


@pytest.mark.parametrize(
    ("status", "raised"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
def test_each_status_is_the_error_of_the_sdk(serve: Run, status: int, raised: type[openai.APIStatusError]) -> None:
    async def case(upstream: Upstream) -> None:
        async with sdk(upstream) as client:
            with pytest.raises(raised, match="too much") as caught:
                await client.responses.create(**ordering(f"status={status}; error=too much"))
        assert caught.value.status_code == status

    serve(case)


def test_an_error_in_a_stream(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        async with sdk(upstream) as client:
            stream = await client.responses.create(**ordering("error_after=1; error_code=server_error", stream=True))
            *_, content, error = [event async for event in stream]
        assert content.type == "response.output_text.delta"
        assert error.type == "error"
        assert (error.code, error.message) == ("server_error", "ordered by the lab")
        assert error.sequence_number == content.sequence_number + 1

    serve(case)


@pytest.mark.parametrize(
    ("order", "counts"),
    [
        ("prompt_tokens=50; completion_tokens=9", (50, 9, 59)),
        ("usage=negative", (-1, -1, -2)),
        ("usage=text", ("2", "3", "5")),
        ("usage=null", None),
        ("usage=missing", None),
    ],
)
def test_usage_as_ordered(serve: Run, order: str, counts: tuple[object, ...] | None) -> None:
    async def case(upstream: Upstream) -> None:
        plain = (await post(upstream, order, body(stream=False))).json
        events = (await post(upstream, order)).events
        for response in (plain, events[-1]["response"]):
            usage = response.get("usage")
            names = ("input_tokens", "output_tokens", "total_tokens")
            assert (usage and tuple(usage[name] for name in names)) == counts
        assert ("usage" in plain) == ("usage" in events[0]["response"]) == (order != "usage=missing")

    serve(case)


def test_what_no_client_knows_and_usage_on_every_event(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        events = (await post(upstream, "unknown_fields; usage_on=every")).events
        assert all("x_lab" in event for event in events)
        response = events[-1]["response"]
        assert "x_lab" in response
        assert "x_lab" in response["output"][0]
        assert "x_lab" in response["output"][0]["content"][0]
        told = [event["usage"]["output_tokens"] for event in events if event["type"] == "response.output_text.delta"]
        assert told == [1, 2, 3]
        call = ordering("unknown_fields; unknown_events")
        async with sdk(upstream) as client, client.responses.stream(**call) as stream:
            assert (await stream.get_final_response()).output_text == "echo: one two"

    serve(case)


def test_faults_lie_where_they_are_ordered(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        cut = await post(upstream, "cut_after=2")
        assert cut.raw_body.count(b"event: response.output_text.delta") == 2
        assert b"output_text.done" not in cut.raw_body
        spoiled = await post(upstream, "broken=utf8; broken_after=1")
        assert spoiled.body.count(b'"delta":"\xff\xfe one"') == 1

    serve(case)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "text", "content", "call_id", "output", "role", "name"]), inner)
    ),
    max_leaves=8,
)


@given(JSON, JSON)
def test_any_body_is_a_request_or_refused(said: object, tools: object) -> None:
    try:
        asked = responses.read(json.dumps({"model": "m", "input": said, "tools": tools}).encode())
    except AskedError as error:
        assert str(error)
    else:
        assert asked.prompt_tokens >= 0


def test_what_is_stored_can_be_gone_on_from(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        async with sdk(upstream) as client:
            first = await client.responses.create(model="m", input="one two")
            for stream_it in (False, True):
                call: Any = {"model": "m", "input": "three", "previous_response_id": first.id, "stream": stream_it}
                said: Any = await client.responses.create(**call)
                if stream_it:
                    *_, last = [event async for event in said]
                    said = last.response
                assert (said.previous_response_id, said.usage.input_tokens) == (first.id, 3)
            unkept = await client.responses.create(model="m", input="x", store=False)
            for name in (unkept.id, "resp_of_others"):
                with pytest.raises(openai.BadRequestError) as caught:
                    await client.responses.create(model="m", input="x", previous_response_id=name)
                told = (caught.value.param, caught.value.code)
                assert told == ("previous_response_id", "previous_response_not_found")

    serve(case)


def test_what_is_sealed_here_is_known_here(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        async with sdk(upstream) as client, Upstream() as other, sdk(other) as stranger:
            call = {"include": ["reasoning.encrypted_content"], "store": False}
            reply = await client.responses.create(**ordering("thinking=2", **call))
            thought: Any = reply.output[0].model_dump(exclude_none=True)
            assert thought["encrypted_content"].startswith("gAAAA")
            again: Any = [thought, {"role": "user", "content": "go"}]
            assert (await client.responses.create(model="m", input=again)).output_text == "echo: go"
            with pytest.raises(openai.BadRequestError) as caught:
                await stranger.responses.create(model="m", input=again)
            assert caught.value.code == "invalid_encrypted_content"
            plain = await client.responses.create(**ordering("thinking=2"))
            assert "encrypted_content" not in plain.output[0].model_dump(exclude_none=True)

    serve(case)
