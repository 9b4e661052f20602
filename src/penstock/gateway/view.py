"""
What one exchange sees: configuration, callers and replicas, compiled once per change and then never altered.

An exchange takes the view at the door and keeps it; everything that can fail happens while a new one is prepared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from penstock.auth.secrets import SecretMissing, resolve
from penstock.counters.seats.seat import Size
from penstock.gateway.admission.purse import Purse
from penstock.gateway.admission.rules import Rules
from penstock.gateway.cache.rule import Rule, rule_of
from penstock.gateway.identity.caller import Callers
from penstock.gateway.routing import choose
from penstock.gateway.routing.prompts import UNKNOWN
from penstock.gateway.routing.ways import WAYS
from penstock.gateway.routing.ways import Way as Balancing
from penstock.gateway.translation import TRANSLATIONS
from penstock.gateway.translation.translation import Translation
from penstock.gateway.upstream.credentials.credential import Credential
from penstock.gateway.upstream.endpoint import Endpoint, Endpoints
from penstock.gateway.upstream.providers import PROVIDERS
from penstock.gateway.upstream.providers.provider import Provider
from penstock.pricing.price import Price, described
from penstock.snapshot.config import Config, Deployment, GatewaySettings, Model
from penstock.snapshot.fleet import Fleet, Replica, ReplicaState
from penstock.types.address import Address
from penstock.types.dialect import Dialect
from penstock.types.errors import PenstockError

# A ready replica counts too: when an exchange finds it dead, its successor is on its way.
_COMING = frozenset({ReplicaState.STARTING, ReplicaState.WEDGED, ReplicaState.READY})

_WORKING = frozenset({ReplicaState.READY, ReplicaState.DRAINING})

_ANYWHERE = Address()

_ZONE = "PENSTOCK_ZONE"  # not in the stack file, which is the same for all hosts


class Way(msgspec.Struct, frozen=True):
    """
    How a deployment is asked what a client asks for.

    Attributes:
        dialect: that the deployment understands.
        translation: from the client's, where that is another one.
    """

    dialect: Dialect
    translation: type[Translation] | None


_TOKEN_BYTES = 4  # of a prompt; about so in English text


class Place(msgspec.Struct, frozen=True):
    """
    A deployment, ready to be called.

    Attributes:
        provider: how it is spoken to; None when this gateway does not know its kind, and then there is no endpoint.
        model: the name to ask the upstream for.
        price: None when it is not known.
        headers: ready-made header lines, the credential among them; never logged.
        credential: what adds lines of its own to each request, or None.
        endpoints: where it answers now; empty when no replica is ready.
        size: exchanges that all endpoints together work on at once, and how many may wait, of all workers of the host.
        engine: its replicas are ours.
        coming: a replica is starting or about to be restarted, so waiting makes sense.
        problem: why there is no endpoint, as one sentence, or empty.
        answer_lines: ready-made header lines of what it answers.
        priced: what it charges, for the explanation of an exchange.
        cap_name: what it calls the cap of a chat's output.
        ways: how it is asked, for each dialect that a client may speak; those that are missing it does not have.
        balance: chooses one of several endpoints.
        owners: of the responses that it keeps: its endpoints by name, also those that cannot be asked now. Empty where
            it is not asked in Responses itself.
        context: tokens that prompt and answer can have together, if that is known.
        references: requests may name what its account keeps.
        zone: where it is, if that is said.
        near: it is in the zone of this gateway; an engine is, as only those of this host can be reached.
        measured: weights depend on how it does, so that it is to be counted.
    """

    name: str
    provider: Provider | None
    model: str
    price: Price | None
    headers: bytes
    endpoints: tuple[Endpoint, ...]
    size: Size
    engine: bool
    coming: bool
    problem: str
    answer_lines: bytes
    priced: tuple[str, str]
    cap_name: str
    ways: Mapping[Dialect, Way]
    balance: Balancing[Endpoint]
    credential: Credential | None = None
    owners: tuple[str, ...] = ()
    context: int | None = None
    references: bool = False
    zone: str = ""
    near: bool = False
    measured: bool = False


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
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]
    prices: tuple[Price, ...]
    explained: tuple[str, str]
    near: int = 0


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
        name: _place(deployment, replicas.get(name, []) if fleet else None, endpoints, environ, workers)
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
    return tuple(place.price.ceiling for name in names if (place := places.get(name)) is not None and place.price)


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


def _described(replica: Replica) -> str:
    state = f"{replica.name} is {replica.state}"
    return f"{state}: {replica.detail}" if replica.detail else state


def _place(
    deployment: Deployment,
    replicas: list[Replica] | None,
    endpoints: Endpoints,
    environ: Mapping[str, str],
    workers: int,
) -> Place:
    """Compile one deployment; `replicas` is None where no node runs engines, so that none is coming either."""
    zone = environ.get(_ZONE, "")
    found: list[Endpoint] = []
    headers, problem = b"", ""
    credential: Credential | None = None
    provider = PROVIDERS.get(deployment.provider)
    if provider is None:
        problem = f"this gateway knows no provider {deployment.provider!r}"
    elif deployment.engine:
        for replica in replicas or ():
            if replica.state is ReplicaState.READY:
                address = Address(unix=replica.socket, path="/v1")
                found.append(endpoints.get(replica.name, address, deployment.seats, _kept(deployment, workers)))
        headers = provider.headers(None)
        if not found:
            problem = "; ".join(_described(replica) for replica in replicas or ()) or "no replica has been started"
    elif deployment.address is not None:
        try:
            secret = resolve(deployment.api_key, environ) if deployment.api_key else None
            headers = provider.headers(secret)
            credential = endpoints.keyring.get(deployment.credential) if deployment.credential else None
            found.append(endpoints.get(deployment.name, deployment.address, deployment.seats))
        except SecretMissing as error:
            problem = f"the deployment's credential is missing: {error}"
        except (PenstockError, ValueError) as error:
            problem = str(error)
    coming = deployment.engine and replicas is not None
    coming = coming and (not replicas or any(replica.state in _COMING for replica in replicas or ()))
    ways = {} if provider is None else _ways(provider, deployment)
    return Place(
        name=deployment.name,
        provider=provider,
        model=deployment.model,
        price=deployment.price,
        headers=headers,
        endpoints=tuple(found),
        size=_size(deployment, replicas or (), bool(found), coming),
        engine=deployment.engine,
        coming=coming,
        problem=problem,
        answer_lines=b"x-penstock-deployment: " + deployment.name.encode() + b"\r\n",
        priced=("price", described(deployment.price)),
        cap_name="max_tokens" if provider is None else provider.cap_name(deployment.address or _ANYWHERE),
        ways=ways,
        balance=WAYS[deployment.balance],
        credential=credential,
        owners=_owners(deployment, replicas or (), ways),
        context=deployment.context,
        references=deployment.references,
        zone=deployment.zone,
        near=bool(zone) and (replicas is not None if deployment.engine else deployment.zone == zone),
    )


def _owners(deployment: Deployment, replicas: Iterable[Replica], ways: Mapping[Dialect, Way]) -> tuple[str, ...]:
    way = ways.get(Dialect.RESPONSES)
    if way is None or way.translation is not None:
        return ()
    return tuple(replica.name for replica in replicas) if deployment.engine else (deployment.name,)


def _kept(deployment: Deployment, workers: int) -> int:
    """Return the bytes of prompts from one of the workers that a replica of a deployment keeps; all fill its cache."""
    return UNKNOWN if deployment.prompt_cache is None else deployment.prompt_cache * _TOKEN_BYTES // workers


def _size(deployment: Deployment, replicas: Sequence[Replica], answers: bool, coming: bool) -> Size:
    """
    Return how much a deployment takes. While no replica is ready there is no seat, and all wait that could.

    Replicas that are drained count too: whoever has a seat there is not to keep others from the one that took over.
    """
    if not answers and not coming:
        return Size(0, 0)
    running = working = 1
    if deployment.engine:
        states = [replica.state for replica in replicas]
        working = sum(state in _WORKING for state in states) if answers else 0
        running = max(1, working, sum(state in _COMING for state in states))
    return Size(deployment.seats * working, (deployment.seats + deployment.queue) * running)


def _ways(provider: Provider, deployment: Deployment) -> dict[Dialect, Way]:
    """Say how a deployment is asked in each dialect: in the client's own where it can be, else in a translation."""
    speaks = deployment.speaks or provider.speaks(deployment.address or _ANYWHERE)
    ways = {
        client: Way(upstream, translation)
        for (client, upstream), translation in TRANSLATIONS.items()
        if upstream in speaks
    }
    return ways | {dialect: Way(dialect, None) for dialect in speaks}
