"""Tools, thought and images in chats, as the official SDK sees them; the rest is in `tests/lab/test_answer.py`."""

import json
from typing import Any

import openai
import pytest

from penstock.lab.upstream import Upstream
from tests.lab.conftest import Run
from tests.lab.raw import ask, chat

TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "near": {"type": ["array", "null"]}, "wet": {"const": 1}},
            },
        },
    },
    {"type": "function", "function": {"name": "clock"}},
]
CALLED = [
    ("weather", {"city": "city 0", "near": [], "wet": 1}),
    ("clock", {"tool": "clock", "call": 1}),
    ("weather", {"city": "city 2", "near": [], "wet": 1}),
]


@pytest.mark.parametrize("streamed", [True, False])
def test_tools_are_called_and_their_results_echoed(serve: Run, streamed: bool) -> None:
    async def case(upstream: Upstream) -> None:
        async with openai.AsyncOpenAI(base_url=upstream.base_url, api_key="k", max_retries=0) as client:

            async def create(messages: Any, order: str) -> Any:
                call: Any = {"model": "m", "messages": messages, "tools": TOOLS, "extra_headers": {"x-lab": order}}
                if not streamed:
                    return (await client.chat.completions.create(**call)).choices[0]
                async with client.chat.completions.stream(**call) as stream:
                    return (await stream.get_final_completion()).choices[0]

            asking = {"role": "user", "content": "one two"}
            first = await create([asking], "tool_calls=3; content=I look.")
            calls = first.message.tool_calls
            assert (first.message.content, first.finish_reason) == ("I look.", "tool_calls")
            assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == CALLED
            assert len({call.id for call in calls}) == 3
            assert (await create([asking], "tool_calls=1")).message.content is None
            called = {
                "role": "assistant",
                "tool_calls": [
                    {"id": call.id, "type": "function", "function": call.function.to_dict()} for call in calls
                ],
            }
            results = [
                {"role": "tool", "tool_call_id": call.id, "content": content}
                for call, content in zip(calls, ("sunny", [{"type": "text", "text": "noon"}], ""), strict=True)
            ]
            second = await create([asking, called, *results], "")
            assert (second.message.content.strip(), second.finish_reason) == ("echo: sunny noon", "stop")
            third = await create([asking, called, *results, {"role": "user", "content": "thanks"}], "")
            assert third.message.content == "echo: thanks"
            for bad in ([asking, *results], [asking, called, *results[:2], asking]):
                with pytest.raises(openai.BadRequestError, match="the result of a tool call"):
                    await create(bad, "")

    serve(case)


def test_arguments_come_in_several_chunks_behind_the_name(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        asking = chat(tools=TOOLS, stream_options={"include_usage": True})
        seen = await ask(upstream, "tool_calls=2", asking, "/v1/chat/completions", "x-request-id: 7")
        role, *chunks, finish, usage, _ = seen.events
        assert role["choices"][0]["delta"]["content"] is None
        calls = [call for chunk in chunks for call in chunk["choices"][0]["delta"]["tool_calls"]]
        for index in (0, 1):
            name, *pieces = [call for call in calls if call["index"] == index]
            function = {"name": CALLED[index][0], "arguments": ""}
            assert name == {"index": index, "id": f"call_7_{index}", "type": "function", "function": function}
            arguments = [piece["function"]["arguments"] for piece in pieces]
            assert len(arguments) > 2
            assert json.loads("".join(arguments)) == CALLED[index][1]
        assert finish["choices"][0]["finish_reason"] == "tool_calls"
        assert usage["usage"]["completion_tokens"] == len(calls) - 2

    serve(case)


def test_thought_comes_before_the_answer(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        asking = chat("one two", stream_options={"include_usage": True})
        seen = await ask(upstream, "thinking=6", asking)
        deltas = [event["choices"][0]["delta"] for event in seen.events[1:-3]]
        assert "".join(delta.get("reasoning_content", "") for delta in deltas[:6]) == "thinking about: one two w4 w5"
        assert "".join(delta.get("content", "") for delta in deltas[6:]) == "echo: one two"
        plain = (await ask(upstream, "thinking=6", chat("one two", stream=False))).json
        assert plain["choices"][0]["message"]["reasoning_content"] == "thinking about: one two w4 w5"
        assert plain["usage"] == seen.events[-2]["usage"]
        assert plain["usage"]["completion_tokens_details"] == {"reasoning_tokens": 6}

    serve(case)


def test_thought_and_calls_are_for_chats_only(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        for stream in (True, False):
            sent = json.dumps({"model": "m", "prompt": "one", "stream": stream}).encode()
            seen = await ask(upstream, "thinking=3; tool_calls=2", sent, "/v1/completions")
            choices = [each for event in (seen.events[:-1] if stream else [seen.json]) for each in event["choices"]]
            assert "".join(choice["text"] for choice in choices) == "echo: one"

    serve(case)


def test_tokens_written_to_a_cache(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        seen = await ask(upstream, "prompt_tokens=9; cached_tokens=2; cache_write_tokens=3", stream=False)
        assert seen.json["usage"]["prompt_tokens_details"] == {"cached_tokens": 2, "cache_write_tokens": 3}

    serve(case)
