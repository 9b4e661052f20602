"""
Server-sent events as bytes.

Events are cut at their blank lines and otherwise left alone. What an event means is only looked at where a step acts on
it: the first content, the usage, the end. Line ends may be LF, CRLF or CR, also mixed (WHATWG HTML, 9.2.6).
"""

from __future__ import annotations

import re

import msgspec

from penstock.types.errors import UpstreamFailed

MAX_EVENT = 8 * 1024 * 1024
DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"

_BLANK_LINE = re.compile(rb"\n\n|\n\r\n|\r\r|\r\n\r\n|\n\r(?!\n)|\r\n\r(?!\n)")
_LINE = re.compile(rb"\r\n|\n|\r")
_LONGEST_BLANK = 4


class Splitter:
    """Cuts a stream of bytes into whole events. Holds at most one unfinished event; belongs to one stream."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> bytes:
        """
        Return the bytes up to the end of the last whole event, which may be none; the rest is held.

        Raises:
            UpstreamFailed: an event is longer than 8 MiB.
        """
        if not self._pending and data.endswith(b"\n\n") and b"\r" not in data:
            return data
        start = max(0, len(self._pending) - _LONGEST_BLANK + 1)
        self._pending += data
        end = 0
        for match in _BLANK_LINE.finditer(self._pending, start):
            # A carriage return at the very end may be the first half of CRLF: that event waits for the next bytes.
            if match.end() < len(self._pending) or self._pending[-1:] == b"\n":
                end = match.end()
        whole = bytes(self._pending[:end])
        del self._pending[:end]
        if len(self._pending) > MAX_EVENT:
            raise UpstreamFailed("the upstream sent an event of more than 8 MiB")
        return whole

    def rest(self) -> bytes:
        """Return what is held at the end of the stream: an event without its blank line, or nothing."""
        rest = bytes(self._pending)
        self._pending.clear()
        return rest


def split(whole: bytes) -> list[bytes]:
    """Cut bytes that `Splitter.feed` returned into single events, blank lines included."""
    if whole.endswith(b"\n\n") and whole.count(b"\n\n") == 1 and b"\r" not in whole:
        return [whole]
    events, start = [], 0
    for match in _BLANK_LINE.finditer(whole):
        events.append(whole[start : match.end()])
        start = match.end()
    if start < len(whole):
        events.append(whole[start:])
    return events


def data_of(event: bytes) -> bytes:
    """Return the event's data: its `data:` lines joined by line feeds, or nothing for a comment."""
    if event.startswith(b"data: ") and event.endswith(b"\n\n") and event.count(b"\n") == 2 and b"\r" not in event:
        return event[6:-2]
    lines = []
    for line in _LINE.split(event):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines)


_ABSENT = msgspec.Raw()
_EMPTY = frozenset({b"", b"null", b'""', b"[]", b"{}"})


class _Choice(msgspec.Struct):
    delta: dict[str, msgspec.Raw] | None = None
    text: msgspec.Raw = _ABSENT
    finish_reason: msgspec.Raw = _ABSENT


class Chunk(msgspec.Struct):
    """The parts of a streamed chunk that steps act on."""

    choices: list[_Choice] | None = None
    error: msgspec.Raw = _ABSENT
    usage: msgspec.Raw = _ABSENT

    @property
    def content(self) -> bool:
        """Tell whether the chunk brings any part of an answer, or its end: anything but a role."""
        return any(
            _there(choice.text)
            or _there(choice.finish_reason)
            or any(name != "role" and _there(value) for name, value in (choice.delta or {}).items())
            for choice in self.choices or ()
        )

    @property
    def finished(self) -> int:
        """How many choices end with this chunk."""
        return sum(_there(choice.finish_reason) for choice in self.choices or ())

    @property
    def failed(self) -> bool:
        """Tell whether the chunk is an error in spite of the stream's status 200."""
        return _there(self.error)

    @property
    def has_usage(self) -> bool:
        """Tell whether the chunk carries usage."""
        return _there(self.usage)


_decode = msgspec.json.Decoder(Chunk).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def chunk_of(event: bytes) -> Chunk | None:
    """Return what an event says, or None when it is a comment, `[DONE]` or of a kind that Penstock does not know."""
    data = data_of(event)
    if not data.startswith(b"{"):
        return None
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def is_done(event: bytes) -> bool:
    """Tell whether this is the event that ends a stream well."""
    return b"[DONE]" in event and data_of(event).strip() == b"[DONE]"


def without_usage(event: bytes) -> bytes:
    """Return an event that carries usage beside its choices without it; nothing when usage is all it carries."""
    chunk = chunk_of(event)
    if chunk is None or not chunk.has_usage:
        return event
    if not chunk.choices and not chunk.failed:
        return b""
    fields = _decode_fields(data_of(event))
    del fields["usage"]
    lines = [line for line in _LINE.split(event) if line and not line.startswith(b"data")]
    return b"\n".join([*lines, b"data: " + msgspec.json.encode(fields)]) + b"\n\n"


def _there(value: msgspec.Raw) -> bool:
    """Tell whether a field is present and not empty."""
    return bytes(value) not in _EMPTY
