"""
What one exchange sees: configuration, callers and replicas, compiled once per change and then never altered.

An exchange takes the view at the door and keeps it; everything that can fail happens while a new one is prepared.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from penstock.gateway.identity.caller import Caller, compile_callers
from penstock.gateway.upstream import secrets
from penstock.gateway.upstream.endpoint import Endpoint, Endpoints
from penstock.gateway.upstream.providers import PROVIDERS
from penstock.gateway.upstream.providers.provider import Provider
from penstock.pricing.price import Price
from penstock.snapshot.config import Config, Deployment, GatewaySettings, Model
from penstock.snapshot.fleet import Fleet, Replica, ReplicaState
from penstock.snapshot.principals import Principals
from penstock.types.address import Address
from penstock.types.errors import NoCapacity

# A ready replica counts too: when an exchange finds it dead, its successor is on its way.
_COMING = frozenset({ReplicaState.STARTING, ReplicaState.WEDGED, ReplicaState.READY})


class Place(msgspec.Struct, frozen=True):
    """
    A deployment, ready to be called.

    Attributes:
        model: the name to ask the upstream for.
        headers: ready-made header lines, the credential among them; never logged.
        endpoints: where it answers now; empty when no replica is ready.
        slots: exchanges each endpoint may have in progress from this process.
        engine: its replicas are ours.
        coming: a replica is starting or about to be restarted, so waiting makes sense.
        problem: why there is no endpoint, as one sentence, or empty.
    """

    name: str
    provider: Provider
    model: str
    price: Price
    headers: bytes
    endpoints: tuple[Endpoint, ...]
    slots: int
    engine: bool
    coming: bool
    problem: str


class View(msgspec.Struct, frozen=True):
    """One consistent state of everything a request path reads."""

    version: int
    models: Mapping[str, Model]
    places: Mapping[str, Place]
    callers: Mapping[str, tuple[bytes, Caller]]
    settings: GatewaySettings

    @property
    def ready(self) -> bool:
        """Tell whether some model can be answered now (or none is configured at all)."""
        names = {name for model in self.models.values() for name in (*_targets(model), *model.fallback)}
        return not names or any(self.places[name].endpoints for name in names)


EMPTY = View(0, {}, {}, {}, GatewaySettings())


def compile_view(
    config: Config, principals: Principals | None, fleet: Fleet | None, endpoints: Endpoints, environ: Mapping[str, str]
) -> View:
    """Prepare a view. Endpoints are looked up, so their counts carry over; those no longer named are retired."""
    replicas: dict[str, list[Replica]] = {}
    for replica in fleet.replicas if fleet else ():
        replicas.setdefault(replica.deployment, []).append(replica)
    places = {
        deployment.name: _place(deployment, replicas.get(deployment.name, []) if fleet else None, endpoints, environ)
        for deployment in config.deployments.values()
    }
    endpoints.keep(endpoint.address for place in places.values() for endpoint in place.endpoints)
    callers = compile_callers(principals.keys if principals else {})
    return View(config.version, config.models, places, callers, config.gateway)


def _targets(model: Model) -> tuple[str, ...]:
    return tuple(target.deployment for target in model.targets)


def _described(replica: Replica) -> str:
    state = f"{replica.name} is {replica.state}"
    return f"{state}: {replica.detail}" if replica.detail else state


def _place(
    deployment: Deployment, replicas: list[Replica] | None, endpoints: Endpoints, environ: Mapping[str, str]
) -> Place:
    """Compile one deployment; `replicas` is None where no node runs engines, so that none is coming either."""
    provider = PROVIDERS[deployment.provider]
    found: list[Endpoint] = []
    problem, secret = "", None
    if deployment.engine:
        for replica in replicas or ():
            if replica.state is ReplicaState.READY:
                address = Address(unix=replica.socket, path="/v1")
                found.append(endpoints.get(replica.name, address, deployment.slots))
        if not found:
            problem = "; ".join(_described(replica) for replica in replicas or ()) or "no replica has been started"
    else:
        try:
            secret = secrets.resolve(deployment.api_key, environ) if deployment.api_key else None
        except NoCapacity as error:
            problem = str(error)
        if deployment.address is not None and not problem:
            found.append(endpoints.get(deployment.name, deployment.address, deployment.slots))
    return Place(
        name=deployment.name,
        provider=provider,
        model=deployment.model,
        price=deployment.price,
        headers=provider.headers(secret),
        endpoints=tuple(found),
        slots=deployment.slots,
        engine=deployment.engine,
        coming=replicas is not None and (not replicas or any(replica.state in _COMING for replica in replicas)),
        problem=problem,
    )
