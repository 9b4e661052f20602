"""The answer to a request, as a sequence of parts: what is sent, before any thought of how it is sent."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import NamedTuple

import msgspec

from penstock.lab.asked import Asked, count_words
from penstock.lab.orders import Order
from penstock.lab.payloads import Chunks, chat_body, embedding_body, ordered_error, usage_json

_WORDS = re.compile(r"\s*\S+\s*\Z|\s*\S+")
_FILLER = "lorem ipsum dolor sit amet "
_PIECE = 4096  # characters in a content event when only a size was ordered
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


def build(order: Order, ordinary: Callable[[], Answer]) -> Answer:
    """Return what an order wants to be answered; `ordinary` makes the answer if that is it."""
    status = order.status
    good = "empty" if status == 204 else "answer"
    match "raw" if order.raw is not None else order.body or (good if 200 <= status < 300 else "error"):
        case "raw":
            answer = plain(status, (order.raw or "").encode("utf-8", "replace"), b"text/plain; charset=utf-8")
        case "error":
            answer = plain(status, ordered_error(order, status))
        case "html":
            answer = plain(status, _HTML, b"text/html")
        case "garbage":
            answer = plain(status, _GARBAGE)
        case "empty":
            answer = plain(status, b"")
        case _:
            answer = ordinary()
    return gzipped(answer) if order.gzip else answer


def answer_to(asked: Asked, order: Order, number: str) -> Answer:
    """Answer a request; `number` makes its id."""
    if asked.kind == "embedding":
        return plain(order.status, _spoiled(embedding_body(asked, order), order))
    if asked.stream:
        parts = Events(asked, order, number).parts()
        return Answer(order.status, b"text/event-stream; charset=utf-8", parts, stream=True)
    text, finish = whole_text(asked, order)
    return plain(order.status, _spoiled(chat_body(asked, order, number, text, finish), order))


def plain(status: int, body: bytes, kind: bytes = b"application/json") -> Answer:
    """Answer with one body."""
    return Answer(status, kind, iter((Part(body, content=True),)), stream=False)


def _spoiled(json: bytes, order: Order) -> bytes:
    if order.broken == "event":
        return json[: len(json) // 2]
    if order.broken == "utf8":
        return json.replace(b'"content":"', b'"content":"\xff\xfe').replace(b'"text":"', b'"text":"\xff\xfe')
    return json


def gzipped(answer: Answer) -> Answer:
    """Compress an answer into one gzip member, each part flushed so that it can be read when it arrives."""

    def parts() -> Iterator[Part]:
        compressor = zlib.compressobj(wbits=31)
        for part in answer.parts:
            yield Part(compressor.compress(part.data) + compressor.flush(zlib.Z_SYNC_FLUSH), part.content)
        yield Part(compressor.flush(), content=False)

    return msgspec.structs.replace(answer, parts=parts())


def whole_text(asked: Asked, order: Order) -> tuple[str, bytes]:
    """Return the text of a plain answer, and the reason why it ends."""
    pieces, finish = cut_text(asked, order)
    return ("é" if order.cut == "in_character" else "") + "".join(pieces), finish


def cut_text(asked: Asked, order: Order) -> tuple[Iterator[str], bytes]:
    """
    Return the text in the pieces that content events carry, and the reason why it ends.

    `size` and `events` say how long the text is, whatever the request's cap; otherwise the cap holds.
    """
    text = asked.echo if order.content is None else order.content
    if order.size is not None:
        return _sized(text, order.size, order.events), b"stop"
    step = order.tokens_per_event
    words = _words(text)
    if order.events is not None:
        return _grouped(islice(_endless(words), order.events * step), step), b"stop"
    if asked.max_tokens is not None:
        total = count_words(text)
        if total > asked.max_tokens:
            return _grouped(islice(words, max(asked.max_tokens, 0)), step), b"length"
    return _grouped(words, step), b"stop"


def _words(text: str) -> Iterator[str]:
    return (match[0] for match in _WORDS.finditer(text))


def _endless(words: Iterator[str]) -> Iterator[str]:
    for number in count():
        word = next(words, None)
        yield f" w{number}" if word is None else word.rstrip()  # what follows brings its own space


def _grouped(words: Iterator[str], step: int) -> Iterator[str]:
    while piece := "".join(islice(words, step)):
        yield piece


def _sized(text: str, size: int, events: int | None) -> Iterator[str]:
    text = text[:size]
    number = events if events is not None else -(-size // _PIECE)
    for index in range(number):
        start, end = size * index // number, size * (index + 1) // number
        own = text[start:end]
        yield own + _filler(start + len(own), end)


def _filler(start: int, end: int) -> str:
    offset = start % len(_FILLER)
    return (_FILLER * (-(-(end - start + offset) // len(_FILLER))))[offset : offset + end - start]


class Events:
    """The events of one stream."""

    def __init__(self, asked: Asked, order: Order, number: str) -> None:
        self._asked = asked
        self._order = order
        self._chunks = Chunks(asked, order, number)
        self._usage = asked.include_usage or order.usage_always
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
        order, chunks = self._order, self._chunks
        if self._asked.kind == "chat":
            for index in range(order.role_events):
                yield Part(self._event(chunks.role(index == 0)), content=False)
        pieces, finish = cut_text(self._asked, order)
        tokens = 0
        every = order.usage_on == "every"
        for sent, piece in enumerate(pieces):
            if sent == order.error_after:
                break
            tokens += count_words(piece)
            yield self._content(piece, sent, self._counted(tokens) if every else None)
        if order.error_after is not None:
            yield Part(self._event(ordered_error(order, 500)), content=False)
            return
        usage = self._counted(tokens)
        yield Part(self._event(chunks.finish(finish, usage if order.usage_on in {"finish", "every"} else None)), False)
        if usage is not None and order.usage_on != "finish":
            choices = b"null" if order.usage_on == "null_choices" else b"[]"
            yield Part(self._event(chunks.usage(usage, choices)), content=False)
        if order.done:
            yield Part(self._event(b"[DONE]"), content=False)

    def _content(self, piece: str, sent: int, usage: bytes | None) -> Part:
        order = self._order
        if order.cut == "in_character":
            piece = "é" + piece  # so that there is a character to cut
        json = self._chunks.text(piece, usage)
        data = self._event(_spoiled(json, order) if sent == order.broken_after else json)
        if order.unknown_events:
            line = self._newline
            data = b"event: lab.unknown" + line + b'data: {"lab":true}' + line + b"id: 7" + line * 2 + data
        return Part(data, content=True)

    def _counted(self, tokens: int) -> bytes | None:
        return usage_json(self._order, self._asked.prompt_tokens, tokens) if self._usage else None

    def _event(self, json: bytes) -> bytes:
        if self._simple:
            return b"data: " + json + b"\n\n"
        order, line = self._order, self._newline
        rows = [json]
        if order.multiline and json != b"[DONE]":
            rows = msgspec.json.format(json, indent=2).split(b"\n")
        name = b"data:" if order.spaceless else b"data: "
        data = b"".join(name + row + line for row in rows) + line
        return (b": lab comment" + line * 2) * order.comments + data
