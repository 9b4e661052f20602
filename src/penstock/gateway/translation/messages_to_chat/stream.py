"""The chunks of chat as the events of Anthropic's dialect."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.gateway.dialects import errors, events, usage
from penstock.gateway.translation import counts, messages, reading, stops
from penstock.gateway.translation.messages_to_chat.blocks import Blocks
from penstock.gateway.translation.messages_to_chat.reply import Reply
from penstock.types.errors import UpstreamFailed
from penstock.types.usage import Usage

_Raw = msgspec.Raw
_NONE = _Raw()
_UNSAID = frozenset({b"", b"null", b'""'})
_NO_ERROR = frozenset({b"", b"null", b'""', b"{}", b"[]"})


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: _Raw = _NONE


class _ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: _Raw = _NONE
    reasoning_content: _Raw = _NONE
    reasoning: _Raw = _NONE
    refusal: _Raw = _NONE
    tool_calls: list[_ToolCall] | None = None
    thinking_blocks: list[messages.Thinking | messages.Redacted] | None = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None
    stop_reason: Any = None


class _Chunk(msgspec.Struct, gc=False):
    id: str = ""
    model: str = ""
    choices: list[_Choice] | None = None
    usage: _Raw = _NONE
    error: _Raw = _NONE


_decode = msgspec.json.Decoder(_Chunk).decode
_encode = msgspec.json.Encoder().encode


class Stream:
    """
    The state of one stream.

    Attributes:
        usage: what the upstream has reported so far.
    """

    __slots__ = ("_begun", "_blocks", "_finish", "_model", "_over", "_refused", "_stop", "_stops_wanted", "usage")

    def __init__(self, model: str, stops_wanted: list[str]) -> None:
        """
        Args:
            model: what to call the model where the upstream does not.
            stops_wanted: the client's stop sequences.
        """
        self.usage: Usage | None = None
        self._model = model
        self._stops_wanted = stops_wanted
        self._blocks = Blocks()
        self._begun = False
        self._finish: str | None = None
        self._stop: str | None = None  # the sequence that ended the answer
        self._refused = False
        self._over = False

    def events(self, whole: bytes) -> bytes:
        """See `Translation.events`."""
        out = []
        for event in events.split(whole):
            data = reading.data_of(event)
            if not data or self._over:
                continue
            if data.strip() == b"[DONE]":
                out.append(self._ended())
                continue
            try:
                chunk = reading.event(_decode, data)
            except UpstreamFailed:
                if self._finish is not None:  # the answer is whole
                    continue
                raise
            out.append(self._events(chunk, data))
        return b"".join(out)

    def end(self) -> bytes:
        """See `Translation.end`."""
        if self._over:
            return b""
        if self._finish is None:
            raise UpstreamFailed("the upstream's stream was cut off")
        return self._ended()

    def _events(self, chunk: _Chunk, data: bytes) -> bytes:
        if bytes(chunk.error) not in _NO_ERROR:
            raise errors.in_band(data)
        if bytes(chunk.usage) not in _NO_ERROR:
            self.usage = usage.reported(data) or self.usage
        out = b"" if self._begun else self._start(chunk.id, chunk.model)
        for choice in chunk.choices or ():
            if choice.index != 0:
                continue
            if choice.delta is not None:
                out += self._said(choice.delta)
            if choice.finish_reason is not None:
                self._finish = choice.finish_reason
                if choice.stop_reason in self._stops_wanted:
                    self._stop = choice.stop_reason
        if self._finish is not None and self.usage is not None and not chunk.choices:
            out += self._ended()
        return out

    def _said(self, delta: _Delta) -> bytes:
        blocks, out = self._blocks, b""
        thought = bytes(delta.reasoning_content) or bytes(delta.reasoning)
        if thought not in _UNSAID:
            out += blocks.think(_string(thought))
        for block in delta.thinking_blocks or ():
            out += blocks.redacted(block) if isinstance(block, messages.Redacted) else blocks.sign(block.signature)
        text = bytes(delta.content)
        if text not in _UNSAID:
            out += blocks.say(_string(text))
        refusal = bytes(delta.refusal)
        if refusal not in _UNSAID:
            self._refused = True
            out += blocks.say(_string(refusal))
        for call in delta.tool_calls or ():
            called = call.function or _Function()
            arguments = bytes(called.arguments)
            out += blocks.call(call.index, call.id, called.name, b"" if arguments in _UNSAID else _string(arguments))
        return out

    def _start(self, name: str, model: str) -> bytes:
        self._begun = True
        first = Reply(
            name, "message", "assistant", model or self._model, [], None, None, counts.to_messages(self.usage)
        )
        return b'event: message_start\ndata: {"type":"message_start","message":%b}\n\n' % _encode(first)

    def _ended(self) -> bytes:
        self._over = True
        out = b"" if self._begun else self._start("", "")
        out += self._blocks.end()
        reason = stops.to_messages(self._finish, tools=self._blocks.called)
        if self._refused:
            reason = "refusal"
        elif self._stop is not None and reason == "end_turn":
            reason = "stop_sequence"
        stop = self._stop if reason == "stop_sequence" else None
        told = (_encode(reason), _encode(stop), _encode(counts.to_messages(self.usage)))
        return out + (
            b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":%b,"stop_sequence":%b},'
            b'"usage":%b}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n' % told
        )


def _string(raw: bytes) -> bytes:
    """Return JSON that is a string, as it came."""
    if not raw.startswith(b'"'):
        raise UpstreamFailed("the upstream sent a malformed event")
    return raw
