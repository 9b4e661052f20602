"""
Which deployment an exchange goes to: at first, and after a failure.

Decisions are those of `routing`; here they get what they look at. Nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from penstock.counters.seats.seat import Seat
from penstock.gateway.exchange import Exchange
from penstock.gateway.metering.attempts import Attempts
from penstock.gateway.place import Place
from penstock.gateway.routing.choose import draw_target, onward
from penstock.gateway.routing.zone import Spill, spill
from penstock.gateway.upstream import verdicts
from penstock.gateway.upstream.endpoint import Endpoint
from penstock.gateway.upstream.health import Healths
from penstock.gateway.upstream.seating import Seating
from penstock.gateway.upstream.verdicts import Failure
from penstock.gateway.upstream.weights import Weights
from penstock.gateway.view import Plan, Route, View
from penstock.types.errors import InvalidRequest, NoCapacity

_SPILLS = {
    Spill.FULL: "no target in {} has a free seat",
    Spill.UNAVAILABLE: "no target in {} may be asked now",
    Spill.FAILED: "all targets in {} have failed",
}


class Choosing:
    """
    Chooses among the deployments of a plan. One per dispatcher.

    Args:
        clock: seconds, monotonic.
        chance: returns a number in [0, 1), uniformly random.
    """

    def __init__(
        self,
        healths: Healths,
        seating: Seating,
        counts: Attempts,
        clock: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self._healths = healths
        self._seating = seating
        self._counts = counts
        self._clock = clock
        self._chance = chance
        self._weights = Weights(healths, seating, clock)
        self._view: View | None = None
        counts.weights = self._weights.reported

    def follow(self, view: View) -> None:
        """Take a new view."""
        self._view = view
        self._weights.follow(view)

    def sweep(self) -> None:
        """See `Weights.sweep`."""
        self._weights.sweep()

    def draw(self, route: Route) -> Plan:
        """Return the plan of the target that chance says, by the weights in use."""
        if route.adapts:
            return self._weights.draw(route, self._chance())
        return route.plans[draw_target(route.ends, self._chance())]

    def first(self, exchange: Exchange, plan: Plan) -> str | None:
        """Return the deployment that comes first, or another where that one is not to be asked now."""
        drawn, now = plan.first, self._clock()
        wait_s = self._healths.of(drawn).wait_s(now)
        if not wait_s:
            return drawn
        found = self.next(plan, ())
        if found != drawn:
            state = self._healths.of(drawn).breaker.state.value
            instead = f"; {found} instead" if found else ""
            exchange.account.explain("breaker", f"{drawn} is {state}, and not asked for {wait_s:.1f} s{instead}")
        return found

    def more(self, plan: Plan, tried: Collection[str]) -> bool:
        """Tell whether another deployment could be tried now."""
        now, healths = self._clock(), self._healths
        for name in plan.names:  # noqa: SIM110  # a generator would take as long as all else that is decided here
            if name not in tried and not healths.of(name).wait_s(now):
                return True
        return False

    def _usable(self, plan: Plan, tried: Collection[str]) -> set[str]:
        """Return the deployments that could be tried now."""
        now, healths = self._clock(), self._healths
        return {name for name in plan.names if name not in tried and not healths.of(name).wait_s(now)}

    def next(self, plan: Plan, tried: Collection[str]) -> str | None:
        """Return the next deployment: one that may be asked now, else the one that may be soonest; None for none."""
        found = onward(plan.names, plan.weights, self._usable(plan, tried), self._chance(), plan.near)
        if found is not None:
            return found
        now = self._clock()
        soon = [name for name in plan.names if name not in tried and self._healths.of(name).soon(now)]
        return min(soon, key=lambda name: self._healths.of(name).wait_s(now), default=None)

    async def seated(
        self, exchange: Exchange, plan: Plan, name: str, tried: Collection[str], full: bool = False
    ) -> tuple[str, Seat | None]:
        """
        Return a target with a free seat, and that seat: this one or another one that is near, else one that is not.

        Where none has one the exchange goes to the deployment that it was to go to, and waits there as it would without
        zones. Until then nobody is waited for: a wait for a near one costs more than the way to another.

        Args:
            name: from `first` or `next`.
            full: nothing was free when this was called before; then nobody is asked again, as it would be for each of
                the targets that the exchange waits for.
        Returns:
            The seat is None where nothing is free; otherwise its block is to be entered at once.
        """
        if plan.names.index(name) >= len(plan.weights):
            return name, None
        found, seat = name, None if full else await self._free(exchange, name)
        if seat is None and not full:
            left = self._usable(plan, tried) - {name}
            while seat is None and (following := self._target(plan, left)) is not None:
                left.discard(following)
                found, seat = following, await self._free(exchange, following)
            found = name if seat is None else found
        if plan.near <= plan.names.index(found):
            self._spills(exchange, plan, found, tried, full)
        return found, seat

    async def _free(self, exchange: Exchange, name: str) -> Seat | None:
        place = self._known(exchange, name)
        return None if place is None else await self._seating.at_once(exchange, place)

    def _target(self, plan: Plan, usable: Collection[str]) -> str | None:
        return onward(plan.names[: len(plan.weights)], plan.weights, usable, self._chance(), plan.near)

    def _spills(self, exchange: Exchange, plan: Plan, name: str, tried: Collection[str], full: bool) -> None:
        """Count and explain that an exchange that could be answered nearby goes to a target that is not near."""
        near = plan.names[: plan.near]
        reason = Spill.FULL if full else spill(near, tried, self._usable(plan, tried))
        self._counts.spilled(name, reason)
        place = self._known(exchange, name)
        there = f"{name} in {place.zone}" if place is not None and place.zone else name
        here = (self._view or exchange.view).zone
        exchange.account.explain("zone", f"{_SPILLS[reason].format(here)}; {there} instead")

    def told(self, exchange: Exchange, plan: Plan, tried: Collection[str], failures: Sequence[Failure]) -> Failure:
        """Return the failure for the client, with the soonest time at which another try makes sense."""
        now = self._clock()
        waits = {name: self._healths.of(name).wait_s(now) for name in plan.names}
        for name, failure in zip(tried, failures, strict=True):
            waits[name] = max(waits[name], failure.retry_after or 0.0)
        soonest = min(waits.values())
        owned = exchange.claim is not None and exchange.claim.owner
        alone = "; no other keeps what this goes on from" if owned else ""
        if not failures:
            return NoCapacity(f"no deployment of the model may be asked now{alone}", retry_after=soonest)
        error = verdicts.most_telling(failures)
        if isinstance(error, InvalidRequest):
            return error
        error.retry_after = soonest or error.retry_after
        return NoCapacity(f"{error}{alone}", retry_after=error.retry_after) if isinstance(error, NoCapacity) else error

    def place(self, exchange: Exchange, name: str) -> Place:
        """
        Return a deployment, as it is now.

        Raises:
            NoCapacity: there is none by that name.
        """
        place = self._known(exchange, name)
        if place is None:
            raise NoCapacity(f"the deployment {name} does not exist", retry_after=2)
        return place if exchange.claim is None else exchange.claim.narrowed(place)

    def replicas(self, exchange: Exchange, place: Place) -> Sequence[Endpoint]:
        """Return all endpoints of a deployment from `place`, also those that the exchange may not go to."""
        if exchange.claim is None or not exchange.claim.owner:
            return place.endpoints
        known = self._known(exchange, place.name)
        return place.endpoints if known is None else known.endpoints

    def _known(self, exchange: Exchange, name: str) -> Place | None:
        # A deployment that a reload has removed is still known to the exchange's own view.
        return (self._view or exchange.view).places.get(name) or exchange.view.places.get(name)
