"""OpenAI's chat completions: `/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import msgspec

from penstock.lab.asked import NO_TOOLS, Asked, Tool, Turn, check_results
from penstock.lab.blocks import Block, Said
from penstock.lab.dialect import Dialect, Event
from penstock.lab.dialects.openai import (
    UNKNOWN,
    Chunks,
    Part,
    StreamOptions,
    decoded,
    error_body,
    head,
    one_choice,
    tokens_of,
    usage_json,
    words_of,
)
from penstock.lab.orders import Order

_encode = msgspec.json.encode
_PREFIX = "chatcmpl-"
_FINGERPRINT = b'"system_fingerprint":"fp_lab",'


class _Call(msgspec.Struct):
    id: str = ""


class _Message(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str = ""

    @property
    def turn(self) -> Turn:
        if self.role == "tool":
            return Turn(frozenset(), frozenset((self.tool_call_id,)))
        return Turn(frozenset(call.id for call in self.tool_calls), frozenset()) if self.tool_calls else NO_TOOLS


class _Function(msgspec.Struct):
    name: str
    parameters: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    function: _Function | None = None  # tools of other types have none


class _Chat(msgspec.Struct):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    tools: list[_Tool] | None = None


_CHAT = msgspec.json.Decoder(_Chat)


def read(body: bytes) -> Asked:
    """Read a request, or raise `AskedError`."""
    return decoded(_CHAT, _understand, body)


def _understand(chat: _Chat) -> Asked:
    one_choice(chat.n)
    check_results(message.turn for message in chat.messages)
    cap = chat.max_completion_tokens if chat.max_completion_tokens is not None else chat.max_tokens
    return Asked(
        model=chat.model,
        text=_last_words(chat.messages),
        prompt_tokens=sum(tokens_of(message.content) for message in chat.messages),
        stream=chat.stream is True,
        include_usage=chat.stream_options is not None and chat.stream_options.include_usage is True,
        max_tokens=cap,
        tools=tuple(Tool(tool.function.name, tool.function.parameters) for tool in chat.tools or () if tool.function),
    )


def _last_words(messages: list[_Message]) -> str:
    """Return the results of tools that the messages end with, or else the last user message."""
    if messages and messages[-1].role == "tool":
        results = [words_of(each.content) for each in takewhile(lambda each: each.role == "tool", reversed(messages))]
        return " ".join(reversed(results))
    return next((words_of(message.content) for message in reversed(messages) if message.role == "user"), "")


def whole(asked: Asked, order: Order, number: str, said: Said) -> bytes:
    """Return a whole chat completion."""
    message: dict[str, object] = {"role": "assistant", "content": said.text_of("text"), "refusal": None}
    if (thought := said.text_of("thinking")) is not None:
        message["reasoning_content"] = thought
    if said.calls:
        message["tool_calls"] = [
            {
                "id": _call_id(number, block),
                "type": "function",
                "function": {"name": block.name, "arguments": arguments},
            }
            for block, arguments in said.calls
        ]
    usage = usage_json(order, asked.prompt_tokens, said.tokens)
    tail = b"" if usage is None else b',"usage":' + usage
    unknown = UNKNOWN if order.unknown_fields else b""
    start = head(asked, order, _PREFIX + number, b"chat.completion", _FINGERPRINT)
    worded = b"{" + unknown + _encode(message)[1:]
    choice = b'{"index":0,"message":%b,"logprobs":null,"finish_reason":"%b"}' % (worded, said.reason.encode())
    return b'%b"choices":[%b]%b}' % (start, choice, tail)


class Stream(Chunks):
    """The chunks of one chat."""

    def __init__(self, asked: Asked, order: Order, number: str) -> None:
        start = head(asked, order, _PREFIX + number, b"chat.completion.chunk", _FINGERPRINT)
        super().__init__(asked, order, start, b"delta", b"{}")
        self._number = number
        self._piece = b""

    def open(self) -> Iterator[Event]:
        """The role, and empty deltas."""
        content = b'""' if not self._order.tool_calls or self._order.content is not None else b"null"
        for index in range(self._order.role_events):
            role = b'{"role":"assistant","content":%b,"refusal":null}' % content
            yield self.chunk(b'{"content":""}' if index else role)

    def begin(self, block: Block) -> Iterator[Event]:
        """The name of a tool that is called; nothing else has a beginning of its own."""
        match block.kind:
            case "text":
                self._piece = b'{"content":%b}'
            case "thinking":
                self._piece = b'{"reasoning_content":%b}'
            case _:
                self._piece = b'{"tool_calls":[{"index":%d,"function":{"arguments":%%b}}]}' % block.call
                call = b'{"tool_calls":[{"index":%d,"id":%b,"type":"function","function":{"name":%b,"arguments":""}}]}'
                identity = _encode(_call_id(self._number, block))
                yield self.chunk(call % (block.call, identity, _encode(block.name)))

    def delta(self, piece: str, tokens: int) -> Event:
        """A chunk with content."""
        return self.counted(self._piece % _encode(piece), tokens)


def _call_id(number: str, block: Block) -> str:
    return f"call_{number}_{block.call}"


DIALECT = Dialect(read=read, whole=whole, error=error_body, stream=Stream, ready=_PREFIX)
