"""
The weights in use of models whose weights adapt.

They are worked out from the counters of the moment, at most four times a second, and are nothing that has to be kept:
what is known of deployments is with their health. Where many exchanges come it is between them, so that none is late
for it; where few do, when one comes.
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
_LATE_S = 0.25  # after so long without a sweep the next exchange works them out itself
_UNKNOWN = Load()


class _InUse(msgspec.Struct, frozen=True):
    """
    Attributes:
        of: the route as it is configured.
        ends: of the shares of the targets that are drawn from, by the weights in use.
        weights: by deployment.
        plans: its plans with the weights in use, by number; those that have been drawn.
        until: clock time up to which they are new.
    """

    of: Route
    ends: tuple[float, ...]
    weights: dict[str, float]
    plans: dict[int, Plan]
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
        self._known = {name: used for name, used in self._known.items() if view.routes.get(name) is used.of}

    def draw(self, route: Route, draw: float) -> Plan:
        """
        Return the plan of a target of a route whose model's weights adapt.

        Args:
            draw: a number in [0, 1), uniformly random.
        """
        used = self._in_use(route)
        number = choose.draw_target(used.ends, draw)
        plan = used.plans.get(number)
        if plan is None:
            plan = used.plans[number] = _with(route.plans[number], used.weights)
        return plan

    def sweep(self) -> None:
        """Work out anew what is in use and not new any more. Called every 0.1 s by the worker."""
        now = self._clock()
        for used in list(self._known.values()):
            if used.plans and now >= used.until:
                self._work_out(used.of, now)

    def reported(self) -> Iterator[tuple[str, str, float]]:
        """Yield model, target and weight in use, where weights adapt."""
        for name, route in self._view.routes.items() if self._view is not None else ():
            if route.adapts:
                yield from ((name, target, weight) for target, weight in self._in_use(route).weights.items())

    def _in_use(self, route: Route) -> _InUse:
        name, now = route.model.name, self._clock()
        used = self._known.get(name)
        if used is None or used.of is not route or now >= used.until + _LATE_S:
            return self._work_out(route, now)
        return used

    def _work_out(self, route: Route, now: float) -> _InUse:
        weights = self._weights(route, now)
        ends = choose.shares([weights[plan.names[0]] for plan in route.plans])
        used = self._known[route.model.name] = _InUse(route, ends, weights, {}, now + _EVERY_S)
        return used

    def _weights(self, route: Route, now: float) -> dict[str, float]:
        plan, found = route.plans[0], dict[str, float]()
        # Those that are near are drawn from without the others, so they are compared with each other.
        for part in (slice(plan.near), slice(plan.near, None)):
            weights = plan.weights[part]
            names = plan.names[part][: len(weights)]  # behind them are the fallbacks
            if names:
                found |= zip(names, adapted(weights, [self._load(name, now) for name in names]), strict=True)
        return {target.deployment: found[target.deployment] for target in route.model.targets}

    def _load(self, name: str, now: float) -> Load:
        vitals = self._healths.of(name).vitals
        if vitals is None:
            return _UNKNOWN
        vitals.looked(self._seating.used(name), now)
        return vitals.load(now)


def _with(plan: Plan, weights: dict[str, float]) -> Plan:
    """Return a plan with other weights, and the explanation that says them."""
    own = tuple(weights[name] for name in plan.names[: len(plan.weights)])
    step, text = plan.explained
    told = f"{text}; weights in use: {', '.join(f'{weight:.3g}' for weight in own)}"
    return msgspec.structs.replace(plan, weights=own, explained=(step, told))
