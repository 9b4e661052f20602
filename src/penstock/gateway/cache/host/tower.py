"""
The equal requests under way of all workers of a host: who leads, and who waits for it.

A worker asks for one of its equal requests at a time, as a rule; the others wait inside it. The rules are those of
`flight.Flights`, but that nobody here has a timer: who waits is told how long, and asks again.

Answers pass through, part by part, and only when somebody waits for them; none is held here. It is remembered for a
while which worker keeps one, so that a request which comes just after the answer gets that, too.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from penstock.gateway.cache.host.wire import (
    Alone,
    Answered,
    Answers,
    Ask,
    Asked,
    Fetch,
    Kept,
    Landed,
    Leave,
    Part,
    Ping,
    Pong,
    Questions,
    Refused,
    Told,
    Wanted,
    Word,
)
from penstock.types.priority import Priority

FETCH_S = 0.25
"""How long a worker is waited for that keeps an answer, before an upstream is asked."""

_MOST = 10_000  # flights, and answers of which it is remembered who keeps them
_MOST_WAITS = 100_000  # of all workers, each of which has at most a tenth of it under way
_MOST_UNSENT = 32 * 1024 * 1024  # bytes of answers that a worker has not read yet; who waits there asks for itself

Who = tuple[int, int]
"""A worker, and the number of its question."""


class Door(Protocol):
    """The way to a worker. `unsent` is how many bytes it has not read yet."""

    @property
    def unsent(self) -> int: ...

    def send(self, message: msgspec.Struct) -> None: ...


class _Flight:
    """
    Attributes:
        led_at: clock time at which the last leader began.
        most_s: seconds that it has at the most, whoever asks: few, where an answer is only to be fetched.
        priority: the highest of a leader so far.
        leaders: who leads.
        waiting: who waits, in order, with their priorities.
        wanted: the leaders know that somebody waits.
    """

    __slots__ = ("key", "leaders", "led_at", "most_s", "priority", "waiting", "wanted")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.led_at = 0.0
        self.most_s = math.inf
        self.priority = Priority.LOW
        self.leaders: set[Who] = set()
        self.waiting: dict[Who, Priority] = {}
        self.wanted = False


class Tower:
    """
    Belongs to the node's event loop.

    Args:
        clock: seconds, monotonic.
        most: flights, and answers of which it is remembered who keeps them.
    """

    def __init__(self, clock: Callable[[], float], most: int = _MOST) -> None:
        self._clock = clock
        self._most = most
        self._doors: dict[int, Door] = {}
        self._last = 0
        self._fetched = 0
        self._flights: dict[bytes, _Flight] = {}
        self._leads: dict[Who, _Flight] = {}
        self._waits: dict[Who, _Flight] = {}
        self._landing: dict[Who, list[Who]] = {}  # whose answers are passing through, and who gets them
        self._keepers: OrderedDict[bytes, int] = OrderedDict()
        self._outbox: dict[int, list[Answered]] = {}

    def __len__(self) -> int:
        """Return how many requests are under way that equal ones can wait for."""
        return len(self._flights)

    def enter(self, door: Door) -> int:
        """Welcome a worker; return its number."""
        self._last += 1
        self._doors[self._last] = door
        return self._last

    def gone(self, holder: int) -> None:
        """Hand on what a worker led, for it has ended."""
        del self._doors[holder]
        for who in [who for who in self._waits if who[0] == holder]:
            del self._waits.pop(who).waiting[who]
        for who in [who for who in self._leads if who[0] == holder]:
            self._failed(who)
        for who in [who for who in self._landing if who[0] == holder]:
            for waiter in self._landing.pop(who):
                self._tell(waiter, Told(waiter[1], Word.AGAIN))
        self._deliver()

    def heard(self, holder: int, said: Questions) -> None:
        """Take in what a worker says."""
        for message in said.messages:
            self._hear(holder, message)
        self._deliver()

    def _hear(self, holder: int, message: Asked) -> None:
        match message:
            case Ask():
                self._ask((holder, message.number), message)
            case Leave(number):
                self._leave((holder, number))
            case Landed(number, kept, follows):
                self._landed((holder, number), kept=kept, follows=follows)
            case Kept(key):
                self._keep(key, holder)
            case Part():
                self._pass_on((holder, message.number), message)
            case Alone(number):
                for waiter in self._over((holder, number)):
                    self._tell(waiter, Told(waiter[1], Word.ALONE))
            case Refused(number):
                for waiter in self._over((holder, number)):
                    self._send(waiter, msgspec.structs.replace(message, number=waiter[1]))
            case Ping():
                self._tell((holder, 0), Pong())

    def _ask(self, who: Who, ask: Ask) -> None:
        if who in self._leads:  # it asked again before it heard so
            return
        flight = self._waits.get(who)
        full = flight is None and len(self._waits) >= _MOST_WAITS
        flight = flight or self._flights.get(ask.key)
        if full or (flight is None and len(self._flights) >= self._most):
            self._tell(who, Told(ask.number, Word.LEAD))  # which nobody knows
            return
        if flight is None:
            flight = self._flights[ask.key] = _Flight(ask.key)
            keeper = self._keepers.get(ask.key)
            if keeper is None or keeper == who[0] or keeper not in self._doors:
                self._lead(flight, who, ask.priority)
                return
            self._fetch(flight, keeper, ask.since)
        elif flight.priority > ask.priority or self._clock() >= flight.led_at + min(ask.patience_s, flight.most_s):
            self._lead(flight, who, ask.priority)
            return
        flight.waiting[who] = ask.priority
        self._waits[who] = flight
        left_s = flight.led_at + min(ask.patience_s, flight.most_s) - self._clock()
        self._tell(who, Told(ask.number, Word.WAIT, left_s))
        if not flight.wanted:
            flight.wanted = True
            for leader in flight.leaders:
                self._tell(leader, Wanted(leader[1]))

    def _lead(self, flight: _Flight, who: Who, priority: Priority) -> None:
        if flight.waiting.pop(who, None) is not None:
            del self._waits[who]
        if flight.most_s < math.inf:  # it was only to be fetched; who was to bring it may yet, but nobody counts on it
            flight.most_s, flight.priority = math.inf, priority
            flight.leaders = {leader for leader in flight.leaders if leader[1] > 0}
            self._keepers.pop(flight.key, None)
        flight.leaders.add(who)
        flight.priority = min(flight.priority, priority)
        flight.led_at = self._clock()
        self._leads[who] = flight
        flight.wanted = bool(flight.waiting)
        self._tell(who, Told(who[1], Word.LEAD, wanted=flight.wanted))

    def _fetch(self, flight: _Flight, keeper: int, since: float) -> None:
        """Ask a worker for what it keeps; it leads meanwhile, though not for long."""
        self._fetched += 1
        who = (keeper, -self._fetched)
        flight.leaders.add(who)
        flight.priority, flight.most_s, flight.wanted = Priority.HIGH, FETCH_S, True
        flight.led_at = self._clock()
        self._leads[who] = flight
        self._tell(who, Fetch(who[1], flight.key, since))

    def _leave(self, who: Who) -> None:
        flight = self._waits.pop(who, None)
        if flight is not None:
            del flight.waiting[who]
        else:
            self._failed(who)

    def _failed(self, who: Who) -> None:
        """Let the next in line lead, unless somebody else leads too; without any, the flight is over."""
        flight = self._leads.pop(who, None)
        if flight is None:
            return
        flight.leaders.discard(who)
        if who[1] < 0 and self._keepers.get(flight.key) == who[0]:
            del self._keepers[flight.key]
        if not flight.leaders:
            self._hand_on(flight)

    def _hand_on(self, flight: _Flight) -> None:
        for waiter, priority in flight.waiting.items():
            self._lead(flight, waiter, priority)
            return
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def _landed(self, who: Who, *, kept: bool, follows: bool) -> None:
        flight = self._leads.pop(who, None)
        if flight is None:
            return
        flight.leaders.discard(who)
        if kept:
            self._keep(flight.key, who[0])
        if flight.waiting and not follows:  # they came when it had nearly landed
            if kept and who[1] > 0:
                self._fetch(flight, who[0], 0.0)
                for waiter in flight.waiting:
                    self._tell(waiter, Told(waiter[1], Word.WAIT, FETCH_S))
            elif not flight.leaders:
                self._hand_on(flight)
            return
        waiting = self._close(flight)
        if follows:
            self._landing[who] = waiting

    def _keep(self, key: bytes, keeper: int) -> None:
        self._keepers[key] = keeper
        self._keepers.move_to_end(key)
        if len(self._keepers) > self._most:
            self._keepers.popitem(last=False)

    def _over(self, who: Who) -> Iterable[Who]:
        """End the flight that one leads, who has something else to say than an answer; return who waits."""
        flight = self._leads.pop(who, None)
        if flight is None:
            return ()
        flight.leaders.discard(who)
        return self._close(flight)

    def _close(self, flight: _Flight) -> list[Who]:
        """End a flight; other leaders may go on, and nobody waits for them. Return who has waited."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
        waiting, flight.waiting = list(flight.waiting), {}
        for waiter in waiting:
            del self._waits[waiter]
        return waiting

    def _pass_on(self, who: Who, part: Part) -> None:
        """Give a part of an answer to all that wait for it."""
        waiting = self._landing.pop(who, None)
        if waiting is None:
            return
        left = []
        for waiter in waiting:
            door = self._doors.get(waiter[0])
            if door is None:
                continue
            if door.unsent > _MOST_UNSENT:
                self._tell(waiter, Told(waiter[1], Word.ALONE))
                continue
            self._send(waiter, Part(waiter[1], part.data, part.more, part.kept))
            left.append(waiter)
        if part.more:
            self._landing[who] = left

    def _tell(self, who: Who, message: Answered) -> None:
        if who[0] in self._doors:
            self._outbox.setdefault(who[0], []).append(message)

    def _send(self, who: Who, large: Part | Refused) -> None:
        """Tell something that is a frame of its own, behind all that was told before."""
        self._deliver()
        if (door := self._doors.get(who[0])) is not None:
            door.send(Answers([large]))

    def _deliver(self) -> None:
        """Tell what is to be told once all is as it should be: many answers to one worker are one message."""
        while self._outbox:
            holder = next(iter(self._outbox))
            messages = self._outbox.pop(holder)
            if (door := self._doors.get(holder)) is not None:
                door.send(Answers(messages))
