"""A chat's reply as one of Anthropic's dialect."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.gateway.dialects import usage
from penstock.gateway.translation import counts, messages, reading, stops
from penstock.types.errors import UpstreamUnusable
from penstock.types.usage import Usage

_NOTHING = msgspec.Raw(b"{}")

_Thought = messages.Thinking | messages.Redacted
_Said = messages.Text | messages.ToolUse | messages.Thinking | messages.Redacted


class _Called(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    id: str | None = None
    function: _Called | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None  # as newer vLLM and OpenRouter call it
    thinking_blocks: list[_Thought] | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None
    stop_reason: Any = None  # vLLM's: the sequence that ended the answer


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    id: str = ""
    model: str = ""


class Reply(msgspec.Struct):
    """A message, whole or as its first event tells it."""

    id: str
    type: str
    role: str
    model: str
    content: list[_Said]
    stop_reason: str | None
    stop_sequence: str | None
    usage: counts.Messages


_decode = msgspec.json.Decoder(_Completion).decode
_encode = msgspec.json.Encoder().encode


def translated(body: bytes, model: str, stops_wanted: list[str]) -> tuple[bytes, Usage | None]:
    """
    Return the reply for the client, and the usage that the upstream reports.

    Args:
        model: what to call the model where the upstream does not.
        stops_wanted: the client's stop sequences.

    Raises:
        UpstreamUnusable: it is not a reply.
    """
    found, body = reading.reply(_decode, body)
    if not found.choices:
        raise UpstreamUnusable("the upstream's reply has no answer in it")
    choice, counted = found.choices[0], usage.reported(body)
    cut = choice.finish_reason == "length"
    content = _content(choice.message, cut=cut)
    refused = bool(choice.message.refusal)
    reason = stops.to_messages(choice.finish_reason, tools=any(isinstance(each, messages.ToolUse) for each in content))
    stop = choice.stop_reason if choice.stop_reason in stops_wanted and reason == "end_turn" else None
    made = Reply(
        found.id,
        "message",
        "assistant",
        found.model or model,
        content,
        "refusal" if refused else "stop_sequence" if stop is not None else reason,
        stop,
        counts.to_messages(counted),
    )
    return _encode(made), counted


def _content(message: _Message, *, cut: bool) -> list[_Said]:
    content: list[_Said] = []
    thought = message.reasoning_content or message.reasoning
    if message.thinking_blocks:
        content += message.thinking_blocks
    elif thought:
        content.append(messages.Thinking(thought))
    text = (message.content or "") + (message.refusal or "")
    if text:
        content.append(messages.Text(text))
    calls = message.tool_calls or []
    for position, call in enumerate(calls):
        made = _use(call, position)
        if made is not None:
            content.append(made)
        elif not cut or position < len(calls) - 1:  # the last one may have been cut off with the answer
            raise UpstreamUnusable("the upstream's reply calls a tool with arguments that are not a JSON object")
    return content


def _use(call: _ToolCall, position: int) -> messages.ToolUse | None:
    called = call.function or _Called()
    arguments = (called.arguments or "").encode()
    if not arguments.strip():
        found = _NOTHING
    elif reading.is_object(arguments):
        found = msgspec.Raw(arguments)
    else:
        return None
    return messages.ToolUse(call.id or f"call_{position}", called.name or "", found)
