"""The events of Anthropic's dialect as the chunks of chat."""

from __future__ import annotations

import re

import msgspec

from penstock.gateway.dialects import bodies, errors, events, openai_answers
from penstock.gateway.translation import counts, messages, reading, stops
from penstock.gateway.translation.chat_to_messages.reply import StopDetails
from penstock.types.errors import UpstreamFailed
from penstock.types.usage import Usage

_Raw = msgspec.Raw
_NONE = _Raw()
_EMPTY = b'""'
_MAX_THOUGHT = 4 * 1024 * 1024  # bytes of a thought that are kept until its signature comes
_WORD = re.compile(r"[a-z_]{1,64}")


class _Delta(msgspec.Struct, gc=False):
    type: str = ""
    text: _Raw = _NONE
    thinking: _Raw = _NONE
    partial_json: _Raw = _NONE
    signature: str = ""
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    id: str = ""
    name: str = ""
    text: _Raw = _NONE
    thinking: _Raw = _NONE
    signature: str = ""
    data: str = ""
    input: _Raw = _NONE


class _Message(msgspec.Struct):
    id: str = ""
    model: str = ""
    usage: dict[str, _Raw] | None = None


class _Fault(msgspec.Struct):
    type: str = ""


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: dict[str, _Raw] | None = None
    error: _Fault | None = None


_decode = msgspec.json.Decoder(_Event).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


