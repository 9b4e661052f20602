"""What answers of Anthropic's Messages API say, whole or event by event."""

from __future__ import annotations

import msgspec

from penstock.gateway.dialects import bodies, usage
from penstock.gateway.dialects.call import Call
from penstock.gateway.dialects.events import data_of, is_utf8, read, readable
from penstock.types.dialect import Dialect
from penstock.types.errors import UpstreamUnusable
from penstock.types.usage import Usage

__all__ = ["END", "is_end", "malformed", "note", "ordinary", "usage_in", "usage_of", "without_usage"]

END = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

_DELTA = b"event: content_block_delta\ndata: {"
_AT = len(_DELTA) - 1
_LF, _CR = b"\n\r"
_FREE = frozenset({"text", "thinking", "redacted_thinking"})  # blocks whose beginning says nothing yet


class _Delta(msgspec.Struct, gc=False):
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    stop_reason: str | None = None
    citation: msgspec.Raw = msgspec.Raw()

    @property
    def speaks(self) -> bool:
        return bool(self.text or self.partial_json or self.thinking or self.signature or self.citation)


class _Block(msgspec.Struct):
    type: str = ""
    text: str | None = None
    data: str | None = None


class Event(msgspec.Struct):
    """The parts of a streamed event that steps act on."""

    type: str
    delta: _Delta | None = None
    content_block: _Block | None = None

    @property
    def speaks(self) -> bool:
        """Tell whether it brings any part of an answer: a delta, or a block that says something by its beginning."""
        if self.type == "content_block_delta":
            return self.delta is not None and self.delta.speaks
        block = self.content_block
        return block is not None and (block.type not in _FREE or bool(block.text or block.data))

    @property
    def finished(self) -> int:
        """Tell whether the answer ends with it; it has but one choice."""
        return int(self.type == "message_delta" and self.delta is not None and self.delta.stop_reason is not None)

    @property
    def content(self) -> bool:
        """Tell whether it brings any part of an answer, or its end."""
        return self.speaks or self.finished > 0

    @property
    def failed(self) -> bool:
        """Tell whether it is an error in spite of the stream's status 200."""
        return self.type == "error"


class _Glanced(msgspec.Struct, gc=False):
    delta: _Delta


class _Named(msgspec.Struct):
    type: str


class _Whole(msgspec.Struct):
    content: list[msgspec.Raw]


class _Count(msgspec.Struct):
    input_tokens: int


_glance = msgspec.json.Decoder(_Glanced).decode
_decode = msgspec.json.Decoder(Event).decode
_decode_name = msgspec.json.Decoder(_Named).decode
_decode_whole = msgspec.json.Decoder(_Whole).decode
_decode_count = msgspec.json.Decoder(_Count).decode
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode


def ordinary(whole: bytes, _usage_wanted: bool) -> bytes:
    """Return these bytes if they are one delta of a block, as nearly all events are, else nothing."""
    if not whole.startswith(_DELTA) or not (whole.isascii() or is_utf8(whole)):
        return b""
    text = whole[_AT:-2]
    if _LF in text or _CR in text:  # several events, perhaps, or one in several lines
        return b""
    try:
        seen = _glance(text)
    except (msgspec.DecodeError, RecursionError):
        return b""
    return whole if seen.delta.speaks else b""


def note(event: bytes) -> Event | None:
    """Return what an event says, or None when it is a comment or of a kind that Penstock does not know."""
    return read(event, _decode)


def is_end(event: bytes) -> bool:
    """Tell whether this is the event that ends a stream well."""
    if b"message_stop" not in event:
        return False
    try:
        return _decode_name(data_of(event)).type == "message_stop"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def malformed(event: bytes) -> bool:
    """Tell whether an event is not UTF-8, or begins a JSON object that is none."""
    if not is_utf8(event):
        return True
    data = data_of(event)
    if not data.lstrip().startswith(b"{"):
        return False
    try:
        _decode_any(data)
    except msgspec.DecodeError:
        return not readable(data)
    except RecursionError:
        return False
    return False


def usage_in(event: bytes, before: Usage) -> Usage | None:
    """Return the usage that an event reports: the first one that of the prompt, a later one that of the answer."""
    return bodies.reported(data_of(event), before) if b'"usage"' in event else None


def without_usage(event: bytes) -> bytes:
    """Return the event: who speaks this dialect always gets usage."""
    return event


def usage_of(body: bytes, call: Call) -> Usage:
    """
    Return the usage that a whole message reports, or an estimate from its size; none for a count of tokens.

    Raises:
        UpstreamUnusable: it is neither.
    """
    try:
        if call.dialect is Dialect.COUNT:
            _decode_count(body)
            return Usage()
        content = _decode_whole(body).content
    except msgspec.ValidationError as error:
        raise UpstreamUnusable("the upstream's reply is an error in spite of its status 200") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamUnusable("the upstream's reply is not a JSON object") from error
    found = bodies.reported(body)
    if found is not None and (found.input_tokens or found.output_tokens):
        return found
    # Nothing is told, or zeros where there has to be a number, as translations write for upstreams that tell nothing.
    return usage.estimated(call.prompt_tokens, sum(len(block) for block in content))
