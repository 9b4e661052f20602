"""What upstreams that speak chat completions say, as recorded, and what the official SDK makes of its translation."""

import json
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from penstock.gateway.dialects import responses
from penstock.gateway.translation.responses_to_chat import ResponsesToChat

USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 7,
    "total_tokens": 27,
    "prompt_tokens_details": {"cached_tokens": 16},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
DONE = b"data: [DONE]\n\n"
_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def translation(capped: bool = False, **fields: Any) -> ResponsesToChat:
    body = json.dumps({"model": "chat", "input": "hello"} | fields).encode()
    return ResponsesToChat(responses.parse(body), "mini", "max_tokens", capped)


def asked(capped: bool = False, **fields: Any) -> dict[str, Any]:
    """Return what the upstream is asked."""
    found: dict[str, Any] = json.loads(translation(capped, **fields).request())
    return found


def completion(message: dict[str, Any], finish_reason: str | None = "stop", **fields: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": finish_reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1700000000, "model": "mini-1b"}
    return json.dumps(head | {"choices": [choice], "usage": USAGE} | fields).encode()


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "mini-1b"}
    return b"data: " + json.dumps(head | {"choices": [choice]} | fields).encode() + b"\n\n"


def call(index: int | None, arguments: str = "", **names: str) -> dict[str, Any]:
    """Return the delta with a part of a call; `id` and `name` stand in the first of them."""
    function = {"arguments": arguments} | ({"name": names["name"]} if "name" in names else {})
    part: dict[str, Any] = {"function": function} | ({"id": names["id"], "type": "function"} if "id" in names else {})
    return {"tool_calls": [part if index is None else {"index": index} | part]}


LAST = [
    b'data: {"id":"chatcmpl-1","choices":[],"usage":' + json.dumps(USAGE).encode() + b"}\n\n",
    DONE,
]
"""How a stream ends behind its finish reason."""


def response(raw: bytes) -> Response:
    """Return a whole answer as the SDK reads it, strictly."""
    return Response.model_validate_json(raw)


def told(raw: bytes) -> list[Any]:
    """Return a stream's events as the SDK reads them, strictly; their numbers have no gap and their names agree."""
    found = []
    for number, event in enumerate(raw.split(b"\n\n")[:-1]):
        name, data = event.split(b"\n")
        seen = _EVENTS.validate_json(data.removeprefix(b"data: "))
        assert name == b"event: " + seen.type.encode()
        assert seen.sequence_number == number
        found.append(seen)
    return found


def plain(answer: Response) -> dict[str, Any]:
    """Return a response without what is another in each: the identities that it was given."""
    text = answer.model_dump_json(exclude_none=True).replace(answer.id.removeprefix("resp_"), "")
    found: dict[str, Any] = json.loads(text)
    return found
