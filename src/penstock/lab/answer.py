"""The answer to a request, as a sequence of parts: what is sent, before any thought of how it is sent."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from penstock.lab.asked import Asked, count_words
from penstock.lab.blocks import SILENT, cut_up, say
from penstock.lab.dialect import Dialect, Event, Stream, ordered_fault
from penstock.lab.orders import Order

_TEXT = re.compile(rb'"(?:content|text|thinking|reasoning_content|arguments|partial_json|delta)":"')
_NEWLINE = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
_HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>\n"
_GARBAGE = bytes(range(128, 256)) + b'{"choices": [nope'


class Part(NamedTuple):
    """
    One part of a body: an event of a stream, or all of a plain body.

    Attributes:
        content: it carries text (a plain body does), so it counts for orders that count events.
    """

    data: bytes
    content: bool


class Answer(msgspec.Struct, frozen=True):
    """
    Attributes:
        kind: the content type.
        parts: to be read once; made as it is read, so a long answer is never whole in memory.
        stream: the parts are events.
    """

    status: int
    kind: bytes
    parts: Iterator[Part]
    stream: bool


def build(order: Order, dialect: Dialect, number: str, ordinary: Callable[[], Answer]) -> Answer:
    """Return what an order wants to be answered; `ordinary` makes the answer if that is it, the dialect errors."""
    status = order.status
    good = "empty" if status == 204 else "answer"
    match "raw" if order.raw is not None else order.body or (good if 200 <= status < 300 else "error"):
        case "raw":
            answer = plain(status, (order.raw or "").encode("utf-8", "replace"), b"text/plain; charset=utf-8")
        case "error":
            answer = plain(status, dialect.error(ordered_fault(order, status), number))
        case "html":
            answer = plain(status, _HTML, b"text/html")
        case "garbage":
            answer = plain(status, _GARBAGE)
        case "empty":
            answer = plain(status, b"")
        case _:
            answer = ordinary()
    return gzipped(answer) if order.gzip else answer


def answer_to(dialect: Dialect, asked: Asked, order: Order, number: str) -> Answer:
    """Answer a request; `number` makes its id."""
    if dialect.says != "all" and (order.thinking or order.tool_calls):
        order = msgspec.structs.replace(order, thinking=0, tool_calls=0)
    if asked.stream and dialect.stream is not None:
        parts = Events(asked, order, dialect.stream(asked, order, number)).parts()
        return Answer(order.status, b"text/event-stream; charset=utf-8", parts, stream=True)
    said = SILENT if dialect.says == "nothing" else say(asked, order)
    return plain(order.status, _spoiled(dialect.whole(asked, order, number, said), order))


def plain(status: int, body: bytes, kind: bytes = b"application/json") -> Answer:
    """Answer with one body."""
    return Answer(status, kind, iter((Part(body, content=True),)), stream=False)


def _spoiled(json: bytes, order: Order) -> bytes:
    if order.broken == "event":
        return json[: len(json) // 2]
    if order.broken == "utf8":
        return _TEXT.sub(b"\\g<0>\xff\xfe", json)
    return json


def gzipped(answer: Answer) -> Answer:
    """Compress an answer into one gzip member, each part flushed so that it can be read when it arrives."""

    def parts() -> Iterator[Part]:
        compressor = zlib.compressobj(wbits=31)
        for part in answer.parts:
            yield Part(compressor.compress(part.data) + compressor.flush(zlib.Z_SYNC_FLUSH), part.content)
        yield Part(compressor.flush(), content=False)

    return msgspec.structs.replace(answer, parts=parts())


class Events:
    """The events of one stream, as bytes."""

    def __init__(self, asked: Asked, order: Order, stream: Stream) -> None:
        self._asked = asked
        self._order = order
        self._stream = stream
        self._newline = _NEWLINE[order.newline]
        self._simple = order.newline == "lf" and not (order.comments or order.multiline or order.spaceless)

    def parts(self) -> Iterator[Part]:
        """Yield the events; the last one without its blank line, if so ordered."""
        if self._order.last_blank:
            yield from self._parts()
            return
        held: Part | None = None
        for part in self._parts():
            if held is not None:
                yield held
            held = part
        if held is not None:
            yield Part(held.data[: -len(self._newline)], held.content)

    def _parts(self) -> Iterator[Part]:
        order, stream = self._order, self._stream
        yield from self._free(stream.open())
        blocks, reason = cut_up(self._asked, order)
        sent = tokens = 0
        for block in blocks:
            yield from self._free(stream.begin(block))
            for piece in block.pieces:
                if sent == order.error_after:
                    yield self._fault()
                    return
                tokens += count_words(piece)
                yield self._content(stream.delta(piece, tokens), sent)
                sent += 1
            yield from self._free(stream.end(block))
        if order.error_after is not None:
            yield self._fault()
            return
        yield from self._free(stream.close(reason, tokens))

    def _free(self, events: Iterable[Event]) -> list[Part]:
        return [Part(self._worded(event), content=False) for event in events]

    def _fault(self) -> Part:
        return Part(self._worded(self._stream.fail(ordered_fault(self._order, 500))), content=False)

    def _content(self, event: Event, sent: int) -> Part:
        order = self._order
        if sent == order.broken_after:
            event = Event(_spoiled(event.json, order), event.name)
        data = self._worded(event)
        if order.unknown_events:
            line = self._newline
            data = b"event: lab.unknown" + line + b'data: {"lab":true}' + line + b"id: 7" + line * 2 + data
        return Part(data, content=True)

    def _worded(self, event: Event) -> bytes:
        json, name = event
        if self._simple:
            return b"data: %b\n\n" % json if name is None else b"event: %b\ndata: %b\n\n" % (name, json)
        order, line = self._order, self._newline
        space = b"" if order.spaceless else b" "
        rows = [json]
        if order.multiline and json != b"[DONE]":
            rows = msgspec.json.format(json, indent=2).split(b"\n")
        data = b"".join(b"data:" + space + row + line for row in rows) + line
        if name is not None:
            data = b"event:" + space + name + line + data
        return (b": lab comment" + line * 2) * order.comments + data
