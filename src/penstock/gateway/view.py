"""
What one exchange sees: configuration, callers and replicas, compiled once per change and then never altered.

An exchange takes the view at the door and keeps it; everything that can fail happens while a new one is prepared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from penstock.gateway.admission.purse import Purse
from penstock.gateway.admission.rules import Rules
from penstock.gateway.cache.rule import Rule, rule_of
from penstock.gateway.identity.caller import Callers
from penstock.gateway.place import Place, place_of
from penstock.gateway.routing import choose
from penstock.gateway.upstream.endpoint import Endpoints
from penstock.pricing.price import Price
from penstock.snapshot.config import Config, GatewaySettings, Model
from penstock.snapshot.fleet import Fleet, Replica

_ZONE = "PENSTOCK_ZONE"  # not in the stack file, which is the same for all hosts


class Plan(msgspec.Struct, frozen=True):
    """
    Which deployments to try, with what is the same for every exchange that does.

    Attributes:
        names: the one that was drawn first, then the other targets, then the fallbacks in their order. Targets that are
            near come before those that are not.
        weights: of the targets among them, which come first.
        prices: of those that are known, at their dearest; the dearest of them is reserved.
        explained: for the explanation of an exchange.
        near: how many of the targets are, if others are not; 0 where there is nothing to prefer.
        home: one of the names that goes before what was drawn, whatever it is, or nothing.
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]
    prices: tuple[Price, ...]
    explained: tuple[str, str]
    near: int = 0
    home: str = ""

    @property
    def first(self) -> str:
        """The deployment that is tried first, if it may be asked."""
        return self.home or self.names[0]


class Shadow(msgspec.Struct, frozen=True):
    """
    Where copies of a model's exchanges go.

    Attributes:
        share: of the exchanges that are answered, up to 1.
        plan: the one deployment.
    """

    share: float
    plan: Plan


class Route(msgspec.Struct, frozen=True):
    """
    How a model is answered.

    Attributes:
        ends: of the shares of the targets that are drawn from, see `routing.choose`: those that are near, if some are.
        plans: one for each of them.
        rules, purse: its limits and its budgets; None where it has none.
        capped: some of these count tokens or money, so that answers need a cap.
        cache: what of its answers may be kept; None for nothing.
        shadow: where copies go; None for nowhere.
        adapts: its weights are to be worked out anew, from what its targets can do.
    """

    model: Model
    ends: tuple[float, ...]
    plans: tuple[Plan, ...]
    rules: Rules | None
    purse: Purse | None
    capped: bool
    cache: Rule | None = None
    shadow: Shadow | None = None
    adapts: bool = False


class View(msgspec.Struct, frozen=True):
    """
    One consistent state of everything a request path reads.

    Attributes:
        zone: where this gateway is, if that is said.
    """

    routes: Mapping[str, Route]
    places: Mapping[str, Place]
    callers: Callers
    settings: GatewaySettings
    zone: str = ""

    @property
    def ready(self) -> bool:
        """Tell whether some model can be answered now (or none is configured at all)."""
        names = {name for route in self.routes.values() for plan in route.plans for name in plan.names}
        return not names or any(self.places[name].endpoints for name in names if name in self.places)


EMPTY = View({}, {}, Callers({}), GatewaySettings())


def compile_view(
    config: Config,
    callers: Callers,
    fleet: Fleet | None,
    endpoints: Endpoints,
    environ: Mapping[str, str],
) -> View:
    """
    Prepare a view. Endpoints are looked up, so that their counts carry over; those no longer named are retired, and
    live until no exchange that knows them can be in progress.
    """
    replicas: dict[str, list[Replica]] = {}
    for replica in fleet.replicas if fleet else ():
        replicas.setdefault(replica.deployment, []).append(replica)
    workers, zone = config.gateway.workers, environ.get(_ZONE, "")
    places = {
        name: place_of(deployment, replicas.get(name, []) if fleet else None, endpoints, environ, workers, zone)
        for name, deployment in config.deployments.items()
    }
    for name in {target.deployment for model in config.models.values() if model.adaptive for target in model.targets}:
        if name in places:
            places[name] = msgspec.structs.replace(places[name], measured=True)
    longest_s = max((model.total_s for model in config.models.values()), default=0.0)
    endpoints.keep((endpoint for place in places.values() for endpoint in place.endpoints), longest_s)
    endpoints.keyring.keep((item.credential for item in config.deployments.values() if item.credential), longest_s)
    routes = {
        name: _with_cache(_route(model, places, zone), config, places, replicas)
        for name, model in config.models.items()
    }
    return View(routes, places, callers, config.gateway, zone)


def _route(model: Model, places: Mapping[str, Place], zone: str) -> Route:
    plans = []
    weights = {target.deployment: target.weight for target in model.targets}
    near = [number for number, name in enumerate(weights) if name in places and places[name].near]
    if len(near) == len(weights):
        near = []
    drawn = near or range(len(weights))
    for target in drawn:
        names = choose.order(model, target, near)
        shares = tuple(weights[name] for name in names if name in weights)
        explained = f"{model.name}: {', then '.join(names)}"
        if near:
            explained += f"; in {zone}: the first {len(near)}"
        plans.append(Plan(names, shares, _prices(names, places), ("route", explained), len(near)))
    rules = Rules(model.name, model.limits) if model.limits else None
    purse = Purse(model.name, model.budgets) if model.budgets else None
    capped = purse is not None or (rules is not None and rules.tokens is not None)
    ends = choose.shares([model.targets[number].weight for number in drawn])
    adapts = model.adaptive and len(weights) > 1
    return Route(model, ends, tuple(plans), rules, purse, capped, shadow=_shadow(model, places), adapts=adapts)


def _prices(names: Sequence[str], places: Mapping[str, Place]) -> tuple[Price, ...]:
    known = (places[name].price for name in names if name in places)
    return tuple(dict.fromkeys(price.ceiling for price in known if price))


def _shadow(model: Model, places: Mapping[str, Place]) -> Shadow | None:
    if model.shadow is None:
        return None
    name = model.shadow.deployment
    return Shadow(model.shadow.share, plan_of_one(name, places, f"the shadow of {model.name}: {name}"))


def plan_of_one(name: str, places: Mapping[str, Place], explained: str) -> Plan:
    """Return the plan by which a single deployment is tried, and no other."""
    return Plan((name,), (1.0,), _prices((name,), places), ("route", explained))


def _with_cache(
    route: Route, config: Config, places: Mapping[str, Place], replicas: Mapping[str, Sequence[Replica]]
) -> Route:
    stores = any(places[name].owners for name in route.plans[0].names if name in places)
    rule = rule_of(route.model, route.capped, config.deployments, replicas, stores=stores)
    return route if rule is None else msgspec.structs.replace(route, cache=rule)
