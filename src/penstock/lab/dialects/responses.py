"""OpenAI's Responses API: `/v1/responses`. What is stored can be gone on from, and be asked for again (`stored`)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import Any

import msgspec

from penstock.lab.asked import Asked, AskedError, Tool, count_words
from penstock.lab.blocks import Block, Reason, Said
from penstock.lab.dialect import Dialect, Event, Fault
from penstock.lab.dialects.openai import CREATED, UNKNOWN, Part, decoded, error_body, tokens_of, words_of
from penstock.lab.orders import Order
from penstock.lab.usage import ordered, worded

_encode = msgspec.json.encode
PREFIX = "resp_"
_SEALS = "reasoning.encrypted_content"


# Requests


class _Item(msgspec.Struct):
    """One item of the input; what is of no type is a message."""

    type: str = "message"
    role: str | None = None
    content: str | list[Part] | None = None
    call_id: str = ""
    output: str | list[Part] | dict[str, Any] | None = None
    encrypted_content: str | None = None

    @property
    def said(self) -> str | list[Part] | None:
        """What counts as its text; tools other than functions answer with objects, which have none."""
        return self.content if self.type != "function_call_output" or isinstance(self.output, dict) else self.output


class _Tool(msgspec.Struct):
    name: str | None = None  # the tools of OpenAI's own have none
    parameters: dict[str, Any] | None = None


class _Creating(msgspec.Struct):
    model: str
    input: str | list[_Item] = ""
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    tools: list[_Tool] | None = None
    store: bool | None = None
    include: list[str] | None = None


_CREATING = msgspec.json.Decoder(_Creating)


def read(body: bytes) -> Asked:
    """Read a request, or raise `AskedError`."""
    return decoded(_CREATING, _understand, body)


def _understand(request: _Creating) -> Asked:
    items = request.input
    if isinstance(items, str):
        items = [_Item(role="user", content=items)]
    if request.previous_response_id is None:
        _check_results(items)
    return Asked(
        model=request.model,
        text=_last_words(items),
        prompt_tokens=count_words(request.instructions or "") + sum(tokens_of(item.said) for item in items),
        stream=request.stream is True,
        max_tokens=request.max_output_tokens,
        tools=tuple(Tool(tool.name, tool.parameters) for tool in request.tools or () if tool.name),
        previous=request.previous_response_id,
        stored=request.store is not False,
        sealed=tuple(item.encrypted_content for item in items if item.encrypted_content),
        seals=_SEALS in (request.include or ()),
    )


def _check_results(items: list[_Item]) -> None:
    """Refuse results of what was not called before, and calls without a result, as the real API does."""
    called: set[str] = set()
    answered: set[str] = set()
    for item in items:
        if item.type == "function_call":
            called.add(item.call_id)
        elif item.type == "function_call_output":
            if item.call_id not in called:
                raise AskedError(f"No tool call found for function call output with call_id {item.call_id}.")
            answered.add(item.call_id)
    if called - answered:
        raise AskedError(f"No tool output found for function call {min(called - answered)}.")


def _last_words(items: list[_Item]) -> str:
    """Return the results of functions that the items end with, or else the last user message."""
    results = [
        words_of(item.said) for item in takewhile(lambda each: each.type == "function_call_output", reversed(items))
    ]
    if results:
        return " ".join(reversed(results))
    return next((words_of(item.content) for item in reversed(items) if item.role == "user"), "")


# Answers


def whole(asked: Asked, order: Order, number: str, said: Said) -> bytes:
    """Return a whole response."""
    items = [_item(block, text, number, order, asked.seal) for block, text in said.blocks]
    return _response(asked, order, number, items, said.reason, _usage(order, asked, said.tokens))


def _response(
    asked: Asked, order: Order, number: str, items: list[bytes], reason: Reason | None, usage: bytes | None
) -> bytes:
    """Return a response; without a reason it has not ended."""
    cut = reason == "length"
    fields: dict[str, object] = {
        "id": PREFIX + number,
        "object": "response",
        "created_at": CREATED,
        "status": _status(reason),
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": None,
        "max_output_tokens": asked.max_tokens,
        "metadata": {},
        "model": order.model or asked.model,
        "output": msgspec.Raw(b"[%b]" % b",".join(items)),
        "parallel_tool_calls": True,
        "previous_response_id": asked.previous,
        "store": asked.stored,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [
            {"type": "function", "name": tool.name, "parameters": tool.parameters, "strict": False}
            for tool in asked.tools
        ],
        "top_p": 1.0,
    }
    if usage is not None:
        fields["usage"] = msgspec.Raw(usage)
    return _object(order, fields)


def _status(reason: Reason | None) -> str:
    return "in_progress" if reason is None else "incomplete" if reason == "length" else "completed"


def _item(block: Block, text: str | None, number: str, order: Order, seal: str) -> bytes:
    """Return an item of the output; without text it is one of a stream that begins."""
    fields: dict[str, object] = {"id": _item_id(block, number)}
    status = "in_progress" if text is None else "incomplete" if block.capped else "completed"
    match block.kind:
        case "thinking":
            summary = [] if text is None else [{"type": "summary_text", "text": text}]
            fields |= {"type": "reasoning", "summary": summary}
            if seal:
                fields["encrypted_content"] = seal
        case "text":
            content = [] if text is None else [msgspec.Raw(_part(block, text, order))]
            fields |= {"type": "message", "status": status, "role": "assistant", "content": content}
        case _:
            call = f"call_{number}_{block.call}"
            fields |= {"type": "function_call", "status": status}
            fields |= {"arguments": text or "", "call_id": call, "name": block.name}
    return _object(order, fields)


def _item_id(block: Block, number: str) -> str:
    prefix = {"thinking": "rs_", "text": "msg_"}.get(block.kind)
    return f"fc_{number}_{block.call}" if prefix is None else prefix + number


def _part(block: Block, text: str, order: Order) -> bytes:
    if block.kind == "thinking":
        return _encode({"type": "summary_text", "text": text})
    return _object(order, {"type": "output_text", "annotations": [], "logprobs": [], "text": text})


def _object(order: Order, fields: dict[str, object]) -> bytes:
    return b"{" + (UNKNOWN if order.unknown_fields else b"") + _encode(fields)[1:]


def _usage(order: Order, asked: Asked, output: int) -> bytes | None:
    tokens = ordered(order, asked.prompt_tokens, output)
    return worded(
        order,
        {
            "input_tokens": tokens.prompt,
            "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": tokens.written},
            "output_tokens": tokens.completion,
            "output_tokens_details": {"reasoning_tokens": tokens.thought},
            "total_tokens": tokens.prompt + tokens.completion,
        },
    )


class Stream:
    """The events of one response. They repeat what they have told, so all of its text is kept."""

    def __init__(self, asked: Asked, order: Order, number: str) -> None:
        self._asked = asked
        self._order = order
        self._number = number
        self._more = UNKNOWN if order.unknown_fields else b""
        self._every = order.usage_on == "every"
        self._sequence = 0
        self._items: list[bytes] = []
        self._told: list[str] = []  # of the block that has begun
        self._delta = (b"", b"")  # the name of its content events, and what lies between that and the piece
        self._place = b""  # what says in events where it lies

    def open(self) -> Iterator[Event]:
        """The response, still empty."""
        usage = None if self._order.usage == "missing" else b"null"
        empty = b'"response":' + _response(self._asked, self._order, self._number, [], None, usage)
        yield self._event(b"response.created", empty)
        for _ in range(self._order.role_events):
            yield self._event(b"response.in_progress", empty)

    def begin(self, block: Block) -> Iterator[Event]:
        """The item, still empty, and its only part if it has parts."""
        self._told = []
        item = _item(block, None, self._number, self._order, self._asked.seal)
        yield self._event(b"response.output_item.added", b'"output_index":%d,"item":%b' % (block.index, item))
        kind, part, inner = _GRAMMAR[block.kind]
        self._place = b'"item_id":%b,"output_index":%d%b' % (
            _encode(_item_id(block, self._number)),
            block.index,
            inner,
        )
        self._delta = (kind + b".delta", self._place + b',"delta":')
        if part:
            empty = _part(block, "", self._order)
            yield self._event(part + b".added", b'%b,"part":%b' % (self._place, empty))

    def delta(self, piece: str, tokens: int) -> Event:
        """A piece of the item."""
        self._told.append(piece)
        name, start = self._delta
        rest = start + _encode(piece)
        if name == b"response.output_text.delta":
            rest += b',"logprobs":[]'
        usage = _usage(self._order, self._asked, tokens) if self._every else None
        return self._event(name, rest if usage is None else b'%b,"usage":%b' % (rest, usage))

    def end(self, block: Block) -> Iterator[Event]:
        """All of the item's text, part and self once more."""
        text = "".join(self._told)
        kind, part, _ = _GRAMMAR[block.kind]
        if part:
            logprobs = b',"logprobs":[]' if block.kind == "text" else b""
            yield self._event(kind + b".done", b'%b,"text":%b%b' % (self._place, _encode(text), logprobs))
            whole_part = _part(block, text, self._order)
            yield self._event(part + b".done", b'%b,"part":%b' % (self._place, whole_part))
        else:
            name = _encode(block.name)
            yield self._event(kind + b".done", b'%b,"name":%b,"arguments":%b' % (self._place, name, _encode(text)))
        item = _item(block, text, self._number, self._order, self._asked.seal)
        self._items.append(item)
        yield self._event(b"response.output_item.done", b'"output_index":%d,"item":%b' % (block.index, item))

    def close(self, reason: Reason, tokens: int) -> Iterator[Event]:
        """All of the response."""
        if self._order.done:
            usage = _usage(self._order, self._asked, tokens)
            response = _response(self._asked, self._order, self._number, self._items, reason, usage)
            yield self._event(b"response." + _status(reason).encode(), b'"response":' + response)

    def fail(self, fault: Fault) -> Event:
        """An error."""
        worded_error = msgspec.json.decode(error_body(fault))["error"]
        fields = {name: worded_error[name] for name in ("code", "message", "param")}
        return self._event(b"error", _encode(fields)[1:-1])

    def _event(self, name: bytes, rest: bytes) -> Event:
        sequence = self._sequence
        self._sequence += 1
        return Event(b'{"type":"%b",%b%b,"sequence_number":%d}' % (name, self._more, rest, sequence), name)


# Of each kind of block: the events of its pieces, those of its part, and where it lies within its item.
_GRAMMAR = {
    "thinking": (b"response.reasoning_summary_text", b"response.reasoning_summary_part", b',"summary_index":0'),
    "text": (b"response.output_text", b"response.content_part", b',"content_index":0'),
    "tool": (b"response.function_call_arguments", b"", b""),
}

DIALECT = Dialect(read=read, whole=whole, error=error_body, stream=Stream)
