"""
Server-sent events as bytes.

Events are cut at their blank lines and otherwise left alone. What an event means is only looked at where a step acts on
it: the first content, the usage, the end, a fault. Line ends may be LF, CRLF or CR, also mixed (WHATWG HTML, 9.2.6).
"""

from __future__ import annotations

import json
import re
from typing import Any

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

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> bytes:
        """
        Return the bytes up to the end of the last whole event, which may be none; the rest is held.

        Raises:
            UpstreamFailed: an event is longer than 8 MiB.
        """
        if self.passes(data):
            return data
        pending = self._pending
        start = max(0, len(pending) - _LONGEST_BLANK + 1)
        pending += data
        end = 0
        for match in _BLANK_LINE.finditer(pending, start):
            # After a line feed, a carriage return at the very end may be the first half of CRLF: that event waits.
            if match.end() < len(pending) or pending.endswith((b"\n", b"\r\r")):
                end = match.end()
        whole = bytes(pending[:end])
        del pending[:end]
        if len(pending) > MAX_EVENT:
            raise UpstreamFailed("the upstream sent an event of more than 8 MiB")
        return whole

    def passes(self, data: bytes) -> bool:
        """Tell whether `feed` would return these bytes as they are."""
        return not self._pending and data.endswith(b"\n\n")

    def rest(self) -> bytes:
        """Return what is held at the end of the stream: an event without its blank line, or nothing."""
        rest = bytes(self._pending)
        self._pending.clear()
        return rest


def completed(rest: bytes) -> bytes:
    """Return a last event that came without its blank line with as many line ends as it lacks."""
    if not rest or _BLANK_LINE.search(rest, len(rest) - _LONGEST_BLANK):
        return rest
    for end in (b"\r\n", b"\n", b"\r"):
        if rest.endswith(end):
            return rest + end
    return rest + b"\n\n"


def split(whole: bytes) -> list[bytes]:
    """Cut bytes that `Splitter.feed` returned into single events, blank lines included."""
    if b"\r" not in whole:
        *ended, last = whole.split(b"\n\n")
        return [event + b"\n\n" for event in ended] + ([last] if last else [])
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
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode


def chunk_of(event: bytes) -> Chunk | None:
    """Return what an event says, or None when it is a comment, `[DONE]` or of a kind that Penstock does not know."""
    data = data_of(event)
    if not data.lstrip().startswith(b"{"):
        return None
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def is_done(event: bytes) -> bool:
    """Tell whether this is the event that ends a stream well."""
    return b"[DONE]" in event and data_of(event).strip() == b"[DONE]"


def is_utf8(event: bytes) -> bool:
    """Tell whether these are whole characters, as every stream of events consists of."""
    try:
        event.decode()
    except UnicodeDecodeError:
        return False
    return True


def malformed(event: bytes) -> bool:
    """Tell whether an event is not UTF-8, or begins a JSON object that is none; what a named one holds is unknown."""
    if not is_utf8(event):
        return True
    data = data_of(event)
    if not data.lstrip().startswith(b"{") or any(line.startswith(b"event:") for line in _LINE.split(event)):
        return False
    try:
        _decode_any(data)
    except msgspec.DecodeError:
        return not _readable(data)
    except RecursionError:
        return False
    return False


def _readable(data: bytes) -> bool:
    """Tell whether clients can read JSON that msgspec refuses: `"\\ud83d"`, half a character, is valid to them."""
    try:
        json.loads(data)
    except ValueError:
        return False
    except RecursionError:
        return True
    return True


def without_usage(event: bytes) -> bytes:
    """Return an event that carries usage, or null for it, without it; nothing when usage is all it carries."""
    chunk = chunk_of(event)
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
    lines = [line for line in _LINE.split(event) if line and line.partition(b":")[0] != b"data"]
    left = msgspec.json.encode(fields).replace(b"\n", b" ")  # of data in several lines; there is none inside strings
    return b"\n".join([*lines, b"data: " + left]) + b"\n\n"


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
