"""
From an answer and its order to a plan: the steps in which it leaves. Pure; `penstock.lab.delivery` takes the steps.

A plan is read step by step, so it is never whole in memory. What follows a `Cut` is not taken.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from penstock.lab.answer import Answer, Part
from penstock.lab.orders import Order, Where


class Wait(msgspec.Struct, frozen=True):
    """Do nothing for a time. In a stream whose head is out, pings may go out meanwhile."""

    seconds: float
    pings: bool


class Silence(msgspec.Struct, frozen=True):
    """A stall: like `Wait`, but counted as such; None is until the client leaves."""

    seconds: float | None
    pings: bool


class Head(msgspec.Struct, frozen=True):
    """Send the head, or only half of it."""

    half: bool = False


class Data(msgspec.Struct, frozen=True):
    """
    Send a piece of the body as one chunk.

    Attributes:
        events: content events that have gone out whole when this has.
        only: send only so many of its bytes, though the whole chunk is announced.
    """

    payload: bytes
    events: int
    only: int | None = None


class Rest(msgspec.Struct, frozen=True):
    """Send the rest of what went out by half; `events` as in `Data`."""

    events: int


class Cut(msgspec.Struct, frozen=True):
    """Break the connection."""


class End(msgspec.Struct, frozen=True):
    """End the body."""


Step = Wait | Silence | Head | Data | Rest | Cut | End


def steps(answer: Answer, order: Order) -> Iterator[Step]:
    """Yield the steps in which an answer leaves."""
    breaks = _Breaks(order, answer.stream)
    if order.delay:
        yield Wait(order.delay, pings=False)
    yield from breaks.at("before_head")
    if breaks.lie("in_head"):
        yield Head(half=True)
        yield from breaks.at("in_head")
        yield Rest(0)
    else:
        yield Head()
    yield from breaks.at("after_head")
    yield from _body(answer.parts, answer.stream, order, breaks)
    yield End()


def _body(parts: Iterator[Part], stream: bool, order: Order, breaks: _Breaks) -> Iterator[Step]:
    pieces = _Pieces(order)
    sent = 0
    for part in parts:
        if not part.content:
            for piece in pieces.feed(part.data):
                yield Data(piece, sent)
            continue
        if pause := order.delay_between if sent else order.delay_first:
            if stream and order.ping_every:
                yield from (Data(piece, sent) for piece in pieces.flush())
            yield Wait(pause, pings=stream)
        if sent == 0 and breaks.lie("after_events", 0):
            yield from (Data(piece, sent) for piece in pieces.flush())
            yield from breaks.at("after_events", 0)
        if inside := breaks.inside(sent):
            yield from (Data(piece, sent) for piece in pieces.flush())
            yield Data(part.data, sent, only=_middle(part.data, inside))
            yield from breaks.at(inside, sent)
            sent += 1
            yield Rest(sent)
        else:
            sent += 1
            for piece in pieces.feed(part.data):
                yield Data(piece, sent)
        if breaks.lie("after_events", sent):
            yield from (Data(piece, sent) for piece in pieces.flush())
            yield from breaks.at("after_events", sent)
    yield from (Data(piece, sent) for piece in pieces.flush())


def _middle(data: bytes, inside: Where) -> int:
    if inside == "in_character":
        return next((index + 1 for index, byte in enumerate(data) if byte >= 0xC0), len(data) // 2)
    return len(data) // 2


class _Breaks:
    """The silence and the cut that an order asks for, each at its place; the silence comes first."""

    def __init__(self, order: Order, stream: bool) -> None:
        self._stall = order.stall_place
        self._cut = order.cut_place
        self._places = {(place.where, place.events) for place in (self._stall, self._cut) if place}
        self._silence = Silence(order.stall_for, pings=stream and order.stall in {None, "after_head", "after_events"})

    def lie(self, where: Where, events: int = 0) -> bool:
        """Tell whether anything happens at a place."""
        return (where, events) in self._places

    def inside(self, events: int) -> Where | None:
        """Return the place within the next content event at which something happens."""
        if not self._places:
            return None
        if self.lie("in_character", events):
            return "in_character"
        return "in_event" if self.lie("in_event", events) else None

    def at(self, where: Where, events: int = 0) -> Iterator[Step]:
        """Yield what happens at a place."""
        if self._stall and self._stall.where == where and self._stall.events == events:
            yield self._silence
        if self._cut and self._cut.where == where and self._cut.events == events:
            yield Cut()


class _Pieces:
    """Cuts a body into the chunks that an order asks for, without regard to its events."""

    def __init__(self, order: Order) -> None:
        self._size = order.chunk_size
        self._splits = sorted(order.split_at, reverse=True)
        self._together = order.events_per_write
        self._plain = self._size is None and not self._splits and self._together == 1
        self._held = bytearray()
        self._parts = 0
        self._offset = 0  # of the first held byte

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._plain:
            yield data
            return
        self._held += data
        self._parts += 1
        if self._size is not None:
            while len(self._held) >= self._size:
                yield self._take(self._size)
        elif self._splits:
            while self._splits and self._splits[-1] <= self._offset + len(self._held):
                if count := self._splits.pop() - self._offset:
                    yield self._take(count)
            if not self._splits:
                yield from self.flush()
        elif self._parts >= self._together:
            yield from self.flush()

    def flush(self) -> Iterator[bytes]:
        if self._held:
            yield self._take(len(self._held))
        self._parts = 0

    def _take(self, count: int) -> bytes:
        taken = bytes(self._held[:count])
        del self._held[:count]
        self._offset += count
        return taken
