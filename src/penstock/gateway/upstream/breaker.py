"""
The circuit breaker of one deployment: what keeps failing is left alone, and comes back gently.

    closed ── failures ──► open ── its time is over ──► half-open: one probe ── it answers ──► closed, recovering
       ▲                    ▲                                 │ fails
       └── enough answers   └─────────────────────────────────┘ twice as long

It opens on failures in a row, more of them where there is much traffic, or on their share lately. While it recovers,
no more exchanges wait for the beginning of an answer than a window admits; the window begins with the probe's one and
grows by one with each answer, so it doubles each time that all in it are answered, as TCP's slow start does, and every
two seconds in any case: a plain answer that takes a minute begins only then. So no crowd falls upon an upstream that
comes back. For the same reason a probe that has not been answered for five seconds gets another one beside it.

No I/O, no clock, no chance of its own: the time is passed in, and what is drawn comes from what it was made with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum

from penstock.gateway.upstream.outcomes import Outcomes

IN_A_ROW = 5  # failures; as `consecutive_5xx` of Envoy's outlier detection and Finagle's failure accrual
_MOST_IN_A_ROW = 30  # where there is much traffic: timeouts come together, as deadlines are looked at in turns
_SHARE = 0.6  # of failures lately, above which it opens; resilience4j's 0.5 would leave an upstream half of which works
_LEAST = 20  # outcomes lately before a share says anything
_FIRST_S = 2.0  # it stays open for so long at first, at the most
_LONGEST_S = 60.0
_FULL = 100  # a window of so many is none any more, and what was before is forgotten
_PATIENT_S = 5.0  # with a probe, before another one is sent beside it
_DOUBLES_S = 2.0  # in which the window doubles, whatever has been answered
_ROOM_S = 0.05  # likewise while the window is full: answers are coming


class State(Enum):
    """Whether exchanges go to a deployment. The value is what metrics call it."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Breaker:
    """
    One deployment's breaker, as one worker sees it. For one thread.

    Every ticket that `admit` gives out comes back exactly once, to `succeeded`, `failed` or `left`; what comes back
    from before the state last changed says nothing any more.

    Attributes:
        clear: every attempt is admitted at once; otherwise `wait_s` knows.

    Args:
        chance: returns a number in [0, 1), uniformly random.
        changed: told of every change of the state.
    """

    __slots__ = (
        "_chance",
        "_changed",
        "_epoch",
        "_openings",
        "_outcomes",
        "_probed",
        "_since",
        "_until",
        "_usual",
        "_waiting",
        "_window",
        "clear",
        "state",
    )

    def __init__(self, chance: Callable[[], float], changed: Callable[[State], None]) -> None:
        self.state = State.CLOSED
        self.clear = True
        self._chance = chance
        self._changed = changed
        self._epoch = 0
        self._outcomes = Outcomes()
        self._until = 0.0
        self._openings = 0  # in a row, without having recovered between them
        self._window: int | None = None  # how many may wait for an answer's beginning while it recovers
        self._waiting = 0
        self._since: float | None = None  # when the first one was admitted to the window
        self._probed = 0.0  # when the last probe was sent
        self._usual = Ticket(0, waiting=False)  # what nearly every attempt gets; of those there is nothing else to know

    def wait_s(self, now: float) -> float:
        """Return after how many seconds it makes sense to ask for a ticket; 0 when one would be given now."""
        if self.clear:
            return 0.0
        if self.state is State.OPEN:
            return max(0.0, self._until - now)
        if self.state is State.HALF_OPEN:
            return max(0.0, self._probed + _PATIENT_S - now) if self._waiting else 0.0
        return 0.0 if self._waiting < self._room(now) else _ROOM_S

    def admit(self, now: float) -> Ticket | None:
        """Return a ticket for one attempt, or None when it must not be made."""
        if self.clear:
            return self._usual
        if self.wait_s(now) > 0:
            return None
        if self.state is State.OPEN:
            self._become(State.HALF_OPEN)
        if self.state is State.HALF_OPEN:
            self._probed = now
        elif self._room(now) > _FULL:
            self._recovered()
            return self._usual
        elif self._since is None:
            self._since = now
        self._waiting += 1
        return Ticket(self._epoch, waiting=True)

    def answers(self, ticket: Ticket) -> None:
        """Take note that the answer to an attempt has begun. May be called again, to no effect."""
        if not ticket.waiting or ticket.epoch != self._epoch:
            return
        ticket.waiting = False
        self._waiting -= 1
        if self.state is State.HALF_OPEN:
            self._become(State.CLOSED)
            ticket.epoch = self._epoch  # the probe's end counts for what it has brought about
            self._window = 1
        if self._window is not None:
            self._window += 1
            if self._window > _FULL:
                self._recovered()

    def succeeded(self, ticket: Ticket, now: float) -> None:
        """Take note that an attempt came to a good end."""
        if ticket.waiting:
            self.answers(ticket)
        if ticket.epoch == self._epoch:
            self._outcomes.succeeded(now)

    def failed(self, ticket: Ticket, now: float) -> None:
        """Take note that an attempt failed, and that the deployment is to blame."""
        if ticket.epoch != self._epoch:
            return
        self._left_window(ticket)
        bad, seen = self._outcomes.failed(now)
        often = seen >= _LEAST and bad > _SHARE * seen
        if often or self._outcomes.too_many(IN_A_ROW, _MOST_IN_A_ROW, seen) or self.state is State.HALF_OPEN:
            self._open(now)

    def left(self, ticket: Ticket) -> None:
        """Take note that an attempt ended without saying anything about the deployment: its client left, say."""
        if ticket.epoch == self._epoch:
            self._left_window(ticket)

    def ease(self, window: int = 1) -> None:
        """
        Have a closed breaker admit gently from now on: the deployment has asked for a pause.

        Args:
            window: how many may wait for the beginning of an answer at first.
        """
        if self.state is State.CLOSED:
            self._begin_epoch()
            self._window, self._waiting, self._since = max(1, min(window, _FULL)), 0, None
            self.clear = False

    def _room(self, now: float) -> float:
        """Return how many may wait for the beginning of an answer."""
        if self._window is None:
            return math.inf
        doublings = 0 if self._since is None else int((now - self._since) / _DOUBLES_S)
        return self._window << min(doublings, _FULL.bit_length())

    def _recovered(self) -> None:
        self._window, self._since, self._openings = None, None, 0
        self.clear = self.state is State.CLOSED

    def _left_window(self, ticket: Ticket) -> None:
        if ticket.waiting:
            ticket.waiting = False
            self._waiting -= 1

    def _open(self, now: float) -> None:
        longest = min(_LONGEST_S, _FIRST_S * 2 ** min(self._openings, 16))
        self._openings += 1
        # Between half of it and all: workers and hosts that have seen the same do not probe together.
        self._until = now + longest * (0.5 + self._chance() / 2)
        self._become(State.OPEN)

    def _become(self, state: State) -> None:
        self.state = state
        self._begin_epoch()
        self._outcomes.forget()
        self._waiting = 0
        self._window = self._since = None
        self.clear = False
        self._changed(state)

    def _begin_epoch(self) -> None:
        self._epoch += 1
        self._usual = Ticket(self._epoch, waiting=False)


class Ticket:
    """
    The right to one attempt.

    Attributes:
        epoch: counts changes of the breaker's state; for the breaker alone.
        waiting: the breaker is to be told when the answer begins.
    """

    __slots__ = ("epoch", "waiting")

    def __init__(self, epoch: int, *, waiting: bool) -> None:
        self.epoch = epoch
        self.waiting = waiting
