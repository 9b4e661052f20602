"""The official OpenAI SDK, unmodified, sync and async, is the conformance test of the data port."""

import asyncio
import json
from pathlib import Path

import openai
import pytest

from tests.processes import Front, Lab, eventually, front_with_lab


def order(**fields: object) -> str:
    return "lab: " + json.dumps(fields)


def say(content: str) -> list[openai.types.chat.ChatCompletionMessageParam]:
    return [{"role": "user", "content": content}]


@pytest.fixture
def sdk(front: Front) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{front.url}/v1", api_key=front.key, max_retries=0)


def test_list_and_retrieve(sdk: openai.OpenAI) -> None:
    assert [entry.id for entry in sdk.models.list()] == ["chat"]
    assert sdk.models.retrieve("chat").owned_by == "penstock"
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("nope")


def test_chat(sdk: openai.OpenAI) -> None:
    reply = sdk.chat.completions.create(model="chat", messages=say("one two"))
    assert reply.choices[0].message.content == "echo: one two"
    assert reply.usage is not None
    assert reply.usage.total_tokens > 0
    assert reply._request_id is not None
    assert reply._request_id.startswith("req-")


@pytest.mark.parametrize("include_usage", [True, False])
def test_stream(sdk: openai.OpenAI, include_usage: bool) -> None:
    chunks = list(
        sdk.chat.completions.create(
            model="chat", messages=say("one two"), stream=True, stream_options={"include_usage": include_usage}
        )
    )
    content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert content == "echo: one two"
    assert sum(chunk.usage is not None for chunk in chunks) == include_usage


def test_completions_and_embeddings(sdk: openai.OpenAI) -> None:
    assert sdk.completions.create(model="chat", prompt="one two").choices[0].text
    streamed = sdk.completions.create(model="chat", prompt="one two", stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed if chunk.choices)
    assert sdk.embeddings.create(model="chat", input="one", encoding_format="float").data[0].embedding


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (order(status=400), openai.BadRequestError),
        (order(status=422), openai.UnprocessableEntityError),
        (order(status=500), openai.InternalServerError),
        (order(status=429), openai.InternalServerError),
        (order(status=401), openai.InternalServerError),
        (order(cut="before_head"), openai.InternalServerError),
    ],
)
def test_upstream_errors_are_mapped(sdk: openai.OpenAI, content: str, kind: type[openai.APIStatusError]) -> None:
    with pytest.raises(kind) as caught:
        sdk.chat.completions.create(model="chat", messages=say(content))
    assert caught.value.request_id is not None


def test_own_errors_are_mapped(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.chat.completions.create(model="nope", messages=say("x"))
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError) as stranger:
        sdk.with_options(api_key="sk-wrong").chat.completions.create(model="chat", messages=say("x"))
    assert stranger.value.code == "invalid_api_key"
    with pytest.raises(openai.BadRequestError) as negative:
        sdk.chat.completions.create(model="chat", messages=say("x"), max_tokens=-1)
    assert negative.value.param == "max_tokens"
    with pytest.raises(openai.BadRequestError):
        sdk.chat.completions.create(model="chat", messages=[])


def test_an_error_within_a_stream_is_raised(sdk: openai.OpenAI) -> None:
    stream = sdk.chat.completions.create(model="chat", messages=say(order(content="a b c d", cut_after=2)), stream=True)
    with pytest.raises(openai.APIError):
        list(stream)


def test_time_outs(sdk: openai.OpenAI, lab: Lab) -> None:
    with pytest.raises(openai.APITimeoutError):
        sdk.with_options(timeout=0.2).chat.completions.create(model="chat", messages=say(order(stall="before_head")))
    eventually(lambda: lab.stats()["in_progress"] == 0, "the upstream being freed")


def test_retries_go_through(tmp_path: Path) -> None:
    with front_with_lab(tmp_path) as (front, lab):
        import httpx

        httpx.post(f"{lab.url}/lab/script", json=[{"order": {"status": 500}, "times": 1}]).raise_for_status()
        with openai.OpenAI(base_url=f"{front.url}/v1", api_key=front.key, max_retries=2) as sdk:
            assert sdk.chat.completions.create(model="chat", messages=say("again")).choices[0].message.content


def test_cancel_mid_stream(sdk: openai.OpenAI, lab: Lab) -> None:
    stream = sdk.chat.completions.create(
        model="chat", messages=say(order(events=10_000, delay_between="10ms")), stream=True
    )
    next(iter(stream))
    stream.close()
    eventually(lambda: lab.stats()["in_progress"] == 0, "the upstream being freed")


def test_24_at_once_async(front: Front, lab: Lab) -> None:
    async def case() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{front.url}/v1", api_key=front.key, max_retries=0) as sdk:

            async def plain(number: int) -> str:
                reply = await sdk.chat.completions.create(model="chat", messages=say(f"number {number}"))
                return reply.choices[0].message.content or ""

            async def streamed(number: int) -> str:
                chunks = await sdk.chat.completions.create(model="chat", messages=say(f"number {number}"), stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])

            return await asyncio.gather(*((plain if number % 2 else streamed)(number) for number in range(24)))

    assert asyncio.run(case()) == [f"echo: number {number}" for number in range(24)]


def test_cancel_async(front: Front, lab: Lab) -> None:
    async def case() -> None:
        async with openai.AsyncOpenAI(base_url=f"{front.url}/v1", api_key=front.key, max_retries=0) as sdk:
            waiting = asyncio.create_task(
                sdk.chat.completions.create(model="chat", messages=say(order(stall="before_head")))
            )
            await asyncio.to_thread(eventually, lambda: lab.stats()["in_progress"] == 1, "the request arriving")
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(case())
    eventually(lambda: lab.stats()["in_progress"] == 0, "the upstream being freed")
