"""One deployment as exchanges see it, compiled with a view: how it is asked, and where it answers now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from penstock.auth.secrets import SecretMissing, resolve
from penstock.counters.seats.seat import Size
from penstock.gateway.dialects.call import BYTES_PER_TOKEN
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
from penstock.snapshot.config import Deployment
from penstock.snapshot.fleet import Replica, ReplicaState
from penstock.types.address import Address
from penstock.types.dialect import Dialect
from penstock.types.errors import PenstockError

# A ready replica counts too: when an exchange finds it dead, its successor is on its way.
_COMING = frozenset({ReplicaState.STARTING, ReplicaState.WEDGED, ReplicaState.READY})

_WORKING = frozenset({ReplicaState.READY, ReplicaState.DRAINING})

_ANYWHERE = Address()


class Way(msgspec.Struct, frozen=True):
    """
    How a deployment is asked what a client asks for.

    Attributes:
        dialect: that the deployment understands.
        translation: from the client's, where that is another one.
    """

    dialect: Dialect
    translation: type[Translation] | None


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


def place_of(
    deployment: Deployment,
    replicas: list[Replica] | None,
    endpoints: Endpoints,
    environ: Mapping[str, str],
    workers: int,
    zone: str,
) -> Place:
    """
    Compile one deployment.

    Args:
        replicas: None where no node runs engines, so that none is coming either.
        zone: of this gateway.
    """
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


def _described(replica: Replica) -> str:
    state = f"{replica.name} is {replica.state}"
    return f"{state}: {replica.detail}" if replica.detail else state


def _owners(deployment: Deployment, replicas: Iterable[Replica], ways: Mapping[Dialect, Way]) -> tuple[str, ...]:
    way = ways.get(Dialect.RESPONSES)
    if way is None or way.translation is not None:
        return ()
    return tuple(replica.name for replica in replicas) if deployment.engine else (deployment.name,)


def _kept(deployment: Deployment, workers: int) -> int:
    """Return the bytes of prompts from one of the workers that a replica of a deployment keeps; all fill its cache."""
    return UNKNOWN if deployment.prompt_cache is None else deployment.prompt_cache * BYTES_PER_TOKEN // workers


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
