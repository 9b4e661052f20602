"""Anthropic's Messages API: `/v1/messages`, and `/v1/messages/count_tokens`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from penstock.lab.asked import Asked, AskedError, Tool, Turn, check_results, count_words
from penstock.lab.blocks import Block, Reason, Said
from penstock.lab.dialect import Dialect, Event, Fault
from penstock.lab.dialects.openai import UNKNOWN
from penstock.lab.orders import Order
from penstock.lab.usage import ordered, worded
from penstock.types.errors import InvalidRequest

_encode = msgspec.json.encode
_PREFIX = "msg_"
_SIGNATURE = "bGFiLXNpZ25hdHVyZQ=="  # of thoughts; nobody checks it
_FIRST_TOKENS = 1  # of output, when a stream begins: the real API tells a small number too
_REASONS: dict[Reason, str] = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_PING = Event(b'{"type":"ping"}', b"ping")
_ERRORS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


# Requests


class _Part(msgspec.Struct):
    """One block of a message; `content` is a tool's result, and may have any shape in blocks the lab does not know."""

    type: str
    text: str | None = None
    id: str = ""
    tool_use_id: str = ""
    content: Any = None


class _Message(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: str | list[_Part]

    @property
    def parts(self) -> list[_Part]:
        return [_Part("text", self.content)] if isinstance(self.content, str) else self.content


class _Tool(msgspec.Struct):
    name: str
    input_schema: dict[str, Any] | None = None  # the tools of Anthropic's own have none


class _Counting(msgspec.Struct):
    model: str
    messages: list[_Message]
    system: str | list[_Part] | None = None
    tools: list[_Tool] | None = None


class _Creating(_Counting, kw_only=True):
    max_tokens: Annotated[int, Meta(ge=1)]
    stream: bool | None = None


_Request = TypeVar("_Request", bound=_Counting)
_COUNTING = msgspec.json.Decoder(_Counting)
_CREATING = msgspec.json.Decoder(_Creating)


def check(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a request that does not say the version of the API."""
    if not headers.get(b"anthropic-version"):
        raise InvalidRequest("anthropic-version: header is required")


def read(body: bytes) -> Asked:
    """Read a request, or raise `AskedError`."""
    request = _decoded(_CREATING, body)
    asked = _understand(request)
    return msgspec.structs.replace(asked, stream=request.stream is True, max_tokens=request.max_tokens)


def read_counting(body: bytes) -> Asked:
    """Read a request to count, or raise `AskedError`."""
    return _understand(_decoded(_COUNTING, body))


def _decoded(decoder: msgspec.json.Decoder[_Request], body: bytes) -> _Request:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AskedError(f"the lab cannot read this body: {error}") from error


def _understand(request: _Counting) -> Asked:
    check_results(_turn(message) for message in request.messages)
    system = request.system or ""
    said = [_Part("text", system)] if isinstance(system, str) else list(system)
    said += [part for message in request.messages for part in message.parts]
    last = next((message for message in reversed(request.messages) if message.role == "user"), None)
    return Asked(
        model=request.model,
        text=" ".join(filter(None, map(_words, last.parts))) if last else "",
        prompt_tokens=sum(map(_tokens, said)),
        tools=tuple(Tool(tool.name, tool.input_schema) for tool in request.tools or ()),
    )


def _turn(message: _Message) -> Turn:
    calls = frozenset(part.id for part in message.parts if part.type == "tool_use")
    return Turn(calls, frozenset(part.tool_use_id for part in message.parts if part.type == "tool_result"))


def _words(part: _Part) -> str:
    """Return the text of a part, or of the result that it is."""
    if part.type != "tool_result":
        return part.text or ""
    if isinstance(part.content, list):
        texts = (inner.get("text") for inner in part.content if isinstance(inner, dict))
        return " ".join(text for text in texts if isinstance(text, str))
    return part.content if isinstance(part.content, str) else ""


def _tokens(part: _Part) -> int:
    return 1 if part.type in {"image", "document"} else count_words(_words(part))


# Answers


def error_body(fault: Fault, number: str) -> bytes:
    """Return an error as Anthropic words it; it has no code."""
    usual = _ERRORS.get(fault.status, "invalid_request_error" if 400 <= fault.status < 500 else "api_error")
    error = {"type": fault.type or usual, "message": fault.message}
    return _encode({"type": "error", "error": error, "request_id": number})


def whole(asked: Asked, order: Order, number: str, said: Said) -> bytes:
    """Return a whole message."""
    blocks = b",".join(_block(block, text, number, order) for block, text in said.blocks)
    return _message(asked, order, number, blocks, said.reason, _usage(order, asked, said.tokens))


def whole_count(asked: Asked, order: Order, _number: str, _said: Said) -> bytes:
    """Return how many tokens a request has."""
    fields = worded(order, {"input_tokens": ordered(order, asked.prompt_tokens, 0).prompt})
    if fields is None:
        return b"{}"
    return b"{" + _unknown(order) + fields[1:] if fields != b"null" else b'{"input_tokens":null}'


def _message(
    asked: Asked, order: Order, number: str, blocks: bytes, reason: Reason | None, usage: bytes | None
) -> bytes:
    head = b'{"id":%b,"type":"message","role":"assistant","model":%b,%b"content":[%b],'
    start = head % (_encode(_PREFIX + number), _encode(order.model or asked.model), _unknown(order), blocks)
    stop = _encode(_REASONS[reason] if reason else None)
    return start + b'"stop_reason":%b,"stop_sequence":null%b}' % (stop, _member(usage))


def _block(block: Block, text: str, number: str, order: Order, *, signed: bool = True) -> bytes:
    """Return a block of content; one of a stream begins without text and signature."""
    match block.kind:
        case "text":
            fields: dict[str, object] = {"type": "text", "text": text}
        case "thinking":
            fields = {"type": "thinking", "thinking": text, "signature": _SIGNATURE if signed else ""}
        case _:
            given = msgspec.Raw(text.encode()) if text else {}
            fields = {"type": "tool_use", "id": f"toolu_{number}_{block.call}", "name": block.name, "input": given}
    return b"{" + _unknown(order) + _encode(fields)[1:]


def _usage(order: Order, asked: Asked, output: int) -> bytes | None:
    tokens = ordered(order, asked.prompt_tokens, output)
    fresh = tokens.prompt if tokens.prompt < 0 else max(tokens.prompt - tokens.cached - tokens.written, 0)
    fields: dict[str, object] = {
        "input_tokens": fresh,
        "cache_creation_input_tokens": tokens.written,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": tokens.completion,
    }
    if tokens.thought:
        fields["output_tokens_details"] = {"thinking_tokens": tokens.thought}
    return worded(order, fields)


def _unknown(order: Order) -> bytes:
    return UNKNOWN if order.unknown_fields else b""


def _member(usage: bytes | None) -> bytes:
    return b"" if usage is None else b',"usage":' + usage


class Stream:
    """The events of one message."""

    def __init__(self, asked: Asked, order: Order, number: str) -> None:
        self._asked = asked
        self._order = order
        self._number = number
        self._more = _unknown(order)
        self._every = order.usage_on == "every"
        self._piece = b""

    def open(self) -> Iterator[Event]:
        """The message, still empty, with the tokens of the prompt."""
        order, asked = self._order, self._asked
        if order.usage_on == "finish":
            usage = worded(order, {"input_tokens": 0, "output_tokens": 0})
        else:
            begun = msgspec.structs.replace(order, completion_tokens=None, thinking=0)
            usage = _usage(begun, asked, _FIRST_TOKENS)
        message = _message(asked, order, self._number, b"", None, usage)
        yield self._event(b"message_start", b'"message":' + message)

    def begin(self, block: Block) -> Iterator[Event]:
        """The block, still empty; behind the first one, pings."""
        index = b'"index":%d,' % block.index
        empty = _block(block, "", self._number, self._order, signed=False)
        yield self._event(b"content_block_start", index + b'"content_block":' + empty)
        if block.index == 0:
            for _ in range(self._order.role_events):
                yield _PING
        kinds = {"text": b'text_delta","text"', "thinking": b'thinking_delta","thinking"'}
        field = kinds.get(block.kind, b'input_json_delta","partial_json"')
        start = b'{"type":"content_block_delta",%b%b"delta":{%b"type":"%b:'
        self._piece = start % (self._more, index, self._more, field)

    def delta(self, piece: str, tokens: int) -> Event:
        """A piece of the block."""
        usage = _member(_usage(self._order, self._asked, tokens)) if self._every else b""
        return Event(b"%b%b}%b}" % (self._piece, _encode(piece), usage), b"content_block_delta")

    def end(self, block: Block) -> Iterator[Event]:
        """The signature of a thought, and the end of the block."""
        index = b'"index":%d' % block.index
        if block.kind == "thinking":
            signature = b',"delta":{"type":"signature_delta","signature":"%b"}' % _SIGNATURE.encode()
            yield self._event(b"content_block_delta", index + signature)
        yield self._event(b"content_block_stop", index)

    def close(self, reason: Reason, tokens: int) -> Iterator[Event]:
        """Why the message ends, its usage, and its end."""
        usage = _member(_usage(self._order, self._asked, tokens))
        delta = b'"delta":{%b"stop_reason":"%b","stop_sequence":null}%b'
        yield self._event(b"message_delta", delta % (self._more, _REASONS[reason].encode(), usage))
        if self._order.done:
            yield Event(b'{"type":"message_stop"}', b"message_stop")

    def fail(self, fault: Fault) -> Event:
        """An error."""
        return Event(error_body(fault, self._number), b"error")

    def _event(self, name: bytes, rest: bytes) -> Event:
        return Event(b'{"type":"%b",%b%b}' % (name, self._more, rest), name)


DIALECT = Dialect(
    read=read,
    whole=whole,
    error=error_body,
    stream=Stream,
    check=check,
    key_header=b"x-api-key",
    number_header=b"request-id",
    ping=b'event: ping\ndata: {"type":"ping"}\n\n',
    ready=_PREFIX,
)
COUNTING = msgspec.structs.replace(
    DIALECT, read=read_counting, whole=whole_count, stream=None, says="nothing", ready=None
)
