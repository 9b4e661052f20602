"""What an answer consists of, in whatever dialect: blocks of thought, text and tool calls, cut into pieces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count, islice
from typing import Any, Literal

import msgspec

from penstock.lab.asked import Asked, Tool, count_words
from penstock.lab.orders import Order

Kind = Literal["thinking", "text", "tool"]
Reason = Literal["stop", "length", "tool_calls"]  # why an answer ends

_WORDS = re.compile(r"\s*\S+\s*\Z|\s*\S+")
_FILLER = "lorem ipsum dolor sit amet "
_PIECE = 4096  # characters in a content event when only a size was ordered
_UNNAMED = Tool("lab")  # what is called when the request names no tool
_SAMPLES: dict[str, Any] = {"boolean": True, "array": [], "object": {}, "null": None}


class Block(msgspec.Struct, frozen=True):
    """
    Attributes:
        pieces: the text (a tool's arguments, as JSON) as content events carry it; made as it is read, once.
        index: its place among the blocks of the answer, from 0.
        call: its place among the tool calls, from 0.
        name: of the tool that is called.
        capped: the request's cap has cut its text off.
    """

    kind: Kind
    pieces: Iterator[str]
    index: int
    call: int = 0
    name: str = ""
    capped: bool = False


class Said(msgspec.Struct, frozen=True):
    """
    All of an answer at once.

    Attributes:
        blocks: each with its text.
        tokens: words in all of them.
    """

    blocks: tuple[tuple[Block, str], ...]
    reason: Reason
    tokens: int

    def text_of(self, kind: Kind) -> str | None:
        """Return the text of the block of a kind; None if there is none."""
        return next((text for block, text in self.blocks if block.kind == kind), None)

    @property
    def calls(self) -> tuple[tuple[Block, str], ...]:
        """The tool calls, each with its arguments."""
        return tuple((block, text) for block, text in self.blocks if block.kind == "tool")


SILENT = Said((), "stop", 0)


def cut_up(asked: Asked, order: Order) -> tuple[list[Block], Reason]:
    """Return an answer's blocks, and the reason why it ends."""
    blocks: list[Block] = []
    reason: Reason = "stop"
    if order.thinking:
        words = islice(_endless(_words(f"thinking about: {asked.text}")), order.thinking)
        blocks.append(Block("thinking", _marked(_grouped(words, order.tokens_per_event), order), 0))
    if not order.tool_calls or order.content is not None:
        pieces, reason = _cut_text(asked, order)
        blocks.append(Block("text", _marked(pieces, order), len(blocks), capped=reason == "length"))
    tools = asked.tools or (_UNNAMED,)
    for call in range(order.tool_calls):
        tool = tools[call % len(tools)]
        pieces = _grouped(_words(_arguments(tool, call)), order.tokens_per_event)
        blocks.append(Block("tool", pieces, len(blocks), call, tool.name))
        reason = "tool_calls"
    return blocks, reason


def say(asked: Asked, order: Order) -> Said:
    """Return all of an answer."""
    blocks, reason = cut_up(asked, order)
    whole = tuple((block, "".join(block.pieces)) for block in blocks)
    return Said(whole, reason, sum(count_words(text) for _, text in whole))


def _marked(pieces: Iterator[str], order: Order) -> Iterator[str]:
    if order.cut == "in_character":
        return map(_with_character, pieces)
    return pieces


def _with_character(piece: str) -> str:
    """Return a piece that has a character to cut, and as many words as before."""
    blanks = len(piece) - len(piece.lstrip())
    return f"{piece[:blanks]}é{piece[blanks:]}"


def _cut_text(asked: Asked, order: Order) -> tuple[Iterator[str], Reason]:
    """`size` and `events` say how long the text is, whatever the request's cap; otherwise the cap holds."""
    text = asked.echo if order.content is None else order.content
    if order.size is not None:
        return _sized(text, order.size, order.events), "stop"
    step = order.tokens_per_event
    words = _words(text)
    if order.events is not None:
        return _grouped(islice(_endless(words), order.events * step), step), "stop"
    if asked.max_tokens is not None:
        total = count_words(text)
        if total > asked.max_tokens:
            return _grouped(islice(words, max(asked.max_tokens, 0)), step), "length"
    return _grouped(words, step), "stop"


def _arguments(tool: Tool, call: int) -> str:
    """Return arguments that follow from the tool and the number of the call, of the names and types it declares."""
    declared = (tool.parameters or {}).get("properties")
    if isinstance(declared, dict) and declared:
        values = {str(name): _sample(str(name), schema, call) for name, schema in declared.items()}
    else:
        values = {"tool": tool.name, "call": call}
    return msgspec.json.format(msgspec.json.encode(values), indent=0).decode()


def _sample(name: str, schema: object, call: int) -> object:
    known = schema if isinstance(schema, dict) else {}
    if "const" in known:
        return known["const"]
    choices = known.get("enum")
    if isinstance(choices, list) and choices:
        return choices[call % len(choices)]
    kind = known.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind in {"integer", "number"}:
        return call
    return _SAMPLES[kind] if isinstance(kind, str) and kind in _SAMPLES else f"{name} {call}"


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
