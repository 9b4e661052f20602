"""
The seats of all deployments of a host: kept in one place, for all its workers.

Workers keep seats that fell idle for a while and use them again without asking. When somebody has to wait, all workers
are told: they give back what lies idle and keep nothing, until nobody has waited for a while. Until each of them has
answered that, nobody is refused, for there may be a seat yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from penstock.counters.seats.line import Line, Waiter
from penstock.counters.seats.seat import Size
from penstock.counters.seats.wire import (
    Answered,
    Asked,
    Leave,
    Mood,
    Ping,
    Pong,
    Rename,
    Rise,
    Sit,
    Sizes,
    Told,
    Verdict,
)

CALM_S = 0.25
"""How long nobody must have waited before workers may keep idle seats again."""
ANSWER_S = 0.05
"""How long a worker is waited for that is to give back what lies idle, before somebody is refused."""

Tell = Callable[[Answered], None]


class _Room:
    """One deployment's line, and what its workers know of it."""

    __slots__ = ("answer_by", "crowded", "line", "unanswered", "waited_at")

    def __init__(self) -> None:
        self.line = Line()
        self.crowded = False
        self.waited_at = 0.0  # when somebody last waited
        self.unanswered: set[int] = set()  # workers that may have idle seats yet
        self.answer_by = 0.0


class House:
    """
    Keeps the seats. Called from one thread; what it tells a worker may make that worker speak at once.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rooms: dict[str, _Room] = {}
        self._workers: dict[int, Tell] = {}
        self._last = 0
        self._waiters: dict[tuple[int, int], tuple[_Room, Waiter]] = {}
        self._outbox: deque[tuple[Tell, Answered]] = deque()
        self._telling = False

    def enter(self, tell: Tell) -> int:
        """Welcome a worker; return its number."""
        self._last += 1
        self._workers[self._last] = tell
        for name, room in self._rooms.items():
            if room.crowded:
                self._outbox.append((tell, Mood(name, crowded=True)))
        self._deliver()
        return self._last

    def gone(self, holder: int) -> None:
        """Take back all that a worker had, for it has ended."""
        del self._workers[holder]
        self._waiters = {key: waiting for key, waiting in self._waiters.items() if key[0] != holder}
        for name, room in self._rooms.items():
            room.unanswered.discard(holder)
            room.line.gone(holder)
            self._settle(name, room)
        self._deliver()

    def heard(self, holder: int, message: Asked) -> None:
        """Take in what a worker says."""
        match message:
            case Sit():
                self._sit(holder, message)
            case Rise(deployment, tenants, answer):
                room = self._room(deployment)
                for tenant in tenants:
                    room.line.give(holder, tenant)
                if answer:
                    room.unanswered.discard(holder)
                self._settle(deployment, room)
            case Leave(number):
                found = self._waiters.pop((holder, number), None)
                if found is not None:
                    found[0].line.leave(found[1])
                    self._tell(holder, Told(number, Verdict.LEFT))
            case Rename(deployment, pairs):
                for was, now in pairs:
                    self._room(deployment).line.rename(holder, was, now)
            case Sizes(sizes):
                for deployment, size in sizes.items():
                    self._resize(deployment, size)
            case Ping():
                self._tell(holder, Pong())
        self._deliver()

    def _room(self, deployment: str) -> _Room:
        room = self._rooms.get(deployment)
        if room is None:
            room = self._rooms[deployment] = _Room()
        return room

    def _resize(self, deployment: str, size: Size) -> None:
        room = self._room(deployment)
        if room.line.size != size:
            room.line.size = size
            self._settle(deployment, room)

    def _sit(self, holder: int, sit: Sit) -> None:
        room, key = self._room(sit.deployment), (holder, sit.number)
        waiter = Waiter(holder, sit.number, sit.tenant, sit.priority, stays=sit.waits)
        self._waiters[key] = room, waiter
        room.line.join(waiter)
        self._settle(sit.deployment, room)
        if key in self._waiters:
            waiter.extra = room.line.extra > 0
            self._tell(holder, Told(sit.number, Verdict.WAITING, room.line.ahead(waiter)))

    def _settle(self, deployment: str, room: _Room) -> None:
        """Do what has become possible or necessary."""
        line, now = room.line, self._clock()
        for waiter in line.advance():
            self._answer(waiter, Verdict.SEATED)
        if line.waiting:
            room.waited_at = now
            if not room.crowded:
                self._change(deployment, room, crowded=True)
                room.unanswered = set(self._workers)
                room.answer_by = now + ANSWER_S
            if not room.unanswered or now >= room.answer_by:
                for waiter in line.trim():
                    self._answer(waiter, Verdict.FULL if waiter.extra or not waiter.stays else Verdict.DISPLACED)
        elif room.crowded and now >= room.waited_at + CALM_S:
            self._change(deployment, room, crowded=False)

    def _change(self, deployment: str, room: _Room, *, crowded: bool) -> None:
        room.crowded = crowded
        for holder in self._workers:
            self._tell(holder, Mood(deployment, crowded))

    def _answer(self, waiter: Waiter, verdict: Verdict) -> None:
        del self._waiters[waiter.holder, waiter.number]
        self._tell(waiter.holder, Told(waiter.number, verdict))

    def _tell(self, holder: int, message: Answered) -> None:
        self._outbox.append((self._workers[holder], message))

    def _deliver(self) -> None:
        """Tell what is to be told once all is as it should be, so that workers may speak meanwhile."""
        if self._telling:
            return
        self._telling = True
        try:
            while self._outbox:
                tell, message = self._outbox.popleft()
                tell(message)
        finally:
            self._telling = False
