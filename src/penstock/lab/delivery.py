"""
How an answer leaves: takes the steps of a plan.

A good answer goes through the server (`Kept`), and its connection lives on. An answer whose bytes are the point is
written to the connection itself (`Raw`), which ends with it.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

import msgspec

from penstock.http.server import Responder
from penstock.lab.answer import Answer
from penstock.lab.framing import Framer, fields, framing_of
from penstock.lab.line import Line, Sleep
from penstock.lab.orders import Order
from penstock.lab.plan import Cut, Data, End, Head, Rest, Silence, Step, Wait, steps
from penstock.lab.stats import Call, Stats


class Outlet(Protocol):
    """Where the steps of one answer go."""

    async def take(self, step: Step) -> None:
        """Take one step; the waits are not the outlet's business."""

    async def finish(self) -> None:
        """Do what remains when the answer has ended or was cut."""


class Kept:
    """Answers through the server, so the client may send the next request on the same connection."""

    def __init__(self, responder: Responder, answer: Answer, lines: bytes, call: Call) -> None:
        self._responder = responder
        self._status = answer.status
        self._stream = answer.stream
        self._lines = lines
        self._call = call
        self._body = b""

    async def take(self, step: Step) -> None:
        """Take one step. A cut, which `needs_raw` leaves to the other outlet, aborts."""
        match step:
            case Data():
                if self._stream:
                    await self._responder.write(step.payload)
                else:
                    self._body += step.payload
                self._call.bytes += len(step.payload)
                self._call.events = step.events
            case Head():
                if self._stream:
                    self._responder.start(self._status, self._lines)
            case End():
                if self._stream:
                    await self._responder.end()
                else:
                    await self._responder.send(self._status, self._lines, self._body)
            case _:
                self._responder.abort()

    async def finish(self) -> None:
        """Nothing remains: the connection is the server's."""


class Raw:
    """Writes every byte itself."""

    def __init__(self, line: Line, answer: Answer, order: Order, lines: bytes, call: Call, sleep: Sleep) -> None:
        self._line = line
        self._order = order
        self._status = answer.status
        self._lines = lines
        self._call = call
        self._sleep = sleep
        framing = framing_of(order, answer.stream)
        length: int | None = None
        if framing == "length":
            whole = list(answer.parts)
            length = sum(len(part.data) for part in whole)
            answer = msgspec.structs.replace(answer, parts=iter(whole))
        self.answer = answer
        self._framer = Framer(order, framing, length)
        self._rest = b""
        self._events = 0
        self._reset = False

    async def take(self, step: Step) -> None:
        """Take one step."""
        match step:
            case Head(half):
                await self._send(self._framer.head(self._status, self._lines), half=half)
            case Data(payload, events, only):
                wire = self._framer.chunk(payload, self._events)
                before = wire.index(payload) if only is not None else 0
                await self._send(wire, upto=before + only if only is not None else None)
                self._events = self._call.events = events
            case Rest(events):
                await self._send(self._rest)
                self._events = self._call.events = events
            case End():
                await self._send(self._framer.last())
            case Cut():
                self._reset = self._order.cut_with == "rst"

    async def finish(self) -> None:
        """Close the connection, after the idle time that was ordered."""
        if self._order.close_idle and not self._reset:
            await self._sleep(self._order.close_idle)
        self._line.close(reset=self._reset)

    async def _send(self, wire: bytes, *, half: bool = False, upto: int | None = None) -> None:
        if half:
            upto = len(wire) // 2
        self._rest = b"" if upto is None else wire[upto:]
        order = self._order
        sent = wire[:upto]
        await self._line.write(sent, order.write_size, order.write_pause, order.rate)
        self._call.bytes += len(sent)


def needs_raw(order: Order, stream: bool) -> bool:
    """Tell whether an order is about bytes that the server would not write, or about the connection's end."""
    if order.cut_place or order.close or order.close_idle is not None or order.informational or order.framing:
        return True
    if order.write_size or order.write_pause or order.rate or order.broken not in {None, "event", "utf8"}:
        return True
    stall = order.stall_place
    if stall and stall.where in {"in_head", "in_event"}:
        return True
    if stream:
        return False
    late = stall is not None and stall.where != "before_head"
    return bool(late or order.delay_first or order.chunk_size or order.split_at)


async def carry_out(
    outlet: Outlet, answer: Answer, order: Order, ping: bytes, call: Call, stats: Stats, sleep: Sleep
) -> None:
    """
    Send an answer as ordered, up to its end or cut. The caller calls `finish` then.

    Args:
        ping: what is sent in the waits of a stream, where that is ordered.
    Raises:
        asyncio.CancelledError: the client left, or the lab stops.
    """
    for step in steps(answer, order):
        if isinstance(step, Data):  # nearly all of them
            await outlet.take(step)
            stats.changed()
            continue
        match step:
            case Wait(seconds, pings):
                call.state = "waiting"
                await _pause(seconds, order.ping_every if pings else 0.0, ping, outlet, call, sleep)
                call.state = "sending"
            case Silence(seconds, pings):
                call.state = "stalled"
                stats.changed()
                await _pause(seconds, order.ping_every if pings else 0.0, ping, outlet, call, sleep)
                call.state = "sending"
            case _:
                call.state = "sending"
                await outlet.take(step)
                if isinstance(step, Cut):
                    return


async def _pause(seconds: float | None, every: float, ping: bytes, outlet: Outlet, call: Call, sleep: Sleep) -> None:
    """Wait, forever if `seconds` is None, with a ping every so often if `every` is not 0."""
    if not every:
        await (sleep(seconds) if seconds is not None else asyncio.get_running_loop().create_future())
        return
    left = seconds if seconds is not None else math.inf
    while left > every:
        await sleep(every)
        left -= every
        await outlet.take(Data(ping, call.events))
    await sleep(left)


def open_outlet(
    responder: Responder,
    line: Line | None,
    answer: Answer,
    order: Order,
    number_header: bytes,
    call: Call,
    sleep: Sleep,
) -> tuple[Outlet, Answer]:
    """
    Choose where an answer leaves; returns it with the answer to take the steps of.

    Args:
        line: the connection, if it was taken over already.
    Raises:
        ConnectionResetError: the client has left.
    """
    lines = fields(order, answer.kind, number_header, call.id)
    if line is None and not needs_raw(order, answer.stream):
        return Kept(responder, answer, lines, call), answer
    raw = Raw(line or Line(responder.take_over(), sleep), answer, order, lines, call, sleep)
    return raw, raw.answer
