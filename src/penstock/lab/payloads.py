"""The shapes of OpenAI's API, as bytes: answers, stream chunks, embeddings, lists of models, errors."""

from __future__ import annotations

import base64
import hashlib
import struct

import msgspec

from penstock.lab.asked import Asked, Kind, count_words
from penstock.lab.orders import Order

CREATED = 1_700_000_000  # every object of the lab was made at this second
HUGE = 10**18

_encode = msgspec.json.encode
_PREFIX = {"chat": "chatcmpl-", "completion": "cmpl-", "embedding": "embd-"}
_UNKNOWN = b'"x_lab":{"nested":[1,{"deep":null}],"text":"\\u00e9"},'
_ERRORS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", None),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}


def error_body(message: str, status: int, type_: str | None = None, code: str | None = None) -> bytes:
    """Return an error as OpenAI words it; type and code follow from the status unless given."""
    usual = _ERRORS.get(status, ("server_error", None) if status >= 500 or status < 400 else _ERRORS[400])
    error = {"message": message, "type": type_ or usual[0], "param": None, "code": code or usual[1]}
    return _encode({"error": error})


def ordered_error(order: Order, status: int) -> bytes:
    """Return the error that an order asks for."""
    return error_body(order.error, status, order.error_type, order.error_code)


def models_body(names: tuple[str, ...]) -> bytes:
    """Return the list of models."""
    return _encode({"object": "list", "data": [_model(name) for name in names]})


def model_body(name: str) -> bytes:
    """Return one model."""
    return _encode(_model(name))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "penstock-lab"}


def usage_json(order: Order, prompt: int, completion: int) -> bytes | None:
    """Return the usage object as ordered; None when it is to be missing."""
    prompt = prompt if order.prompt_tokens is None else order.prompt_tokens
    completion = completion if order.completion_tokens is None else order.completion_tokens
    total = prompt + completion
    match order.usage:
        case "missing":
            return None
        case "null":
            return b"null"
        case "negative":
            prompt, completion, total = -1, -1, -2
        case "huge":
            prompt, completion, total = HUGE, HUGE, 2 * HUGE
        case "text":
            return b'{"prompt_tokens":"%d","completion_tokens":"%d","total_tokens":"%d"}' % (prompt, completion, total)
    details = b',"prompt_tokens_details":{"cached_tokens":%d}' % order.cached_tokens if order.cached_tokens else b""
    numbers = b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d%b}'
    return numbers % (prompt, completion, total, details)


def chat_body(asked: Asked, order: Order, number: str, text: str, finish: bytes) -> bytes:
    """Return a whole chat completion or text completion."""
    usage = usage_json(order, asked.prompt_tokens, count_words(text))
    tail = b"" if usage is None else b',"usage":' + usage
    unknown = _UNKNOWN if order.unknown_fields else b""
    if asked.kind == "chat":
        kind = b"chat.completion"
        said = b'"message":{%b"role":"assistant","content":%b,"refusal":null}' % (unknown, _encode(text))
    else:
        kind = b"text_completion"
        said = b'"text":%b' % _encode(text)
    head = _head(asked, order, number, kind)
    return b'%b"choices":[{"index":0,%b,"logprobs":null,"finish_reason":"%b"}]%b}' % (head, said, finish, tail)


def embedding_body(asked: Asked, order: Order) -> bytes:
    """Return embeddings; a vector depends on its text alone."""
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(text, asked)}
        for index, text in enumerate(asked.inputs)
    ]
    body: dict[str, object] = {"object": "list", "data": data, "model": order.model or asked.model}
    usage = usage_json(order, asked.prompt_tokens, 0)
    if usage is not None:
        body["usage"] = msgspec.Raw(usage)
    return _encode(body)


def _vector(text: str, asked: Asked) -> list[float] | str:
    stream = hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(asked.dimensions)
    values = [(byte - 128) / 128 for byte in stream]  # exact in 32 bits, so base64 and numbers agree
    if asked.base64:
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    return values


def identity(kind: Kind, number: str) -> str:
    """Return an answer's id."""
    return _PREFIX[kind] + number


def _head(asked: Asked, order: Order, number: str, kind: bytes) -> bytes:
    own = _encode(identity(asked.kind, number))
    unknown = _UNKNOWN if order.unknown_fields else b""
    model = _encode(order.model or asked.model)
    start = b'{"id":%b,"object":"%b","created":%d,"model":%b,' % (own, kind, CREATED, model)
    return start + (b'"system_fingerprint":"fp_lab",' if asked.kind == "chat" else b"") + unknown


class Chunks:
    """Makes the JSON of one stream's chunks. `usage` is JSON to carry along, if any."""

    def __init__(self, asked: Asked, order: Order, number: str) -> None:
        self._kind: Kind = asked.kind
        chat = asked.kind == "chat"
        self._head = _head(asked, order, number, b"chat.completion.chunk" if chat else b"text_completion")
        unknown = _UNKNOWN if order.unknown_fields else b""
        self._open = self._head + b'"choices":[{"index":0,' + unknown + (b'"delta":' if chat else b'"text":')
        self._tail = b',"usage":null}' if asked.include_usage else b"}"

    def role(self, first: bool) -> bytes:
        """A chunk of a chat without content: the role, or an empty delta."""
        delta = b'{"role":"assistant","content":"","refusal":null}' if first else b'{"content":""}'
        return b'%b%b,"logprobs":null,"finish_reason":null}]%b' % (self._open, delta, self._tail)

    def text(self, piece: str, usage: bytes | None = None) -> bytes:
        """A chunk with content."""
        text = _encode(piece)
        said = b'{"content":%b}' % text if self._kind == "chat" else text
        return b'%b%b,"logprobs":null,"finish_reason":null}]%b' % (self._open, said, self._with(usage))

    def finish(self, reason: bytes, usage: bytes | None = None) -> bytes:
        """The chunk with the reason why the text ends."""
        said = b"{}" if self._kind == "chat" else b'""'
        return b'%b%b,"logprobs":null,"finish_reason":"%b"}]%b' % (self._open, said, reason, self._with(usage))

    def usage(self, usage: bytes, choices: bytes = b"[]") -> bytes:
        """The chunk that only tells the usage."""
        return b'%b"choices":%b,"usage":%b}' % (self._head, choices, usage)

    def _with(self, usage: bytes | None) -> bytes:
        return self._tail if usage is None else b',"usage":%b}' % usage
