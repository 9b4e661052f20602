"""A reply of Anthropic's dialect as one of chat."""

from __future__ import annotations

import msgspec

from penstock.gateway.dialects import bodies
from penstock.gateway.translation import chat, counts, messages, reading, stops
from penstock.types.errors import UpstreamUnusable
from penstock.types.usage import Usage


class _Block(msgspec.Struct, gc=False):
    """Any block; those of kinds that chat has no place for are left out."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class StopDetails(msgspec.Struct):
    """What is told of a refusal."""

    explanation: str | None = None


class _Reply(msgspec.Struct):
    id: str
    type: str
    model: str
    content: list[_Block]
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class _Message(msgspec.Struct, omit_defaults=True):
    role: str
    content: str | None
    refusal: str | None
    tool_calls: list[chat.ToolCall] | None = None
    reasoning_content: str | None = None
    thinking_blocks: list[messages.Thinking | messages.Redacted] | None = None


class _Choice(msgspec.Struct):
    index: int
    message: _Message
    logprobs: None
    finish_reason: str


class _Completion(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[_Choice]
    usage: counts.Chat | msgspec.UnsetType


_decode = msgspec.json.Decoder(_Reply).decode
_encode = msgspec.json.Encoder().encode


def translated(body: bytes, created: int) -> tuple[bytes, Usage | None]:
    """
    Return the reply for the client, and the usage that the upstream reports.

    Args:
        created: Unix time in seconds, which messages do not have.

    Raises:
        UpstreamUnusable: it is not a reply.
    """
    found, body = reading.reply(_decode, body)
    if found.type != "message":
        raise UpstreamUnusable("the upstream's reply is not a message")
    usage = bodies.reported(body)
    told = found.stop_details.explanation if found.stop_details and found.stop_reason == "refusal" else None
    choice = _Choice(0, _message(found.content, told), None, stops.to_chat(found.stop_reason))
    counted = counts.to_chat(usage) if usage is not None else msgspec.UNSET
    return _encode(_Completion(found.id, "chat.completion", created, found.model, [choice], counted)), usage


def _message(content: list[_Block], refusal: str | None) -> _Message:
    said, thought, calls = list[str](), list[str](), list[chat.ToolCall]()
    blocks: list[messages.Thinking | messages.Redacted] = []
    for block in content:
        if block.type == "text":
            said.append(block.text)
        elif block.type == "tool_use":
            calls.append(chat.ToolCall(block.id, chat.Function(block.name, bytes(block.input).decode())))
        elif block.type == "thinking":
            thought.append(block.thinking)
            if block.signature:
                blocks.append(messages.Thinking(block.thinking, block.signature))
        elif block.type == "redacted_thinking":
            blocks.append(messages.Redacted(block.data))
    text = "".join(said)
    return _Message(
        "assistant",
        text if text or not calls else None,
        refusal,
        calls or None,
        "".join(thought) or None,
        blocks or None,
    )
