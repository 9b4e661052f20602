"""
Server-sent events: cut into whole events without the loss of a byte, and read as WHATWG HTML 9.2.6 reads them.

A stream's byte order mark is no concern of this target: no upstream sends one, and it passes with the first event.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable

from tools.fuzz import seams
from tools.fuzz.target import Check, Finding, Input, Target, cut, demand, linear, seed, take_apart
from tools.fuzz.wire import held

_FLOOD_BYTES = 8 * 1024
_LARGEST = 1024 * 1024
_HELD = seams.events.MAX_EVENT + 1024
_ENDS = (b"\n", b"\r")
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")  # half a character as an escape


def lines(stream: bytes) -> tuple[list[bytes], bytes]:
    """Whole lines, which end in CRLF, LF or CR; and the rest. A CR at the very end ends a line, as nothing follows."""
    found, start, at = [], 0, 0
    while at < len(stream):
        if stream[at : at + 1] in _ENDS:
            found.append(stream[start:at])
            at += 2 if stream[at : at + 2] == b"\r\n" else 1
            start = at
        else:
            at += 1
    return found, stream[start:]


def field(line: bytes) -> tuple[bytes, bytes]:
    """A line's field and value; a comment's field is empty."""
    if b":" not in line:
        return line, b""
    name, value = line.split(b":", 1)
    return name, value[1:] if value[:1] == b" " else value


def dispatched(stream: bytes) -> list[bytes]:
    """The data of each event that has any, as the standard's algorithm finds it."""
    found, buffer = [], b""
    for line in lines(stream)[0]:
        if line:
            name, value = field(line)
            if name == b"data":
                buffer += value + b"\n"
            continue
        if buffer[:-1]:  # the standard also dispatches `data:` alone; to us that is an event without data
            found.append(buffer[:-1])
        buffer = b""
    return found


def _through(pieces: Iterable[bytes], bound: int | None = None) -> tuple[list[bytes], bytes]:
    """What a splitter makes of a stream: its outputs and the rest."""
    splitter, out = seams.events.Splitter(), []
    for piece in pieces:
        out.append(splitter.feed(piece))
        if bound is not None:
            demand(held(splitter) <= bound + len(piece), "what is held is bounded", held(splitter))
    return out, splitter.rest()


def _flood(given: Input) -> None:
    linear(lambda size: _through(cut(given.flooded(size), given.sizes)), _FLOOD_BYTES)
    linear(lambda size: _read(given.flooded(size)), _FLOOD_BYTES)
    if given.flags == 0xFF:
        try:
            _through(cut(given.flooded(12 << 20), b"\0", _LARGEST), _HELD)
        except seams.UpstreamError:
            return


def _read(whole: bytes) -> None:
    """All that a relay asks of whole events."""
    events = seams.events
    for event in events.split(whole):
        seams.openai_answers.note(event)
        seams.openai_answers.is_end(event)
        seams.openai_answers.without_usage(event)


def check(data: bytes) -> None:
    """Run one input."""
    given = take_apart(data)
    if given.flood:
        return _flood(given)
    stream = given.payload
    found: list[list[bytes]] = []
    for pieces in ([stream], list(given.pieces())):
        out, rest = _through(pieces)
        demand(b"".join(out) + rest == stream, "not a byte is lost, added or changed", out, rest)
        events = []
        for part in out:
            cuts = seams.events.split(part)
            demand(b"".join(cuts) == part, "not a byte is lost between events", part, cuts)
            demand(not part or part.endswith(_ENDS), "only whole events go out", part)
            events += cuts
        found.append([data for event in events if (data := seams.events.data_of(event))])
        for event in events:
            _one(event)
        _one(rest + b"\n\n")
    demand(found[0] == found[1], "cuts do not matter", *found)
    # A CR at the very end may be held, for LF may follow; the standard's reader has its event already.
    expected = [dispatched(stream), dispatched(stream.removesuffix(b"\r"))]
    demand(found[0] in expected, "the events are those of the standard", found[0], expected)
    return None


def _one(event: bytes) -> None:
    """What is read from one event, and what is left of it without its usage."""
    events = seams.events
    data = b"\n".join(value for name, value in map(field, lines(event)[0]) if name == b"data")
    demand(events.data_of(event) == data, "an event's data is the standard's", event, data)
    demand(seams.openai_answers.is_end(event) == (data.strip() == b"[DONE]"), "the end is told", event)
    chunk = seams.openai_answers.note(event)
    if chunk is not None:
        demand(chunk.content or not chunk.finished, "an end is content", event)
    if events.malformed(event) and events.is_utf8(event):
        demand(_object(data) is None, "what clients can read is not malformed", event)
    _ordinary(event, data)
    left = seams.openai_answers.without_usage(event)
    if events.is_utf8(event):  # else a relay does not send it
        _usage(event, data, left)


