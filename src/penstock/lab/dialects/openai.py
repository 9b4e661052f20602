"""What OpenAI's APIs have in common: errors, the parts of messages, usage, and chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from penstock.lab.asked import Asked, AskedError, count_words
from penstock.lab.blocks import Block, Reason
from penstock.lab.dialect import Event, Fault
from penstock.lab.orders import Order
from penstock.lab.usage import ordered, worded

CREATED = 1_700_000_000  # every object of the lab was made at this second
UNKNOWN = b'"x_lab":{"nested":[1,{"deep":null}],"text":"\\u00e9"},'

_encode = msgspec.json.encode
_DONE = Event(b"[DONE]")
_ERRORS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", None),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}

Body = TypeVar("Body")


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Part(msgspec.Struct):
    """One part of a message: text, or something the lab does not look into."""

    type: str = "text"
    text: str | None = None


def words_of(content: str | list[Part] | None) -> str:
    """Return the text of a message."""
    if isinstance(content, list):
        return " ".join(part.text for part in content if part.text)
    return content or ""


def tokens_of(content: str | list[Part] | None) -> int:
    """Count a message's words; what is not text (an image, a file) is one."""
    others = sum(part.text is None for part in content) if isinstance(content, list) else 0
    return count_words(words_of(content)) + others


def decoded(decoder: msgspec.json.Decoder[Body], understand: Callable[[Body], Asked], body: bytes) -> Asked:
    """
    Read a request's body.

    Raises:
        AskedError: it is not JSON, or not a request of this kind that the lab can answer.
    """
    try:
        return understand(decoder.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AskedError(f"the lab cannot read this body: {error}") from error


def one_choice(n: int | None) -> None:
    """Refuse what the lab does not do."""
    if n is not None and n != 1:
        raise AskedError("the lab answers with one choice: `n` must be 1")


def error_body(fault: Fault, _number: str = "") -> bytes:
    """Return an error as OpenAI words it."""
    status = fault.status
    usual = _ERRORS.get(status, ("server_error", None) if status >= 500 or status < 400 else _ERRORS[400])
    kind, code = fault.type or usual[0], fault.code or usual[1]
    return _encode({"error": {"message": fault.message, "type": kind, "param": fault.param, "code": code}})


def usage_json(order: Order, prompt: int, completion: int) -> bytes | None:
    """Return the usage of a completion as ordered; None when it is to be missing."""
    tokens = ordered(order, prompt, completion)
    fields: dict[str, object] = {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.completion,
        "total_tokens": tokens.prompt + tokens.completion,
    }
    details = {"cached_tokens": tokens.cached, "cache_write_tokens": tokens.written}
    if any(details.values()):
        fields["prompt_tokens_details"] = {name: value for name, value in details.items() if value}
    if tokens.thought:
        fields["completion_tokens_details"] = {"reasoning_tokens": tokens.thought}
    return worded(order, fields)


def head(asked: Asked, order: Order, identity: str, kind: bytes, more: bytes = b"") -> bytes:
    """Return the beginning of an answer's JSON, or of a chunk's, up to its choices."""
    model = _encode(order.model or asked.model)
    start = b'{"id":%b,"object":"%b","created":%d,"model":%b,%b' % (_encode(identity), kind, CREATED, model, more)
    return start + UNKNOWN if order.unknown_fields else start


class Chunks:
    """
    The chunks of one completion: what chats and texts have in common.

    Args:
        start: the JSON of a chunk up to its choices.
        field: the field of a choice that has the content.
        nothing: that field's JSON in the chunk with the reason.
    """

    def __init__(self, asked: Asked, order: Order, start: bytes, field: bytes, nothing: bytes) -> None:
        self._asked = asked
        self._order = order
        self._head = start
        unknown = UNKNOWN if order.unknown_fields else b""
        self._open = b'%b"choices":[{"index":0,%b"%b":' % (start, unknown, field)
        self._nothing = nothing
        self._told = asked.include_usage or order.usage_always
        self._every = self._told and order.usage_on == "every"
        self._tail = b',"usage":null}' if asked.include_usage else b"}"

    def chunk(self, content: bytes) -> Event:
        """A chunk that says nothing of the usage."""
        return Event(b'%b%b,"logprobs":null,"finish_reason":null}]%b' % (self._open, content, self._tail))

    def counted(self, content: bytes, tokens: int) -> Event:
        """A chunk with content, and with the usage so far if so ordered."""
        if not self._every:
            return self.chunk(content)
        tail = self._with(self._usage(tokens))
        return Event(b'%b%b,"logprobs":null,"finish_reason":null}]%b' % (self._open, content, tail))

    def end(self, _block: Block) -> tuple[Event, ...]:
        """Nothing ends a block but the next."""
        return ()

    def close(self, reason: Reason, tokens: int) -> Iterator[Event]:
        """The reason why it ends, the usage, and the last word."""
        order = self._order
        usage = self._usage(tokens) if self._told else None
        tail = self._with(usage if order.usage_on in {"finish", "every"} else None)
        yield Event(
            b'%b%b,"logprobs":null,"finish_reason":"%b"}]%b' % (self._open, self._nothing, reason.encode(), tail)
        )
        if usage is not None and order.usage_on != "finish":
            choices = b"null" if order.usage_on == "null_choices" else b"[]"
            yield Event(b'%b"choices":%b,"usage":%b}' % (self._head, choices, usage))
        if order.done:
            yield _DONE

    def fail(self, fault: Fault) -> Event:
        """An error in the place of a chunk."""
        return Event(error_body(fault))

    def _usage(self, tokens: int) -> bytes | None:
        return usage_json(self._order, self._asked.prompt_tokens, tokens)

    def _with(self, usage: bytes | None) -> bytes:
        return self._tail if usage is None else b',"usage":%b}' % usage
