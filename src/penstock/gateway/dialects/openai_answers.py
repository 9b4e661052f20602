"""
What answers in OpenAI's dialects say: chats, completions and embeddings, whole or event by event.

What an event means is only looked at where a step acts on it: the first content, the usage, the end, a fault.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.gateway.dialects import usage
from penstock.gateway.dialects.call import Call
from penstock.gateway.dialects.events import data_of, is_utf8, malformed, read, with_data
from penstock.types.errors import UpstreamUnusable
from penstock.types.usage import Usage

__all__ = ["END", "is_end", "malformed", "note", "ordinary", "usage_in", "usage_of", "without_usage"]

END = b"data: [DONE]\n\n"


class _GlancedChoice(msgspec.Struct, gc=False):
    finish_reason: str | None = None


class _Glanced(msgspec.Struct, gc=False):
    choices: tuple[_GlancedChoice]
    usage: Any = msgspec.UNSET
    error: Any = None


class _WithUsage(msgspec.Struct, gc=False):
    usage: Any = msgspec.UNSET


_glance = msgspec.json.Decoder(_Glanced).decode
_LF, _CR = b"\n\r"  # as numbers, which are found in a fifth of the time
_NULL_USAGE_END = b',"usage":null}\n\n'


def ordinary(whole: bytes, usage_wanted: bool) -> bytes:
    """
    Return what of these bytes goes to the client if they are one event of the kind that nearly all are, else nothing.

    That kind is a well-formed chunk of one choice that is not at its end, without usage and error. Decoding it takes
    less time than it takes to search it for a few names.
    """
    if not whole.startswith(b"data: {") or not (whole.isascii() or is_utf8(whole)):
        return b""
    text = whole[6:-2]
    if _LF in text or _CR in text:
        # To JSON, line ends are white space; in an event they would end the data.
        text = text.removesuffix(b"\r\n")
        if _LF in text or _CR in text:
            return b""
    try:
        seen = _glance(text)
    except (msgspec.DecodeError, RecursionError):  # several events, perhaps
        return b""
    if seen.error is not None or seen.choices[0].finish_reason is not None:
        return b""
    if seen.usage is msgspec.UNSET:
        return whole
    if seen.usage is not None:
        return b""
    if usage_wanted:
        return whole
    if whole.endswith(_NULL_USAGE_END):  # what closes behind it is the whole document
        return whole[: -len(_NULL_USAGE_END)] + b"}\n\n"
    return _cut(whole, b"null")


_ABSENT = msgspec.Raw()
_EMPTY = frozenset({b"", b"null", b'""', b"[]", b"{}"})


class _Choice(msgspec.Struct):
    delta: dict[str, msgspec.Raw] | None = None
    text: msgspec.Raw = _ABSENT
    finish_reason: msgspec.Raw = _ABSENT

    @property
    def speaks(self) -> bool:
        return _there(self.text) or any(name != "role" and _there(value) for name, value in (self.delta or {}).items())


class Chunk(msgspec.Struct):
    """The parts of a streamed chunk that steps act on."""

    choices: list[_Choice] | None = None
    error: msgspec.Raw = _ABSENT
    usage: msgspec.Raw = _ABSENT

    @property
    def speaks(self) -> bool:
        """Tell whether the chunk brings any part of an answer: anything but a role."""
        return any(choice.speaks for choice in self.choices or ())

    @property
    def finished(self) -> int:
        """How many choices end with this chunk."""
        return sum(_there(choice.finish_reason) for choice in self.choices or ())

    @property
    def content(self) -> bool:
        """Tell whether the chunk brings any part of an answer, or its end."""
        return self.finished > 0 or self.speaks

    @property
    def failed(self) -> bool:
        """Tell whether the chunk is an error in spite of the stream's status 200."""
        return _there(self.error)


_decode = msgspec.json.Decoder(Chunk).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_usage = msgspec.json.Decoder(_WithUsage).decode


def note(event: bytes) -> Chunk | None:
    """Return what an event says, or None when it is a comment, `[DONE]` or of a kind that Penstock does not know."""
    return read(event, _decode)


def is_end(event: bytes) -> bool:
    """Tell whether this is the event that ends a stream well."""
    return b"[DONE]" in event and data_of(event).strip() == b"[DONE]"


def without_usage(event: bytes) -> bytes:
    """Return an event that carries usage, or null for it, without it; nothing when usage is all it carries."""
    chunk = note(event)
    if chunk is None or chunk.usage is _ABSENT:
        return event
    if _there(chunk.usage) and not chunk.choices and not chunk.failed:
        return b""
    cut = _cut(event, bytes(chunk.usage))
    if cut:
        return cut
    try:
        fields = _decode_fields(data_of(event))
    except UnicodeDecodeError:  # in a name that is not looked at
        return event
    del fields["usage"]
    return with_data(event, msgspec.json.encode(fields))


def _cut(event: bytes, value: bytes) -> bytes:
    """Return an event without its usage, all other bytes as they were; nothing where that is not so simple."""
    for written in (b',"usage":%b', b', "usage": %b', b'"usage":%b,', b'"usage": %b, '):
        before, _, after = event.rpartition(written % value)
        if before:
            left = before + after
            try:
                if _decode_usage(data_of(left)).usage is msgspec.UNSET:  # so it was not that of some inner object
                    return left
            except msgspec.DecodeError:
                continue
    return b""


def _there(value: msgspec.Raw) -> bool:
    """Tell whether a field is present and not empty."""
    return bytes(value) not in _EMPTY


class _Whole(usage.Reporting):
    """What a reply must have to be one; usage that is not as it should be is no reason to call it broken."""

    choices: list[msgspec.Raw] | None = None
    data: list[msgspec.Raw] | None = None


class _Message(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw()
    tool_calls: msgspec.Raw = msgspec.Raw()


class _Answer(msgspec.Struct):
    message: _Message | None = None
    text: msgspec.Raw = msgspec.Raw()

    @property
    def size(self) -> int:
        """Bytes of what was generated, as JSON."""
        spoken = len(self.message.content) + len(self.message.tool_calls) if self.message else 0
        return spoken + len(self.text)


class _Unreported(msgspec.Struct):
    choices: list[_Answer] | None = None
    data: list[msgspec.Raw] | None = None


_decode_whole = msgspec.json.Decoder(_Whole).decode
_decode_unreported = msgspec.json.Decoder(_Unreported).decode


def usage_of(body: bytes, call: Call) -> Usage:
    """Return the usage that a whole reply reports, or an estimate from its size; raise when it is no reply."""
    try:
        try:
            whole: _Whole | _Unreported = _decode_whole(body)
        except msgspec.ValidationError:  # of the usage, perhaps
            whole = _decode_unreported(body)
        if whole.choices is None and whole.data is None:
            raise UpstreamUnusable("the upstream's reply is an error in spite of its status 200")
        if isinstance(whole, _Whole) and (found := usage.believed(whole)) is not None:
            return found
        generated = sum(answer.size for answer in _decode_unreported(body).choices or ())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamUnusable("the upstream's reply is not a JSON object") from error
    return usage.estimated(call.prompt_tokens, generated)


def usage_in(event: bytes, _before: Usage) -> Usage | None:
    """Return the usage that an event reports, or None when it has none that can be believed."""
    return usage.reported(data_of(event)) if b'"prompt_tokens"' in event else None
