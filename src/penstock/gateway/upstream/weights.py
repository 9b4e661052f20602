"""
The weights in use of models whose weights adapt.

They are worked out from the counters of the moment when an exchange comes, at most four times a second, and are nothing
that has to be kept: what is known of deployments is with their health.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from penstock.gateway.routing import choose
from penstock.gateway.routing.adaptive import adapted
from penstock.gateway.routing.vitals import Load
from penstock.gateway.upstream.health import Healths
from penstock.gateway.upstream.seating import Seating
from penstock.gateway.view import Plan, Route, View

_EVERY_S = 0.25
_UNKNOWN = Load()


class _InUse(msgspec.Struct, frozen=True):
    """
    Attributes:
        of: the route as it is configured.
        now: the same with the weights in use, in its plans too.
        weights: by deployment.
        until: clock time up to which they are used.
    """

    of: Route
    now: Route
    weights: dict[str, float]
    until: float


class Weights:
    """
    Adapts the weights of one worker's models. For one thread.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, healths: Healths, seating: Seating, clock: Callable[[], float]) -> None:
        self._healths = healths
        self._seating = seating
        self._clock = clock
        self._view: View | None = None
        self._known: dict[str, _InUse] = {}

    def follow(self, view: View) -> None:
        """Report the models of this view from now on, and forget all others."""
        self._view = view
        self._known = {name: used for name, used in self._known.items() if name in view.routes}

    def of(self, route: Route) -> Route:
        """Return a route, whose model's weights adapt, with the weights in use."""
        return self._in_use(route).now

    def reported(self) -> Iterator[tuple[str, str, float]]:
        """Yield model, target and weight in use, where weights adapt."""
        for name, route in self._view.routes.items() if self._view is not None else ():
            if route.adapts:
                yield from ((name, target, weight) for target, weight in self._in_use(route).weights.items())

    def _in_use(self, route: Route) -> _InUse:
        name, now = route.model.name, self._clock()
        used = self._known.get(name)
        if used is None or used.of is not route or now >= used.until:
            weights = self._weights(route, now)
            plans = tuple(_with(plan, weights) for plan in route.plans)
            ends = choose.shares([weights[plan.names[0]] for plan in plans])
            adapts = msgspec.structs.replace(route, ends=ends, plans=plans)
            used = self._known[name] = _InUse(route, adapts, weights, now + _EVERY_S)
        return used

    def _weights(self, route: Route, now: float) -> dict[str, float]:
        targets, loads = route.model.targets, list[Load]()
        for target in targets:
            vitals = self._healths.of(target.deployment).vitals
            if vitals is not None:
                vitals.looked(self._seating.used(target.deployment), now)
            loads.append(_UNKNOWN if vitals is None else vitals.load(now))
        found = adapted([target.weight for target in targets], loads)
        return {target.deployment: weight for target, weight in zip(targets, found, strict=True)}


def _with(plan: Plan, weights: dict[str, float]) -> Plan:
    """Return a plan with other weights, and the explanation that says them."""
    own = tuple(weights[name] for name in plan.names[: len(plan.weights)])
    step, text = plan.explained
    told = f"{text}; weights in use: {', '.join(f'{weight:.3g}' for weight in own)}"
    return msgspec.structs.replace(plan, weights=own, explained=(step, told))
