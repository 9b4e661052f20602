"""Getting an exchange its seat at a deployment, by waiting if need be."""

from __future__ import annotations

from collections.abc import Callable

from penstock.counters.seats.seat import Displaced, Full, NoSeat, Seat
from penstock.counters.seats.usher import Usher
from penstock.gateway.exchange import Exchange
from penstock.gateway.metering.queues import Queues
from penstock.gateway.place import Place
from penstock.gateway.view import View
from penstock.types.errors import NoCapacity

_BRIEF_S = 0.25
"""
How long a deployment is waited for that is not the last of the plan. Without any wait whoever asks most would get every
seat that comes free, and the others always the fallback; longer, and a fallback would be of little use.
"""

_IDLE_S = 0.1
"""How long other workers may take to give back seats that lie idle, before a deployment counts as full."""


class Seating:
    """
    The seats of one worker's exchanges. Used by its tasks from one event loop.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, usher: Usher, queues: Queues, clock: Callable[[], float]) -> None:
        self._usher = usher
        self._queues = queues
        self._clock = clock

    def follow(self, view: View) -> None:
        """Say what deployments take from now on."""
        self._usher.resize({name: place.size for name, place in view.places.items()}, view.settings.workers)

    def used(self, deployment: str) -> float:
        """See `Usher.used`."""
        return self._usher.used(deployment)

    def sweep(self) -> None:
        """See `Usher.sweep`."""
        self._usher.sweep()

    def kept(self, exchange: Exchange, place: Place) -> Seat | None:
        """Return a seat at a deployment that this worker has kept, to be given back by leaving its block, or None."""
        seat = self._usher.spare(place.name, exchange.account.caller.tenant)
        if seat is not None:
            self._queues.kept += 1
        return seat

    async def at_once(self, exchange: Exchange, place: Place) -> Seat | None:
        """Return a seat that is free now, likewise; None where there is none. The node may be asked."""
        if not place.endpoints:
            return None
        seat = self.kept(exchange, place)
        if seat is not None:
            return seat
        try:
            patience_s, tenant = min(_IDLE_S, exchange.model.first_token_s), exchange.account.caller.tenant
            seat = await self._usher.take(place.name, tenant, exchange.priority, patience_s, waits=False)
        except NoSeat:
            return None
        self._taken(exchange, place, seat)
        return seat

    async def seat(self, exchange: Exchange, place: Place, last: bool) -> Seat:
        """
        Return a seat at a deployment, likewise, waiting for one if need be.

        Args:
            last: no other deployment is left to be tried, so that the wait may be as long as the model allows.
        Raises:
            NoCapacity: there was none, or the deployment cannot answer now.
        """
        seat = self.kept(exchange, place)
        if seat is not None:
            return seat
        account = exchange.account
        if not place.endpoints and not (last and place.coming):
            account.explain("replica", place.problem)
            raise NoCapacity(f"the deployment {place.name} cannot answer now", retry_after=2)
        began = self._clock()
        patience_s = exchange.first_token_deadline - began
        try:
            seat = await self._usher.take(
                place.name,
                account.caller.tenant,
                exchange.priority,
                patience_s if last else min(_BRIEF_S, patience_s),
            )
        except NoSeat as none:
            raise self._refused(exchange, place, none, self._clock() - began) from None
        self._taken(exchange, place, seat)
        return seat

    def _taken(self, exchange: Exchange, place: Place, seat: Seat) -> None:
        """Count and explain how a seat was had that was asked for."""
        account = exchange.account
        if seat.share:
            self._queues.share += 1
            account.explain("queue", "the node does not answer; taken from this worker's even share of the seats")
        elif seat.waited_s:
            self._queues.waited(place.name, exchange.priority, seat.waited_s)
            account.explain("queue", f"waited {seat.waited_s * 1000:.0f} ms for {place.name}, {seat.ahead} ahead")
        else:
            self._queues.asked += 1

    def _refused(self, exchange: Exchange, place: Place, none: NoSeat, waited_s: float) -> NoCapacity:
        """Count and explain that there was no seat, and return it as an error."""
        reason = "full" if isinstance(none, Full) else "displaced" if isinstance(none, Displaced) else "expired"
        self._queues.refused(place.name, exchange.priority, reason)
        if place.problem:
            exchange.account.explain("replica", place.problem)
        waited = f"{place.name}: {reason} after {waited_s * 1000:.0f} ms as {exchange.priority.word}"
        exchange.account.explain("queue", waited)
        if reason == "expired":
            return NoCapacity(f"the deployment {place.name} had no room in the time allowed", retry_after=2)
        return NoCapacity(f"the deployment {place.name} is full, and so is its queue", retry_after=1)
