"""The official SDK against the bundled model on its real engine."""

import asyncio
from typing import Any

import openai
import pytest

from penstock.lab.running import Running

pytestmark = pytest.mark.stack

SUMS = [(27, 45), (12, 34), (50, 25), (61, 18), (33, 44), (70, 15), (24, 31), (80, 19)]


def say(content: str) -> list[openai.types.chat.ChatCompletionMessageParam]:
    return [{"role": "user", "content": content}]


@pytest.fixture
def sdk(shared: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{shared.url}/v1", api_key=shared.key, max_retries=0)


def test_list_retrieve_and_chat(sdk: openai.OpenAI) -> None:
    assert [entry.id for entry in sdk.models.list()] == ["chat"]
    assert sdk.models.retrieve("chat").id == "chat"
    reply = sdk.chat.completions.create(model="chat", messages=say("What is 27 + 45?"), temperature=0)
    assert reply.choices[0].message.content == "72"
    assert reply.usage is not None
    assert reply.usage.completion_tokens > 0


@pytest.mark.parametrize("include_usage", [True, False])
def test_stream(sdk: openai.OpenAI, include_usage: bool) -> None:
    chunks = list(
        sdk.chat.completions.create(
            model="chat",
            messages=say("What is 27 + 45?"),
            stream=True,
            stream_options={"include_usage": include_usage},
            temperature=0,
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "72"
    assert sum(chunk.usage is not None for chunk in chunks) == include_usage


def test_completions(sdk: openai.OpenAI) -> None:
    completion = sdk.completions.create(model="chat", prompt="hello", max_tokens=5)
    assert completion.usage is not None
    assert completion.usage.completion_tokens <= 5


def test_errors(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        sdk.chat.completions.create(model="nope", messages=say("x"))
    with pytest.raises(openai.BadRequestError):
        sdk.chat.completions.create(model="chat", messages=say("word " * 20_000))
    with pytest.raises(openai.BadRequestError):
        sdk.embeddings.create(model="chat", input="this engine has none")


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("image", {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}),
        ("audio", {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
    ],
)
def test_what_the_model_cannot_see_or_hear(sdk: openai.OpenAI, kind: str, part: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.chat.completions.create(model="chat", messages=[{"role": "user", "content": [part]}])
    assert caught.value.code == "unsupported_content"
    assert kind in str(caught.value)
    with pytest.raises(openai.AuthenticationError):
        sdk.with_options(api_key="nobody").models.list()


def test_time_out_and_cancel(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        sdk.with_options(timeout=0.001).chat.completions.create(model="chat", messages=say("hello"))
    stream = sdk.chat.completions.create(
        model="chat", messages=say("hello"), stream=True, max_tokens=1000, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    assert sdk.chat.completions.create(model="chat", messages=say("hello")).choices[0].message.content


def test_24_at_once(shared: Running) -> None:
    async def case() -> list[tuple[str, str]]:
        async with openai.AsyncOpenAI(base_url=f"{shared.url}/v1", api_key=shared.key, max_retries=0) as sdk:

            async def one(number: int) -> tuple[str, str]:
                a, b = SUMS[number % len(SUMS)]
                question = say(f"What is {a} + {b}?")
                if number % 2:
                    reply = await sdk.chat.completions.create(model="chat", messages=question, temperature=0)
                    return reply.choices[0].message.content or "", str(a + b)
                chunks = await sdk.chat.completions.create(model="chat", messages=question, temperature=0, stream=True)
                said = [chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices]
                return "".join(said), str(a + b)

            return await asyncio.gather(*(one(number) for number in range(24)))

    answers = asyncio.run(case())
    right = sum(said == expected for said, expected in answers)
    assert right >= 22, answers  # a test model of a million parameters: nine in ten is what it promises
