"""
What answers of OpenAI's Responses say, whole or event by event.

Each event is named twice: in its `event:` line, and as the `type` in its data, which is what counts here.
"""

from __future__ import annotations

import msgspec

from penstock.gateway.dialects import bodies, events, usage
from penstock.gateway.dialects.call import Call
from penstock.types.errors import UpstreamUnusable
from penstock.types.usage import Usage

__all__ = ["END", "is_end", "malformed", "note", "ordinary", "usage_in", "usage_of", "without_usage"]

END = b""  # cannot be made up: the last event has the whole response

_LF, _CR = b"\n\r"  # as numbers, which are found in a fifth of the time
_ABSENT = msgspec.Raw()
_EMPTY = frozenset({b"", b"null", b'""', b"[]", b"{}"})
_ENDS = frozenset({"response.completed", "response.incomplete"})
_END_NAMES = tuple(end.encode() for end in _ENDS)
_FAILURES = frozenset({"response.failed", "error"})
_ANNOUNCED = frozenset({"message", "reasoning", ""})
"""Items that are announced before any of their content is there."""


class _Glanced(msgspec.Struct, gc=False):
    type: str
    delta: msgspec.Raw


class _Item(msgspec.Struct):
    type: str = ""


class Event(msgspec.Struct):
    """The parts of an event that steps act on."""

    type: str = ""
    delta: msgspec.Raw = _ABSENT
    item: _Item | None = None
    error: msgspec.Raw = _ABSENT

    @property
    def speaks(self) -> bool:
        """Tell whether the event brings any part of an answer: text, thoughts, arguments, sound."""
        return bytes(self.delta) not in _EMPTY and self.type.endswith(".delta")

    @property
    def finished(self) -> int:
        """Tell whether this is the event that ends a stream well, be the answer cut short by its cap."""
        return int(self.type in _ENDS)

    @property
    def content(self) -> bool:
        """
        Tell whether the event brings any part of an answer, or its end.

        A call of a function or of a hosted tool is one from its announcement on; messages and thoughts are not.
        """
        if self.speaks or self.finished:
            return True
        return self.type.startswith("response.output_item.") and self.item is not None and self._brought

    @property
    def _brought(self) -> bool:
        assert self.item is not None
        return self.item.type not in _ANNOUNCED or (self.item.type == "message" and self.type.endswith(".done"))

    @property
    def failed(self) -> bool:
        """Tell whether the event is an error in spite of the stream's status 200."""
        return self.type in _FAILURES or bytes(self.error) not in _EMPTY


class _Whole(msgspec.Struct):
    output: list[msgspec.Raw]


_glance = msgspec.json.Decoder(_Glanced).decode
_decode = msgspec.json.Decoder(Event).decode
_decode_whole = msgspec.json.Decoder(_Whole).decode


def ordinary(whole: bytes, _usage_wanted: bool) -> bytes:
    """
    Return these bytes if they are one event of the kind that nearly all are, else nothing.

    That kind is a well-formed delta that is not empty.
    """
    if not whole.startswith(b"event: response."):
        return b""
    start = whole.find(b"\ndata: {", 0, 100)
    if start < 0 or not (whole.isascii() or events.is_utf8(whole)):
        return b""
    data = whole[start + 7 : -2]
    if _LF in data or _CR in data or _CR in whole[:start] or _LF in whole[:start] or not whole.endswith(b"\n\n"):
        return b""
    try:
        seen = _glance(data)
    except (msgspec.DecodeError, RecursionError):
        return b""
    return whole if seen.type.endswith(".delta") and bytes(seen.delta) not in _EMPTY else b""


def note(event: bytes) -> Event | None:
    """Return what an event says, or None when it is a comment or of a kind that Penstock does not know."""
    return events.read(event, _decode)


def malformed(event: bytes) -> bool:
    """Tell whether an event is not UTF-8, or begins a JSON object that is none; here named ones are JSON too."""
    # Line ends are white space between tokens, and inside of strings a fault either way.
    return events.malformed(b"data: " + events.data_of(event).replace(b"\n", b"\t") + b"\n\n")


def is_end(event: bytes) -> bool:
    """Tell whether this is the event that ends a stream well."""
    if not any(end in event for end in _END_NAMES):
        return False
    said = note(event)
    return said is not None and said.finished > 0


def usage_in(event: bytes, before: Usage) -> Usage | None:
    """Return the usage that an event reports, as the last one does."""
    return bodies.reported(events.data_of(event), before) if b'"input_tokens"' in event else None


def without_usage(event: bytes) -> bytes:
    """Return the event: who speaks this dialect always gets usage."""
    return event


def usage_of(body: bytes, call: Call) -> Usage:
    """
    Return the usage that a whole response reports, or an estimate from its size.

    Raises:
        UpstreamUnusable: it is no response.
    """
    try:
        output = _decode_whole(body).output
    except msgspec.ValidationError as error:
        raise UpstreamUnusable("the upstream's reply is an error in spite of its status 200") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamUnusable("the upstream's reply is not a JSON object") from error
    return bodies.reported(body) or usage.estimated(call.prompt_tokens, sum(len(item) for item in output))
