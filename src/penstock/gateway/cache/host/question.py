"""One question of a worker, whether another worker asks the same, and what comes of it."""

from __future__ import annotations

import asyncio
from typing import Protocol

import msgspec

from penstock.gateway.cache.host.wire import Ask, Part
from penstock.gateway.cache.room import Space
from penstock.gateway.cache.store import Entry
from penstock.types.errors import UpstreamRejected

_OVERHEAD = 64  # bytes of an encoded answer beside what it consists of

_decode = msgspec.msgpack.Decoder(Entry).decode


class Taken(msgspec.Struct, frozen=True):
    """
    An answer that another worker has.

    Attributes:
        entry: None where it cannot be shared.
        kept: it is kept there.
    """

    entry: Entry | None
    kept: bool = False


UNSHARED = Taken(None)


class Leads(Protocol):
    """Whoever tells the node what has become of a lead; each once."""

    def landed(self, number: int, answer: Entry | None, *, kept: bool) -> None:
        """It has an answer, or one that cannot be shared."""

    def failed(self, number: int, error: BaseException | None) -> None:
        """It has none."""


class HostLead:
    """The part of a worker's request that asks the upstream for the whole host; see `flight.Above`."""

    __slots__ = ("_leads", "_number", "_over")

    def __init__(self, leads: Leads, number: int) -> None:
        self._leads = leads
        self._number = number
        self._over = False

    def land(self, answer: Entry | None, *, kept: bool) -> None:
        """Bring the answer to the workers that wait; with None, which is for one that cannot be shared, they ask."""
        if not self._over:
            self._over = True
            self._leads.landed(self._number, answer, kept=kept)

    def release(self, error: BaseException | None) -> None:
        """The exchange has ended; without an answer the next one leads, unless it would be told the same."""
        if not self._over:
            self._over = True
            self._leads.failed(self._number, error)


Found = Taken | HostLead | UpstreamRejected | None
"""The last answer to a question; None where nobody gives one."""


class Question:
    """
    One question, until its last answer.

    Args:
        most: bytes that the answer may have.
        space: for its parts.

    Attributes:
        future: has the last answer.
        deadline: clock time.
        answer_by: clock time up to which the node has time to answer.
        waiting: somebody leads, and it is known how long to wait for him.
        late: the node has had its time, and the loop may yet have to read what has come.
        timer: what happens when nothing else does.
    """

    __slots__ = (
        "_most",
        "_parts",
        "_size",
        "_space",
        "answer_by",
        "ask",
        "deadline",
        "future",
        "late",
        "timer",
        "waiting",
    )

    def __init__(self, ask: Ask, deadline: float, most: int, space: Space) -> None:
        self.ask = ask
        self.future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self.deadline = deadline
        self.waiting = False
        self.late = False
        self.timer: asyncio.TimerHandle | None = None
        self.answer_by = 0.0
        self._most = most + _OVERHEAD
        self._parts: list[bytes] = []
        self._size = 0
        self._space = space

    def take(self, part: Part) -> Taken | None:
        """Take in a part; return the answer once it is whole. One for which there is no room here cannot be shared."""
        self._size += len(part.data)
        if self._size > self._most or not self._space.take(len(part.data)):
            return UNSHARED
        self._parts.append(part.data)
        if part.more:
            return None
        try:
            return Taken(_decode(b"".join(self._parts)), part.kept)
        except msgspec.DecodeError:
            return UNSHARED

    def forget(self) -> None:
        """Drop what has come of an answer, and give back its room."""
        self._parts.clear()
        self._size = 0
        self._space.free()
