"""
How each deployment is doing, as this worker knows it: its breaker, the pause it has asked for, the retries it has, and
what its weights adapt to.

All this belongs to the deployment, by name and address, and not to a configuration: it is kept from view to view for as
long as the newest one has the deployment.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial

from penstock.gateway.metering.attempts import Attempts
from penstock.gateway.place import Place
from penstock.gateway.routing.vitals import Vitals
from penstock.gateway.upstream.breaker import Breaker, State, Ticket
from penstock.gateway.upstream.budget import RetryBudget
from penstock.gateway.upstream.verdicts import Blame
from penstock.types.address import Address

_log = logging.getLogger("penstock.upstream")
_FIRST_PAUSE_S = 1.0  # after a 429 that does not say how long
_LONGEST_PAUSE_S = 30.0
PATIENCE_S = 2.0  # so long an exchange with nowhere else to go waits for a deployment to be asked again
_MAX_DOUBLINGS = 16


class Health:
    """
    One deployment's health. For one thread.

    Attributes:
        address: of a provider; None for an engine, or where it is not known.
        vitals: where weights depend on them.
    """

    __slots__ = ("_not_before", "_unsaid", "address", "breaker", "budget", "vitals")

    def __init__(self, breaker: Breaker, budget: RetryBudget) -> None:
        self.address: Address | None = None
        self.vitals: Vitals | None = None
        self.breaker = breaker
        self.budget = budget
        self._not_before = 0.0
        self._unsaid = 0  # pauses in a row of which the upstream did not say how long

    def wait_s(self, now: float) -> float:
        """Return after how many seconds it makes sense to ask; 0 when it may be asked now."""
        floor = self._not_before - now
        wait = self.breaker.wait_s(now)
        return wait if wait > floor else floor if floor > 0 else 0.0

    def soon(self, now: float) -> bool:
        """Tell whether an exchange that has nowhere else to go may wait: for a pause or a turn, not for a repair."""
        return self.breaker.state is State.CLOSED and self.wait_s(now) <= PATIENCE_S

    def pause(self, now: float, seconds: float | None, busy: int = 0) -> None:
        """
        Leave the deployment alone, as it has asked for, and begin again gently.

        Args:
            seconds: None where it has not said how long: then twice as long each time.
            busy: exchanges that it goes on working on. Half as many are let in at once behind the pause: who cannot
                take one more is not broken, and from one at a time the way back is long where answers are.
        """
        if seconds is None:
            if now >= self._not_before:
                self._unsaid += 1
            doublings = min(max(0, self._unsaid - 1), _MAX_DOUBLINGS)
            seconds = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**doublings)
        if now + seconds > self._not_before:
            self._not_before = now + seconds
            self.breaker.ease(busy // 2)

    def answering(self, ticket: Ticket, began: float, clock: Callable[[], float]) -> Beginning | None:
        """
        Return what is to be called when the answer to an attempt begins to have content; None for nothing.

        Args:
            began: clock time at which it was asked.
        """
        return Beginning(self, ticket, began, clock) if ticket.waiting or self.vitals is not None else None

    def ended(self, ticket: Ticket, blame: Blame | None, now: float, beginning: Beginning | None = None) -> None:
        """
        Take note of how an attempt ended.

        Args:
            blame: None when it came to a good end.
            beginning: from `answering`, if the attempt came so far.
        """
        if self.vitals is not None:
            if blame is not Blame.NOTHING:
                self.vitals.ended(blame is None, now)
            elif beginning is not None and not beginning.seen:
                self.vitals.given_up(now - beginning.began, now)
        if blame is None:
            self._unsaid = 0
            self.breaker.succeeded(ticket, now)
        elif blame is Blame.FAILED:
            self.breaker.failed(ticket, now)
        else:
            self.breaker.left(ticket)


class Beginning:
    """
    Called when the answer to an attempt begins to have content.

    Attributes:
        began: clock time at which it was asked.
        seen: it has been called.
    """

    __slots__ = ("_clock", "_health", "_ticket", "began", "seen")

    def __init__(self, health: Health, ticket: Ticket, began: float, clock: Callable[[], float]) -> None:
        self._health = health
        self._ticket = ticket
        self._clock = clock
        self.began = began
        self.seen = False

    def __call__(self) -> None:
        health = self._health
        self.seen = True
        health.breaker.answers(self._ticket)
        if health.vitals is not None:
            now = self._clock()
            health.vitals.answers(now - self.began, now)


class Healths:
    """The health of all deployments of a worker, by name."""

    def __init__(self, counts: Attempts, clock: Callable[[], float], chance: Callable[[], float]) -> None:
        self._counts = counts
        self._clock = clock
        self._chance = chance
        self._known: dict[str, Health] = {}

    def follow(self, places: Mapping[str, Place]) -> None:
        """Begin anew with deployments that are new or have moved; forget those that are gone."""
        known = {}
        for name, place in places.items():
            address = None if place.engine or not place.endpoints else place.endpoints[0].address
            health = self._known.get(name)
            if health is None or (address is not None and health.address not in (None, address)):
                health = self._new(name)
            health.address = address or health.address
            health.budget.resize(place.size.seats)
            health.vitals = (health.vitals or Vitals()) if place.measured else None
            known[name] = health
        self._known = known
        self._counts.follow({name: health.breaker.state for name, health in known.items()})

    def of(self, name: str) -> Health:
        """Return a deployment's health; of one that is gone, a new one that nobody else will see."""
        return self._known.get(name) or self._new(name)

    def _became(self, name: str, state: State) -> None:
        self._counts.became(name, state)
        about = {"fields": {"deployment": name}}
        if state is State.OPEN:
            _log.warning("a deployment keeps failing and is not asked for a while", extra=about)
        elif state is State.CLOSED:
            _log.info("a deployment answers again", extra=about)

    def _new(self, name: str) -> Health:
        breaker = Breaker(self._chance, partial(self._became, name))
        return Health(breaker, RetryBudget(self._clock()))
