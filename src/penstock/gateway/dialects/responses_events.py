"""
What the events of OpenAI's Responses mean to the steps that act on them.

Each event is named twice: in its `event:` line, and as the `type` in its data, which is what counts here. Cutting a
stream into events is the business of `events`; the usage, in the last event, is read by `metering`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.gateway.dialects import errors, events

_LF, _CR = b"\n\r"  # as numbers, which are found in a fifth of the time
_ABSENT = msgspec.Raw()
_EMPTY = frozenset({b"", b"null", b'""', b"[]", b"{}"})
_ENDS = frozenset({"response.completed", "response.incomplete"})
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
    def ended(self) -> bool:
        """Tell whether this is the event that ends a stream well, be the answer cut short by its cap."""
        return self.type in _ENDS

    @property
    def content(self) -> bool:
        """
        Tell whether the event brings any part of an answer, or its end.

        A call of a function or of a hosted tool is one from its announcement on; messages and thoughts are not.
        """
        if self.speaks or self.ended:
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


class _Told(msgspec.Struct):
    message: Any = None
    type: Any = None
    param: Any = None
    code: Any = None


class _Body(msgspec.Struct):
    error: _Told


_glance = msgspec.json.Decoder(_Glanced).decode
_decode = msgspec.json.Decoder(Event).decode
_decode_error = msgspec.json.Decoder(_Body).decode
_encode = msgspec.json.Encoder().encode


def ordinary(whole: bytes) -> bool:
    """
    Tell whether these bytes are one event of the kind that nearly all are: a well-formed delta that is not empty.

    Such an event goes to the client as it is, and is content.
    """
    if not whole.startswith(b"event: response."):
        return False
    start = whole.find(b"\ndata: {", 0, 100)
    if start < 0 or not (whole.isascii() or events.is_utf8(whole)):
        return False
    data = whole[start + 7 : -2]
    if _LF in data or _CR in data or _CR in whole[:start] or _LF in whole[:start] or not whole.endswith(b"\n\n"):
        return False
    try:
        seen = _glance(data)
    except (msgspec.DecodeError, RecursionError):
        return False
    return seen.type.endswith(".delta") and bytes(seen.delta) not in _EMPTY


def event_of(event: bytes) -> Event | None:
    """Return what an event says, or None when it is a comment or of a kind that Penstock does not know."""
    data = events.data_of(event)
    if not data.lstrip().startswith(b"{"):
        return None
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def malformed(event: bytes) -> bool:
    """Tell whether an event is not UTF-8, or begins a JSON object that is none; here named ones are JSON too."""
    # Line ends are white space between tokens, and inside of strings a fault either way.
    return events.malformed(b"data: " + events.data_of(event).replace(b"\n", b"\t") + b"\n\n")


def failure(error: BaseException, number: int) -> bytes:
    """
    Return an error as the last event of a stream.

    It has the members of this API's own error events, and `error` as in other streams of OpenAI's, which is what makes
    the official SDK raise; events of the kind `error` it hands on like any other.

    Args:
        number: of the event in its stream.
    """
    told = _decode_error(errors.body(error)).error
    members = {"type": "error", "sequence_number": number, "code": told.code, "message": told.message}
    return b"event: error\ndata: " + _encode({**members, "param": told.param, "error": told}) + b"\n\n"
