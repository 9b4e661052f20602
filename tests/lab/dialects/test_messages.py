"""Anthropic's Messages API as the official SDK sees it, and on the wire where that is stricter."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.lab.asked import AskedError
from penstock.lab.dialects import messages
from penstock.lab.upstream import Upstream
from tests.lab.conftest import Run
from tests.lab.raw import Naps, Seen, ask

PATH = "/v1/messages"
VERSION = "anthropic-version: 2023-06-01"
TOOLS: Any = [
    {
        "name": "weather",
        "input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}},
        },
    },
    {"name": "clock", "input_schema": {"type": "object"}},
]
CALLED = [
    ("weather", {"city": "city 0", "days": 0, "unit": "C"}),
    ("clock", {"tool": "clock", "call": 1}),
    ("weather", {"city": "city 2", "days": 2, "unit": "C"}),
]


def body(prompt: object = "one two", *, stream: bool = True, **fields: object) -> bytes:
    request = {"model": "m", "max_tokens": 100, "stream": stream, "messages": [{"role": "user", "content": prompt}]}
    return json.dumps({**request, **fields}).encode()


async def post(upstream: Upstream, order: str = "", sent: bytes | None = None, path: str = PATH) -> Seen:
    return await ask(upstream, order, body() if sent is None else sent, path, VERSION, "x-request-id: 7")


@asynccontextmanager
async def sdk(upstream: Upstream, key: str = "k") -> AsyncIterator[anthropic.AsyncAnthropic]:
    url = f"http://127.0.0.1:{upstream.port}"
    async with anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0) as client:
        yield client


def ordering(order: str, prompt: Any = "one two", **fields: Any) -> Any:
    """Return the arguments of a call with an order."""
    said = [{"role": "user", "content": prompt}]
    return {"model": "m", "max_tokens": 100, "messages": said, "extra_headers": {"x-lab": order}, **fields}


def test_a_message_plain_and_streamed(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        async with sdk(upstream) as client:
            plain = await client.messages.create(**ordering(""), system="be brief")
            assert [block.to_dict() for block in plain.content] == [{"type": "text", "text": "echo: one two"}]
            assert (plain.id, plain.model, plain.role, plain.stop_reason) == ("msg_lab-1", "m", "assistant", "end_turn")
            assert (plain.usage.input_tokens, plain.usage.output_tokens) == (4, 3)
            async with client.messages.stream(**ordering("")) as stream:
                assert [text async for text in stream.text_stream] == ["echo:", " one", " two"]
                streamed = await stream.get_final_message()
            assert (streamed.stop_reason, streamed.usage.input_tokens, streamed.usage.output_tokens) == (
                "end_turn",
                2,
                3,
            )
            capped = await client.messages.create(**ordering("", max_tokens=1))
            assert (capped.content[0].to_dict()["text"], capped.stop_reason) == ("echo:", "max_tokens")

    serve(case, api_key="k")


def test_the_events_of_a_stream(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        seen = await post(upstream, "role_events=2")
        assert seen.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert (seen.headers["request-id"], "x-request-id" in seen.headers) == ("7", False)
        start, block, *pings, _, _, _, stop, delta, last = seen.events
        usage = {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
        assert start["message"] == {
            "id": "msg_7",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**usage, "input_tokens": 2, "output_tokens": 1},
        }
        assert block["content_block"] == {"type": "text", "text": ""}
        assert pings == [{"type": "ping"}] * 2
        assert stop == {"type": "content_block_stop", "index": 0}
        assert delta["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
        assert delta["usage"] == {**usage, "input_tokens": 2, "output_tokens": 3}
        assert last == {"type": "message_stop"}
        named = [line.removeprefix("event: ") for line in seen.body.decode().split("\n") if line.startswith("event:")]
        assert named == [event["type"] for event in seen.events]
        thoughtful = (await post(upstream, "thinking=1")).events
        assert [event["type"] for event in thoughtful].count("ping") == 1
        assert (await post(upstream, "done=false")).events[-1]["type"] == "message_delta"

    serve(case)


@pytest.mark.parametrize("streamed", [True, False])
def test_tools_are_called_and_their_results_echoed(serve: Run, streamed: bool) -> None:
    async def case(upstream: Upstream) -> None:
        async with sdk(upstream) as client:

            async def create(**call: Any) -> anthropic.types.Message:
                if not streamed:
                    message: anthropic.types.Message = await client.messages.create(**call)
                    return message
                async with client.messages.stream(**call) as stream:
                    return await stream.get_final_message()

            first = await create(**ordering("tool_calls=3; content=I look.", tools=TOOLS))
            text, *calls = first.content
            assert (text.to_dict(), first.stop_reason) == ({"type": "text", "text": "I look."}, "tool_use")
            assert [(call.name, call.input) for call in calls if call.type == "tool_use"] == CALLED
            assert len(calls) == 3
            ids = [call.id for call in calls if call.type == "tool_use"]
            assert len(set(ids)) == 3
            results: list[dict[str, Any]] = [
                {"type": "tool_result", "tool_use_id": ids[0], "content": "sunny"},
                {"type": "tool_result", "tool_use_id": ids[1], "content": [{"type": "text", "text": "noon"}]},
                {"type": "tool_result", "tool_use_id": ids[2]},
                {"type": "text", "text": "so?"},
            ]
            turns: Any = [
                {"role": "user", "content": "one two"},
                {"role": "assistant", "content": [block.to_dict() for block in first.content]},
                {"role": "user", "content": results},
            ]
            second = await create(model="m", max_tokens=100, messages=turns, tools=TOOLS)
            assert second.content[0].to_dict()["text"] == "echo: sunny noon so?"
            assert (second.stop_reason, second.usage.input_tokens) == ("end_turn", 7)
            apart = [*turns[:2], {"role": "user", "content": results[:1]}, {"role": "user", "content": results[1:]}]
            assert (await create(model="m", max_tokens=100, messages=apart)).stop_reason == "end_turn"
            turns.insert(2, {"role": "user", "content": "wait"})
            with pytest.raises(anthropic.BadRequestError, match=r"messages\.2: the result of a tool call is missing"):
                await create(model="m", max_tokens=100, messages=turns, tools=TOOLS)
            with pytest.raises(anthropic.BadRequestError, match=r"messages\.0: the result of a tool call that was not"):
                await create(model="m", max_tokens=100, messages=turns[-1:], tools=TOOLS)

    serve(case)


def test_arguments_come_in_several_pieces(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        seen = await post(upstream, "tool_calls=2", body(tools=TOOLS))
        starts = [event for event in seen.events if event["type"] == "content_block_start"]
        assert [start["content_block"]["input"] for start in starts] == [{}, {}]
        assert [start["content_block"]["id"] for start in starts] == ["toolu_7_0", "toolu_7_1"]
        deltas = [event for event in seen.events if event["type"] == "content_block_delta"]
        for index in (0, 1):
            pieces = [delta["delta"]["partial_json"] for delta in deltas if delta["index"] == index]
            assert len(pieces) > 2
            assert json.loads("".join(pieces)) == CALLED[index][1]

    serve(case)


def test_thinking_is_signed_and_comes_first(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        async with sdk(upstream) as client:
            plain = await client.messages.create(**ordering("thinking=4"))
            async with client.messages.stream(**ordering("thinking=4")) as stream:
                streamed = await stream.get_final_message()
            for message in (plain, streamed):
                thought, text = (block.to_dict() for block in message.content)
                assert (thought["type"], thought["thinking"]) == ("thinking", "thinking about: one two")
                assert thought["signature"]
                assert text["text"] == "echo: one two"
                assert message.usage.output_tokens == 7
                assert message.usage.output_tokens_details is not None
                assert message.usage.output_tokens_details.thinking_tokens == 4

    serve(case)


def test_images_count_and_are_not_echoed(serve: Run) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    prompt = [image, {"type": "text", "text": "what is it", "cache_control": {"type": "ephemeral"}}]

    async def case(upstream: Upstream) -> None:
        async with sdk(upstream) as client:
            message = await client.messages.create(**ordering("", prompt))
            assert message.content[0].to_dict()["text"] == "echo: what is it"
            assert message.usage.input_tokens == 4
            said: Any = [{"role": "user", "content": prompt}]
            system: Any = [{"type": "text", "text": "be brief"}]
            counted = await client.messages.count_tokens(model="m", messages=said, system=system, tools=TOOLS)
            assert counted.input_tokens == 6

    serve(case)


@pytest.mark.parametrize(
    ("status", "raised", "kind"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (401, anthropic.AuthenticationError, "authentication_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (404, anthropic.NotFoundError, "not_found_error"),
        (413, anthropic.APIStatusError, "request_too_large"),
        (422, anthropic.UnprocessableEntityError, "invalid_request_error"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (504, anthropic.InternalServerError, "timeout_error"),
        (529, anthropic.InternalServerError, "overloaded_error"),
    ],
)
def test_each_status_is_the_error_of_the_sdk(
    serve: Run, status: int, raised: type[anthropic.APIStatusError], kind: str
) -> None:
    async def case(upstream: Upstream) -> None:
        async with sdk(upstream) as client:
            with pytest.raises(raised) as caught:
                await client.messages.create(**ordering(f"status={status}; error=too much; retry_after=3"))
        error: Any = caught.value.body
        assert (caught.value.status_code, caught.value.request_id) == (status, "lab-1")
        assert error == {"type": "error", "error": {"type": kind, "message": "too much"}, "request_id": "lab-1"}
        assert caught.value.response.headers["retry-after"] == "3"

    serve(case)


def test_an_error_in_a_stream(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        seen = await post(upstream, "error_after=1; error_type=overloaded_error")
        *_, content, error = seen.events
        assert (content["delta"]["text"], error["error"]["type"]) == ("echo:", "overloaded_error")
        assert b"event: error\ndata: " in seen.body
        async with sdk(upstream) as client:
            stream = await client.messages.create(**ordering("error_after=1", stream=True))
            with pytest.raises(anthropic.APIStatusError, match="ordered by the lab"):
                [event async for event in stream]

    serve(case)


def test_models_are_listed(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        async with sdk(upstream) as client:
            assert [model.id async for model in client.models.list()] == ["x/y", "z"]
            model = await client.models.retrieve("z")
            assert (model.display_name, model.lifecycle) == ("z", "active")
            with pytest.raises(anthropic.NotFoundError) as caught:
                await client.models.retrieve("w")
            error: Any = caught.value.body
            assert error["error"]["type"] == "not_found_error"

    serve(case, models=("x/y", "z"), api_key="k")


def test_who_may_ask_and_how(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        for header in ("x-api-key: k", "authorization: Bearer k"):
            assert (await ask(upstream, "", body(), PATH, VERSION, header)).status == 200
        for header in ("x-api-key: K", "x-api-key: ", "authorization: k"):
            seen = await ask(upstream, "", body(), PATH, VERSION, header)
            assert (seen.status, seen.json["error"]["type"]) == (401, "authentication_error")
        seen = await ask(upstream, "", body(), "/v1/chat/completions", "x-api-key: k")
        assert (seen.status, seen.json["error"]["code"]) == (401, "invalid_api_key"), "OpenAI takes bearer tokens only"
        seen = await ask(upstream, "", body(), PATH, "x-api-key: k", "x-request-id: 9")
        assert (seen.status, seen.headers["request-id"]) == (400, "9")
        assert seen.json == {
            "type": "error",
            "error": {"type": "invalid_request_error", "message": "anthropic-version: header is required"},
            "request_id": "9",
        }

    serve(case, api_key="k")


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"{", "cannot read this body"),
        (b'{"model":"m","messages":[]}', "missing required field `max_tokens`"),
        (body(max_tokens=0), ">= 1"),
        (body(messages=[{"role": "tool", "content": "x"}]), "Invalid enum value 'tool'"),
        (body('lab: {"dely": 1}'), "did you mean `delay`?"),
    ],
)
def test_a_bad_request_gets_a_clear_error(serve: Run, sent: bytes, says: str) -> None:
    async def case(upstream: Upstream) -> None:
        seen = await post(upstream, "", sent)
        assert (seen.status, seen.json["error"]["type"]) == (400, "invalid_request_error")
        assert says in seen.json["error"]["message"]

    serve(case)


@pytest.mark.parametrize(
    ("order", "counts"),
    [
        ("prompt_tokens=50; cached_tokens=30; cache_write_tokens=15; completion_tokens=9", (5, 15, 30, 9)),
        ("cached_tokens=90", (0, 0, 90, 3)),
        ("usage=negative", (-1, 0, 0, -1)),
        ("usage=huge", (10**18, 0, 0, 10**18)),
        ("usage=text", ("2", "0", "0", "3")),
        ("usage=null", None),
        ("usage=missing", None),
    ],
)
def test_usage_as_ordered(serve: Run, order: str, counts: tuple[object, ...] | None) -> None:
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    usage = dict(zip(names, counts, strict=True)) if counts else None

    async def case(upstream: Upstream) -> None:
        plain, streamed = (await post(upstream, order, body(stream=False))).json, (await post(upstream, order)).events
        assert plain.get("usage") == streamed[-2].get("usage") == usage
        assert ("usage" in plain) == ("usage" in streamed[0]["message"]) == (order != "usage=missing")

    serve(case)


def test_where_a_stream_tells_its_usage(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        start, *_ = (await post(upstream, "usage_on=finish")).events
        assert start["message"]["usage"] == {"input_tokens": 0, "output_tokens": 0}
        every = (await post(upstream, "usage_on=every")).events
        told = [event["usage"]["output_tokens"] for event in every if event["type"] == "content_block_delta"]
        assert told == [1, 2, 3]
        start, *_ = (await post(upstream, "completion_tokens=50; thinking=2")).events
        assert start["message"]["usage"]["output_tokens"] == 1, "a stream begins with hardly any"
        counted = f"{PATH}/count_tokens"
        assert (await post(upstream, "prompt_tokens=9; unknown_fields", path=counted)).json["input_tokens"] == 9
        assert (await post(upstream, "usage=missing", path=counted)).json == {}
        assert (await post(upstream, "usage=null", path=counted)).json == {"input_tokens": None}

    serve(case)


def test_what_no_client_knows(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        async with sdk(upstream) as client:
            order = "unknown_fields; unknown_events; comments=1; multiline; newline=crlf; thinking=1"
            async with client.messages.stream(**ordering(order)) as stream:
                assert await stream.get_final_text() == "echo: one two"
        seen = (await post(upstream, "unknown_fields")).events
        assert all("x_lab" in event for event in seen if event["type"] not in {"ping", "message_stop"})
        assert "x_lab" in seen[0]["message"]
        assert "x_lab" in seen[1]["content_block"]
        plain = (await post(upstream, "unknown_fields", body(stream=False))).json
        assert "x_lab" in plain
        assert "x_lab" in plain["content"][0]

    serve(case)


def test_faults_lie_where_they_are_ordered(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        cut = await post(upstream, "thinking=1; cut_after=2")
        assert cut.raw_body.count(b"content_block_delta") == 2 * 2 + 2, "two pieces, and a signature between"
        assert cut.raw_body.endswith(b'"text":"echo:"}}\n\n\r\n')
        spoiled = await post(upstream, "broken=utf8; broken_after=1")
        assert spoiled.body.count(b'"text":"\xff\xfe one"') == 1
        half = await post(upstream, "tool_calls=1; broken=event")
        assert b'"partial_json":' not in half.body.split(b"\n\n")[3]
        late = await post(upstream, "delay_first=5s; ping_every=2s")
        assert late.body.count(b'event: ping\ndata: {"type":"ping"}\n\n') == 3

    serve(case, sleep=Naps())


def test_an_order_in_the_prompt_and_the_ready_made_answer(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        ordered = await post(upstream, "", body('lab: {"tool_calls": 1} go'))
        assert ordered.events[1]["content_block"]["name"] == "lab"
        answers = [await post(upstream, "", body(stream=False)) for _ in range(2)]
        assert answers[0].body == answers[1].body
        assert (answers[1].json["id"], answers[1].headers["request-id"]) == ("msg_7", "7")
        assert [received.path for received in upstream.stats.received] == [PATH] * 3

    serve(case)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "content", "tool_use_id", "role", "input_schema", "name"]), inner
        )
    ),
    max_leaves=8,
)


@given(JSON, JSON, JSON)
def test_any_body_is_a_request_or_refused(said: object, system: object, tools: object) -> None:
    request = {"model": "m", "max_tokens": 1, "messages": said, "system": system, "tools": tools}
    try:
        asked = messages.read(json.dumps(request).encode())
    except AskedError as error:
        assert str(error)
    else:
        assert asked.prompt_tokens >= 0