class Stream:
    """
    The state of one stream.

    Attributes:
        usage: what the upstream has reported so far.
    """

    __slots__ = (
        "_call",
        "_called",
        "_calls",
        "_created",
        "_head",
        "_kind",
        "_over",
        "_stop",
        "_thought",
        "_told",
        "_usage_wanted",
        "usage",
    )

    def __init__(self, model: str, created: int, usage_wanted: bool) -> None:
        """
        Args:
            model: what to call the model until the upstream has said it.
            created: Unix time in seconds.
        """
        self.usage: Usage | None = None
        self._created = created
        self._usage_wanted = usage_wanted
        self._head = b""
        self._name("", model)
        self._told: dict[str, _Raw] = {}  # usage comes in parts, of which later ones count
        self._kind = ""  # of the block that is open
        self._call = b""  # the call that is being made, as each of its deltas begins
        self._calls = 0
        self._called = False  # arguments of this call have come
        self._thought: bytearray | None = None  # the thought that is open, unless it is too long
        self._stop: str | None = None
        self._over = False

    def events(self, whole: bytes) -> bytes:
        """See `Translation.events`."""
        out = []
        for event in events.split(whole):
            data = reading.data_of(event)
            if not data or self._over:
                continue
            try:
                found = reading.event(_decode, data)
            except UpstreamFailed:
                if self._stop is not None:  # the answer is whole
                    continue
                raise
            if found.type == "error":
                raise errors.in_band(data)
            out.append(self._chunk(found))
        return b"".join(out)

    def end(self) -> bytes:
        """See `Translation.end`."""
        if self._over:
            return b""
        if self._stop is None:
            raise UpstreamFailed("the upstream's stream was cut off")
        return self._ended()

    def _chunk(self, event: _Event) -> bytes:
        kind = event.type
        if kind == "content_block_delta":
            return self._delta(event.delta) if event.delta is not None else b""
        if kind == "content_block_start":
            return self._begun(event.content_block or _Block())
        if kind == "content_block_stop":
            return self._closed()
        if kind == "message_start":
            message = event.message or _Message()
            self._name(message.id, message.model)
            self._count(message.usage)
            return self._said(b'"role":"assistant","content":""')
        if kind == "message_delta":
            self._count(event.usage)
            return self._stopped(event.delta or _Delta())
        if kind == "message_stop":
            return self._ended()
        return b""

    def _delta(self, delta: _Delta) -> bytes:
        kind = self._kind
        if kind == "text" and delta.type == "text_delta":
            return self._spoken(b"content", delta.text)
        if kind == "tool_use" and delta.type == "input_json_delta":
            text = _text(delta.partial_json)
            if text == _EMPTY:
                return b""
            self._called = True
            return self._said(b'%b"function":{"arguments":%b}}]' % (self._call, text))
        if kind == "thinking":
            if delta.type == "thinking_delta":
                return self._spoken(b"reasoning_content", self._keep(delta.thinking))
            if delta.type == "signature_delta":
                return self._signed(delta.signature)
        return b""

    def _begun(self, block: _Block) -> bytes:
        self._kind = kind = block.type
        if kind == "text":
            return self._spoken(b"content", block.text) if block.text else b""
        if kind == "tool_use":
            self._call = b'"tool_calls":[{"index":%d,' % self._calls
            self._calls += 1
            given = bytes(block.input)
            self._called = len(given) > len(b"{ }")  # all at once, as some that speak like Anthropic do
            arguments = given.decode() if self._called else ""
            call = (self._call, _encode(block.id), _encode(block.name), _encode(arguments))
            return self._said(b'%b"id":%b,"type":"function","function":{"name":%b,"arguments":%b}}]' % call)
        if kind == "thinking":
            self._thought = bytearray()
            out = self._spoken(b"reasoning_content", self._keep(block.thinking)) if block.thinking else b""
            return out + self._signed(block.signature)
        if kind == "redacted_thinking":
            return self._said(b'"thinking_blocks":[%b]' % _encode(messages.Redacted(block.data)))
        return b""

    def _closed(self) -> bytes:
        kind, self._kind = self._kind, ""
        if kind == "tool_use" and not self._called:  # clients read the arguments as JSON
            return self._said(b'%b"function":{"arguments":"{}"}}]' % self._call)
        return b""

    def _keep(self, thinking: _Raw) -> _Raw:
        """Keep a piece of a thought, for it is signed as a whole."""
        if self._thought is not None:
            self._thought += _decode_text(_text(thinking)).encode()
            if len(self._thought) > _MAX_THOUGHT:
                self._thought = None
        return thinking

    def _signed(self, signature: str) -> bytes:
        if not signature or self._thought is None:
            return b""
        block = messages.Thinking(self._thought.decode(), signature)
        self._thought = None
        return self._said(b'"thinking_blocks":[%b]' % _encode(block))

    def _stopped(self, delta: _Delta) -> bytes:
        self._stop = delta.stop_reason or self._stop
        told = delta.stop_details.explanation if delta.stop_details and self._stop == "refusal" else None
        return self._said(b'"refusal":%b' % _encode(told)) if told else b""

    def _ended(self) -> bytes:
        self._over = True
        reason = stops.to_chat(self._stop).encode()
        out = b'%b"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"%b"}]}\n\n' % (self._head, reason)
        if self._usage_wanted and self.usage is not None:
            out += b'%b"choices":[],"usage":%b}\n\n' % (self._head, _encode(counts.to_chat(self.usage)))
        return out + openai_answers.END

    def _spoken(self, name: bytes, raw: _Raw) -> bytes:
        text = _text(raw)
        return self._said(b'"%b":%b' % (name, text)) if text != _EMPTY else b""

    def _said(self, delta: bytes) -> bytes:
        return b'%b"choices":[{"index":0,"delta":{%b},"logprobs":null,"finish_reason":null}]}\n\n' % (
            self._head,
            delta,
        )

    def _name(self, name: str, model: str) -> None:
        """Make what every chunk begins with."""
        self._head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,' % (
            _encode(name),
            self._created,
            _encode(model),
        )

    def _count(self, usage: dict[str, _Raw] | None) -> None:
        if usage:
            self._told.update((name, value) for name, value in usage.items() if bytes(value) != b"null")
            self.usage = bodies.reported(_encode({"usage": self._told})) or self.usage


def _text(raw: _Raw) -> bytes:
    """Return a JSON string as it came; absent and null are the empty one."""
    text = bytes(raw)
    if text.startswith(b'"'):
        return text
    if text in {b"", b"null"}:
        return _EMPTY
    raise UpstreamFailed("the upstream sent a malformed event")
