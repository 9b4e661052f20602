"""What gateways need to know of the stack. Secrets travel as references, never as values."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from penstock.auth.secrets import SecretRef
from penstock.pricing.period import Period
from penstock.pricing.price import Price
from penstock.snapshot.credential import Credential
from penstock.types.address import Address
from penstock.types.dialect import Dialect
from penstock.types.priority import Priority


class Balance(StrEnum):
    """Which of its replicas a deployment's exchanges go to."""

    LEAST_OUTSTANDING = "least_outstanding"
    ROUND_ROBIN = "round_robin"
    PEAK_EWMA = "peak_ewma"
    PREFIX = "prefix"
    SESSION = "session"


class Deployment(msgspec.Struct, frozen=True):
    """
    Something that answers.

    Attributes:
        provider: the name in `penstock.gateway.upstream.PROVIDERS`; engines speak `openai`.
        model: the name to ask the upstream for.
        price: None when it is not known; what it answers then has no cost that could be told.
        engine: True when replicas come from the fleet; then `address` is None.
        address: where a hosted provider is.
        api_key: the upstream's credential, if it is one that goes into a header line as it is.
        credential: if it is another one: what signs requests, or is exchanged for a token.
        seats: exchanges that it works on at once, of all workers of a host together: for each replica of an engine, in
            all for a provider.
        queue: exchanges that may wait for one of them, likewise.
        balance: how one of several replicas is chosen.
        speaks: the dialects that it understands; empty for those that its provider has.
        prompt_cache: tokens of prompts that each replica keeps, if that is known.
        context: tokens that prompt and answer can have together, if that is known.
        references: requests may name what the provider's account keeps, whichever tenant they are of.
        zone: where a provider is; empty where that is not said. An engine is where the gateways are that reach it.
    """

    name: str
    provider: str
    model: str
    engine: bool
    price: Price | None
    seats: int
    queue: int
    address: Address | None = None
    api_key: SecretRef | None = None
    balance: Balance = Balance.LEAST_OUTSTANDING
    speaks: tuple[Dialect, ...] = ()
    credential: Credential | None = None
    prompt_cache: int | None = None
    context: int | None = None
    references: bool = False
    zone: str = ""


class Target(msgspec.Struct, frozen=True):
    """One deployment a route may choose, with its weight (> 0)."""

    deployment: str
    weight: float = 1.0


class Measure(StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"  # in any minute
    TOKENS = "tokens"  # in any minute
    CONCURRENCY = "concurrency"  # exchanges in progress


class Outage(StrEnum):
    """What a limit does while nobody can be asked what is left of it."""

    DENY = "deny"
    LOCAL_SHARE = "local_share"  # each worker admits its even share
    ALLOW = "allow"

    @staticmethod
    def strictest(outages: Iterable[Outage]) -> Outage:
        """Return the strictest of some, at least one."""
        return min(outages, key=list(Outage).index)


class Limit(msgspec.Struct, frozen=True):
    """
    How much may be asked of the models with its policy, all of them together.

    Attributes:
        per: whom it counts for, each combination for itself: of key, tenant, model, address; in this order.
        most: requests, tokens or exchanges.
    """

    policy: str
    per: tuple[str, ...]
    measure: Measure
    most: int
    on_outage: Outage


class Budget(msgspec.Struct, frozen=True):
    """
    How much may be spent on the models with its policy, all of them together.

    Attributes:
        id: of what is counted together; another set of models is another one.
        per: whom it counts for, each combination for itself: of key, user, tenant, model; in this order.
        models: that have its policy.
        most_nano: nano-dollars of a period.
    """

    id: str
    policy: str
    per: tuple[str, ...]
    period: Period
    models: tuple[str, ...]
    most_nano: int
    on_outage: Outage


class Cache(msgspec.Struct, frozen=True):
    """
    Which answers of a model are kept and given again to the same tenant for the same request.

    Attributes:
        ttl_s: seconds that each of them is.
        max_entry: bytes; what is larger is not kept.
    """

    ttl_s: float
    max_entry: int


class Shadow(msgspec.Struct, frozen=True):
    """
    Where copies of a model's exchanges go, to be compared.

    Attributes:
        share: of the exchanges that are answered, above 0 and up to 1.
    """

    deployment: str
    share: float


class Model(msgspec.Struct, frozen=True):
    """
    A name that clients ask for.

    Attributes:
        fallback: deployments tried in order when the chosen one fails before content.
        first_token_s: seconds from dispatch to the first content, waiting for capacity included.
        total_s: seconds from dispatch to the end.
        created: seconds since the epoch, for `/v1/models`.
        limits, budgets: of all its policies.
        priority: of its exchanges, unless their clients want a lower one.
        cache: None where nothing is kept.
        shadow: None where nothing is compared.
        adaptive: the weights of targets are those of the best; others get less, by what they can do at the moment.
    """

    name: str
    targets: tuple[Target, ...]
    fallback: tuple[str, ...]
    first_token_s: float
    total_s: float
    created: int
    limits: tuple[Limit, ...] = ()
    budgets: tuple[Budget, ...] = ()
    priority: Priority = Priority.NORMAL
    cache: Cache | None = None
    shadow: Shadow | None = None
    adaptive: bool = False


class Tls(msgspec.Struct, frozen=True):
    """Paths of the PEM files of the data port's certificate chain and key."""

    certificate: str
    key: str


class GatewaySettings(msgspec.Struct, frozen=True):
    """
    Attributes:
        max_body: bytes.
        drain_s: seconds that streams may go on after SIGTERM.
        commit_after_s: seconds of upstream silence after which a stream's 200 goes out.
        workers: that share the limits.
        counters: where the address of the Redis is that counts for all hosts; None where the node counts.
        cache: bytes of answers that each worker keeps in memory.
        shared_cache: where the address of the Redis is in which all hosts keep answers; None for nowhere.
    """

    max_body: int = 32 * 1024 * 1024
    drain_s: float = 30.0
    commit_after_s: float = 15.0
    tls: Tls | None = None
    workers: int = 1
    counters: SecretRef | None = None
    notice_s: float = 0.0
    cache: int = 64 * 1024 * 1024
    shared_cache: SecretRef | None = None


class Config(msgspec.Struct, frozen=True):
    """The stack as gateways see it. `version` grows with each change."""

    version: int
    deployments: dict[str, Deployment]
    models: dict[str, Model]
    gateway: GatewaySettings
