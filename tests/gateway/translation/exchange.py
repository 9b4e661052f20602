"""Calls as the gateway has parsed them, and answers as clients read them."""

from __future__ import annotations

import json
from typing import Any

from anthropic.types import Message, RawMessageStreamEvent
from openai.types.chat import ChatCompletionChunk
from pydantic import TypeAdapter

from penstock.gateway.dialects import document, events, openai, openai_answers
from penstock.gateway.dialects.call import Call
from penstock.gateway.translation import TRANSLATIONS
from penstock.gateway.translation.translation import Translation
from penstock.types.dialect import Dialect

USER = {"role": "user", "content": "Hello"}

_EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)


def chat_call(**fields: Any) -> Call:
    return openai.parse(Dialect.CHAT, json.dumps({"model": "m", "messages": [USER], **fields}).encode())


def messages_call(**fields: Any) -> Call:
    given = {"model": "m", "max_tokens": 100, "messages": [USER], **fields}
    body = json.dumps(given).encode()
    return Call(
        Dialect.MESSAGES, given["model"], bool(given.get("stream")), True, given["max_tokens"], 1, document.read(body)
    )


def to_messages(call: Call | None = None, model: str = "claude-sonnet-4-5") -> Translation:
    return TRANSLATIONS[Dialect.CHAT, Dialect.MESSAGES](call or chat_call(), model, "max_tokens", True)


def to_chat(call: Call | None = None, model: str = "gpt-4o", cap_name: str = "max_completion_tokens") -> Translation:
    return TRANSLATIONS[Dialect.MESSAGES, Dialect.CHAT](call or messages_call(), model, cap_name, False)


def chunks(out: bytes) -> list[ChatCompletionChunk]:
    """Read a whole stream of chat as the official SDK does, which ends at `[DONE]`."""
    *before, last = events.split(out)
    assert last == openai_answers.END
    return [ChatCompletionChunk.model_validate_json(events.data_of(event)) for event in before]


def spoken(found: list[ChatCompletionChunk]) -> dict[str, Any]:
    """Put together what the chunks of an answer say, and check their grammar."""
    said: dict[str, Any] = {
        "content": "",
        "reasoning_content": "",
        "thinking_blocks": [],
        "tool_calls": {},
        "refusal": "",
    }
    assert found[0].choices[0].delta.role == "assistant"
    finishes = [chunk.choices[0].finish_reason for chunk in found if chunk.choices and chunk.choices[0].finish_reason]
    assert len(finishes) == 1, "an answer is finished once"
    answers = [chunk for chunk in found if chunk.choices]
    assert answers[-1].choices[0].finish_reason == finishes[0], "nothing is said after that"
    assert found[: len(answers)] == answers, "usage stands behind the answer"
    for chunk in answers:
        delta = chunk.choices[0].delta
        extra = delta.model_extra or {}
        said["content"] += delta.content or ""
        said["refusal"] += delta.refusal or ""
        said["reasoning_content"] += extra.get("reasoning_content", "")
        said["thinking_blocks"] += extra.get("thinking_blocks", [])
        for call in delta.tool_calls or []:
            assert call.function is not None
            if call.index not in said["tool_calls"]:
                assert call.id is not None
                assert call.function.name is not None
                said["tool_calls"][call.index] = {"id": call.id, "name": call.function.name, "arguments": ""}
            said["tool_calls"][call.index]["arguments"] += call.function.arguments or ""
    return {**said, "finish_reason": finishes[0], "usage": [chunk.usage for chunk in found if chunk.usage]}


def message(out: bytes) -> Message:
    """Put a whole stream of messages together as the official SDK does, and check its grammar."""
    made: dict[str, Any] = {}
    opened: int | None = None
    pieces: list[str] = []
    ended = False
    for event in events.split(out):
        name, _, _ = event.partition(b"\n")
        data = json.loads(events.data_of(event))
        assert name == b"event: " + data["type"].encode()
        assert not ended, "nothing follows the end"
        _EVENT.validate_python(data)
        kind = data["type"]
        assert (kind == "message_start") is (not made), "a stream begins once, first of all"
        if kind == "message_start":
            made = data["message"]
            assert made["content"] == []
        elif kind == "content_block_start":
            assert opened is None, "one block is open at a time"
            assert made["stop_reason"] is None
            opened = data["index"]
            assert opened == len(made["content"]), "indices count up"
            made["content"].append(data["content_block"])
            pieces = []
        elif kind == "content_block_delta":
            assert data["index"] == opened
            block, delta = made["content"][-1], data["delta"]
            if delta["type"] == "text_delta":
                block["text"] += delta["text"]
            elif delta["type"] == "thinking_delta":
                block["thinking"] += delta["thinking"]
            elif delta["type"] == "signature_delta":
                block["signature"] = delta["signature"]
            else:
                assert block["type"] == "tool_use"
                pieces.append(delta["partial_json"])
        elif kind == "content_block_stop":
            assert data["index"] == opened
            if pieces:
                made["content"][-1]["input"] = json.loads("".join(pieces))
            opened = None
        elif kind == "message_delta":
            assert opened is None
            assert made["stop_reason"] is None, "an answer is finished once"
            made |= data["delta"]
            made["usage"] |= data["usage"]
        else:
            assert kind == "message_stop"
            assert made["stop_reason"] is not None
            ended = True
    assert ended
    return Message.model_validate(made)
