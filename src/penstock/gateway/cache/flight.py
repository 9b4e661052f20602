"""
Equal requests under way: one asks the upstream, the others wait for its answer.

The first one leads. When it is answered, so are all that wait. When it fails, or its client leaves, the next in line
leads, and the others wait on: a failing upstream is asked by one of them at a time. When it takes longer than a first
token may, the next in line leads beside it; so does, at once, one of a higher priority, which is not to wait behind a
lower one for a seat. An answer that cannot be shared sends them all on their own way. What is refused for its own fault
is refused to all.

These are the requests of one worker. Who leads them may lead those of other workers and hosts, too (`Above`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from penstock.gateway.cache.store import Entry
from penstock.types.errors import UpstreamRejected, UpstreamTimeout
from penstock.types.priority import Priority


class _Word(Enum):
    """What somebody who waits is told, if it is not the answer."""

    LEAD = auto()
    LOOK = auto()  # the time is over that a leader has
    ALONE = auto()


_Told = Entry | UpstreamRejected | _Word


class _Flight:
    """
    Attributes:
        led_at: clock time at which the last leader began.
        priority: the highest of a leader so far.
        leaders: how many are under way.
        waiting: who waits, in order, with their priorities.
        answer: the answer, once it is there.
    """

    __slots__ = ("answer", "leaders", "led_at", "priority", "waiting")

    def __init__(self) -> None:
        self.led_at = 0.0
        self.leaders = 0
        self.priority = Priority.LOW
        self.waiting: dict[asyncio.Future[_Told], Priority] = {}
        self.answer: Entry | None = None


class Above(Protocol):
    """The part of who asks the upstream among more requests than those of a worker. Told of the end at least once."""

    def land(self, answer: Entry | None, *, kept: bool) -> None:
        """As `Lead.land`."""

    def release(self, error: BaseException | None) -> None:
        """As `Lead.release`; nothing happens behind `land`."""


class Lead:
    """
    The part of who asks the upstream: `land`, if there is an answer, and `release` in any case.

    Attributes:
        above: what else it leads.
    """

    __slots__ = ("_flight", "_flights", "_key", "_over", "above")

    def __init__(self, flights: Flights, key: bytes, flight: _Flight) -> None:
        self._flights = flights
        self._key = key
        self._flight = flight
        self._over = False
        self.above: list[Above] = []

    def land(self, answer: Entry | None, *, kept: bool = False) -> None:
        """
        Give the answer to all that wait; with None, which is for one that cannot be shared, they ask themselves.

        Args:
            kept: this worker keeps it.
        """
        if not self._over:
            self._over = True
            self._flights.landed(self._key, self._flight, answer)
            for above in self.above:
                above.land(answer, kept=kept)

    def release(self, error: BaseException | None = None) -> None:
        """The exchange has ended; without an answer, the next one leads, unless it would be told the same."""
        if not self._over:
            self._over = True
            if isinstance(error, UpstreamRejected) and error.final:
                self._flights.landed(self._key, self._flight, error)
            else:
                self._flights.failed(self._key, self._flight)
        for above in self.above:
            above.release(error)


class Flights:
    """
    The equal requests of one worker. For one thread.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._flights: dict[bytes, _Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def lead(self, key: bytes, priority: Priority = Priority.NORMAL) -> Lead | None:
        """Lead, if nobody does whose priority is as high; else None, and `join` is next."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
        elif flight.priority <= priority:
            return None
        return self._led(key, flight, priority)

    async def join(
        self, key: bytes, patience_s: float, deadline: float, priority: Priority = Priority.NORMAL
    ) -> Entry | Lead | None:
        """
        Wait for the answer to an equal request.

        Args:
            patience_s: seconds that a leader has, until somebody else leads too.
            deadline: clock time.
        Returns:
            The answer; or the lead, when there was none; or None, when it cannot be shared.
        Raises:
            UpstreamTimeout: the deadline has passed.
            UpstreamRejected: the equal request is refused.
        """
        while True:
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = _Flight()
                return self._led(key, flight, priority)
            now = self._clock()
            if now >= deadline:
                raise UpstreamTimeout("no equal request was answered within the time allowed")
            if now >= flight.led_at + patience_s:
                return self._led(key, flight, priority)
            word = await self._word(key, flight, min(flight.led_at + patience_s, deadline) - now, priority)
            if word is _Word.LEAD:
                return Lead(self, key, flight)
            if isinstance(word, UpstreamRejected):
                raise word.again()
            if not isinstance(word, _Word):
                return word
            if word is _Word.ALONE:
                return None
            if flight.answer is not None:  # it came between the end of the time and now
                return flight.answer

    def landed(self, key: bytes, flight: _Flight, answer: Entry | UpstreamRejected | None) -> None:
        """Tell all that wait; the flight is over."""
        flight.leaders -= 1
        if self._flights.get(key) is flight:
            del self._flights[key]
        if isinstance(answer, Entry):
            flight.answer = flight.answer or answer
        waiting, flight.waiting = flight.waiting, {}
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(answer or _Word.ALONE)

    def failed(self, key: bytes, flight: _Flight) -> None:
        """Let the next in line lead, unless somebody else leads too; without any, the flight is over."""
        flight.leaders -= 1
        if flight.leaders:
            return
        while flight.waiting:
            waiter = next(iter(flight.waiting))
            priority = flight.waiting.pop(waiter)
            if not waiter.done():
                self._count(flight, priority)
                waiter.set_result(_Word.LEAD)
                return
        if self._flights.get(key) is flight:
            del self._flights[key]

    def _led(self, key: bytes, flight: _Flight, priority: Priority) -> Lead:
        self._count(flight, priority)
        return Lead(self, key, flight)

    def _count(self, flight: _Flight, priority: Priority) -> None:
        flight.leaders += 1
        flight.priority = min(flight.priority, priority)
        flight.led_at = self._clock()

    async def _word(self, key: bytes, flight: _Flight, wait_s: float, priority: Priority) -> _Told:
        """Wait for what the leader, or the clock, has to say."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[_Told] = loop.create_future()
        flight.waiting[waiter] = priority
        timer = loop.call_later(wait_s, _late, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.result() is _Word.LEAD:
                self.failed(key, flight)  # this client has left in the moment in which it was to lead
            raise
        finally:
            timer.cancel()
            flight.waiting.pop(waiter, None)


def _late(waiter: asyncio.Future[_Told]) -> None:
    if not waiter.done():
        waiter.set_result(_Word.LOOK)