def _usage(event: bytes, data: bytes, left: bytes) -> None:
    said = _object(data)
    if left == event:
        plain = said is not None and isinstance(said.get("usage"), dict) and said["usage"] and said.get("choices") == []
        strange = _HALF.search(data)  # what msgspec refuses is passed on as it is
        demand(not plain or bool(strange) or "error" in (said or {}), "usage is taken out", event)
        return
    if said is None or "usage" not in said:
        raise Finding(f"what has no usage is left alone: {event!r}; {left!r}")
    if not left:
        demand(bool(said["usage"]) and not said.get("choices"), "an event that carries more than usage stays", event)
        return
    found = dispatched(left)
    demand(len(found) == 1, "an event stays one", event, left)
    expected = {name: value for name, value in said.items() if name != "usage"}
    demand(_object(found[0]) == expected, "nothing but usage is taken out", event, left)
    others = [[line for line in lines(each)[0] if line and field(line)[0] != b"data"] for each in (event, left)]
    demand(others[0] == others[1], "other lines stay", event, left)


def _ordinary(event: bytes, data: bytes) -> None:
    """The short way through a relay gives what the long one would."""
    for wanted in (True, False):
        short = seams.openai_answers.ordinary(event, wanted)
        if not short:
            continue
        chunk = seams.openai_answers.note(event)
        if chunk is None:
            raise Finding(f"what goes the short way is a chunk: {event!r}")
        demand(
            not chunk.finished and not chunk.failed and not seams.openai_answers.is_end(event),
            "ends go the long way",
            event,
        )
        demand(_object(data) is not None, "what goes the short way is JSON", event)
        if wanted:
            demand(short == event, "what goes the short way is not changed", event, short)
        else:
            _usage(event, data, short)
            demand("usage" not in (_object(dispatched(short)[0]) or {}), "usage is taken out", event, short)


def _object(data: bytes) -> dict[str, object] | None:
    try:
        said = json.loads(data.decode(), parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _open(loop: asyncio.AbstractEventLoop) -> Check:  # noqa: ARG001  nothing here waits
    return check


def _seeds() -> list[bytes]:
    chunk = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"h\xc3\xa9"}}],"usage":null}'
    last = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}'
    both = b'data: {"id":"c","choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}'
    streams = [
        b"\n\n".join([chunk, chunk, last, b"data: [DONE]", b""]),
        b"\r\n\r\n".join([chunk, both, b"data: [DONE]", b""]),
        b"\r\r".join([chunk, both, b"data: [DONE]", b""]),
        b": keep-alive\n\nevent: x\nid: 7\n" + both + b"\nretry: 3\nunknown\n\n\n\ndata:[DONE]\n\n",
        b'data: {"a":[1,\ndata: 2],\ndata:"choices":[{"text":"x"}],"usage" : {"x":1}}\n\n',
        b"data: 1\r\n\ndata: 2\n\r\ndata: 3\n\ndata\ndata\n\ndata:  4\n\n",
        b'data: {"error":{"message":"x"},"usage":{"x":1}}\n\ndata: cut off',
        b"\r\r\n\n\r\n\r\r\r\n\n\n\r",
    ]
    floods = [(b"data: x", 1), (b"\r", 1), (b"a\r\n", 3), (chunk + b"\n\n", 100), (b"data: 1\n", 8), (b"\r\n\r", 3)]
    return [
        *(seed(stream) for stream in streams),
        *(seed(stream, 0, (1,) * 7) for stream in streams),
        *(seed(stream, 0xF8, (1, 1, 1, 1, 1, 1, tail)) for stream, tail in floods),
        *(seed(stream, 0xFF, (255,) * 6 + (tail,)) for stream, tail in floods[:1]),
    ]


TARGET = Target(
    "streams",
    "server-sent events",
    _open,
    _seeds,
    (
        *(b"\n", b"\r", b"\r\n", b"\n\n", b"data: ", b"data:", b"data", b"event: ", b"id: ", b": ", b"[DONE]", b"null"),
        *(b'{"choices":[', b'{"delta":{"content":"', b'"usage":{', b'"usage":', b'"error":', b'"finish_reason":"stop"'),
    ),
)
