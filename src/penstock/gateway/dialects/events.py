"""
Server-sent events as bytes.

Events are cut at their blank lines and otherwise left alone. Line ends may be LF, CRLF or CR, also mixed (WHATWG HTML,
9.2.6). What an event means is for the module of its dialect to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from penstock.types.errors import UpstreamFailed

T = TypeVar("T")

MAX_EVENT = 8 * 1024 * 1024
KEEP_ALIVE = b": keep-alive\n\n"

_BLANK_LINE = re.compile(rb"\n\n|\n\r\n|\r\r|\r\n\r\n|\n\r(?!\n)|\r\n\r(?!\n)")
LINE = re.compile(rb"\r\n|\n|\r")
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
    for line in LINE.split(event):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines)


def with_data(event: bytes, data: bytes) -> bytes:
    """Return an event with other JSON for its data, in one line, behind its other lines."""
    lines = [line for line in LINE.split(event) if line and line.partition(b":")[0] != b"data"]
    # There are no line ends inside of strings; what had its data in several lines may have some between tokens.
    return b"\n".join([*lines, b"data: " + data.replace(b"\n", b" ").replace(b"\r", b" ")]) + b"\n\n"


_decode_any = msgspec.json.Decoder(msgspec.Raw).decode


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
    if not data.lstrip().startswith(b"{") or any(line.startswith(b"event:") for line in LINE.split(event)):
        return False
    try:
        _decode_any(data)
    except msgspec.DecodeError:
        return not readable(data)
    except RecursionError:
        return False
    return False


def readable(data: bytes) -> bool:
    """Tell whether clients can read JSON that msgspec refuses: `"\\ud83d"`, half a character, is valid to them."""
    try:
        json.loads(data)
    except ValueError:
        return False
    except RecursionError:
        return True
    return True


def read(event: bytes, decode: Callable[[bytes], T]) -> T | None:
    """Return what the JSON object of an event says, by its decoder; None for none, or one of an unknown kind."""
    data = data_of(event)
    if not data.lstrip().startswith(b"{"):
        return None
    try:
        return decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
