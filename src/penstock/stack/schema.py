"""
The keys of `penstock.yaml`: the one place that knows them.

The models are also the frozen result. Defaults are written as in the file and read the same way. A model's `planned`
keys are those the design has and this version has not; they get a sentence of their own.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from penstock import bundled
from penstock.auth.secrets import SecretRef
from penstock.snapshot.config import Balance
from penstock.stack import cloud, place, quantity, word
from penstock.stack.keypath import KeyPath
from penstock.stack.listen import Listen
from penstock.stack.place import Weights
from penstock.stack.policies import Policy, PolicyName, PolicyRef
from penstock.stack.reader import Unfit, shown, unknown
from penstock.stack.section import Section, at_most, default, distinct, one_as_list
from penstock.stack.units import Duration, Share, Size
from penstock.types.address import Address
from penstock.types.dialect import Dialect

VERSION = 1
VARIANTS = frozenset({"<engine>", "<provider>", "<list>", "<weights>"})  # tags in the places pydantic names

DeploymentName = Annotated[str, word.identifier("deployment")]
ModelName = Annotated[
    str,
    word.name(
        r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}",
        "of a model has 1 to 128 of: letters, digits, '.', '_', '-', ':', '/'; it starts with a letter or digit",
    ),
]
DeploymentRef = Annotated[str, word.reference("deployment")]


class Tls(Section):
    """The certificate of a port."""

    certificate: Annotated[str, place.path()] = Field(description="PEM file with the certificate chain.")
    key: Annotated[str, place.path()] = Field(description="PEM file with the private key.")


class Gateway(Section):
    """The data plane."""

    planned = frozenset({"fsync"})

    listen: Annotated[Listen, place.address()] = default(
        "127.0.0.1:8080", "Address of the data port: host:port. Port 0 lets the system choose."
    )
    workers: Annotated[int, quantity.whole(1, 64)] = default(1, "Worker processes that share the data port.")
    ops: Annotated[Listen, place.address()] = default(
        "127.0.0.1:8082", "Address of the ops port of this host: /metrics and /readyz."
    )
    max_body: Annotated[Size, quantity.size("1KiB", "1GiB")] = default(
        "32MiB", "Largest request body, a size; larger ones get 413."
    )
    drain: Annotated[Duration, quantity.duration("0s", "1h")] = default(
        "30s", "How long streams may go on when a worker is asked to stop, a duration."
    )
    notice: Annotated[Duration, quantity.duration("0s", "10m")] = default(
        "0s", "How long connections are taken after /readyz says no, when a host is asked to stop, a duration."
    )
    commit_after: Annotated[Duration, quantity.duration("100ms", "10m")] = default(
        "15s", "Silence of an upstream after which a stream's status line is sent, a duration."
    )
    cache: Annotated[Size, quantity.size("0B", "64GiB")] = default(
        "64MiB", "Memory of each worker for answers that are kept, where a policy says so; a size."
    )
    tls: Tls | None = Field(default=None, description="Serve the data port over TLS 1.2 and 1.3.")


class Admin(Section):
    """The admin API."""

    listen: Annotated[Listen, place.address()] = default("127.0.0.1:8081", "Address of the admin port.")
    tls: Tls | None = Field(default=None, description="Serve the admin port over TLS 1.2 and 1.3.")


class State(Section):
    """Where Penstock keeps what must last."""

    planned = frozenset({"fsync"})

    database: Annotated[SecretRef | str, place.server("sqlite", "postgresql://host/penstock")] = default(
        "sqlite", "The database of ledger and keys: sqlite, or the address of a PostgreSQL: ${NAME} or file:/path."
    )
    counters: Annotated[SecretRef | str, place.server("local", "redis://host:6379/0")] = default(
        "local", "Where limits are counted: local for one host, or the address of a Redis: ${NAME} or file:/path."
    )
    cache: Annotated[SecretRef | str, place.server("local", "redis://host:6379/0")] = default(
        "local",
        "Where kept answers are beside the workers' memory: local for nowhere, or the address of a Redis: "
        "${NAME} or file:/path.",
    )


class Audio(Section):
    """What sound costs."""

    input: Annotated[Decimal | None, quantity.usd()] = Field(
        default=None, description="USD per million prompt tokens that are sound, where they were not cached."
    )
    output: Annotated[Decimal | None, quantity.usd()] = Field(
        default=None, description="USD per million generated tokens that are sound."
    )


class Rates(Section):
    """What tokens cost, by their kind."""

    input: Annotated[Decimal | None, quantity.usd()] = Field(default=None, description="USD per million prompt tokens.")
    output: Annotated[Decimal | None, quantity.usd()] = Field(
        default=None, description="USD per million generated tokens."
    )
    cache_read: Annotated[Decimal | None, quantity.usd()] = Field(
        default=None, description="USD per million prompt tokens that came from the upstream's cache; else as `input`."
    )
    cache_write: Annotated[Decimal | None, quantity.usd()] = Field(
        default=None, description="USD per million prompt tokens that went into the upstream's cache; else as `input`."
    )
    cache_write_1h: Annotated[Decimal | None, quantity.usd()] = Field(
        default=None, description="The same where they stay there for an hour; else as `cache_write`."
    )
    reasoning: Annotated[Decimal | None, quantity.usd()] = Field(
        default=None, description="USD per million generated tokens that are thoughts; else as `output`."
    )
    audio: Audio = default({}, "What sound costs; else as `input` and `output`.")


class Price(Rates):
    """What a deployment charges. What is not named is as in the price book, for a provider's model that is there."""

    batch: Rates | None = Field(
        default=None, description="What is charged for a batch, where it differs; what is not named is as without it."
    )


def _price_of_weights(engine: dict[str, Any]) -> dict[str, Decimal]:
    """Return the price of an engine that names none: that of its weights where they are ours, else it is free."""
    weights = engine.get("weights")  # not there when it was refused
    if weights is None or weights.bundled is None:
        return {}
    known = bundled.model(weights.bundled)
    return {"input": known.input_usd, "output": known.output_usd}


class Engine(Section):
    """A deployment that Penstock runs itself."""

    engine: Annotated[str, word.choice("llama.cpp", planned=["vllm", "sglang"])] = Field(
        description="The program that runs the weights."
    )
    weights: Annotated[Weights, place.weights()] = Field(
        description="bundled:NAME, or the path of a GGUF file, relative to this file."
    )
    replicas: Annotated[int, quantity.whole(0, 64)] = default(1, "Copies to run; 0 keeps the deployment and runs none.")
    context: Annotated[int, quantity.whole(64, 16_777_216)] = default(
        2048, "Tokens per sequence, prompt and answer together."
    )
    parallel: Annotated[int, quantity.whole(1, 1024)] = default(8, "Sequences that a replica decodes together.")
    threads: Annotated[int | None, quantity.whole(1, 1024)] = Field(
        default=None, description="CPU threads per replica; the engine chooses when it is not given."
    )
    queue: Annotated[int, quantity.whole(0, 65_536)] = default(
        64, "Exchanges that may wait per replica beyond `parallel`, over all workers; more get 503."
    )
    balance: Annotated[str, word.choice(*Balance)] = default(
        Balance.LEAST_OUTSTANDING.value, "How one of several replicas is chosen for an exchange."
    )
    prompt_cache: Annotated[int | None, quantity.whole(1, 1 << 40)] = Field(
        default=None, description="Tokens of prompts that each replica keeps, where known; for `balance: prefix`."
    )
    price: Price = Field(
        default_factory=_price_of_weights, validate_default=True, description="What the deployment charges."
    )


_OF_ANTHROPIC = frozenset({Dialect.MESSAGES, Dialect.COUNT})


class Provider(cloud.Cloud):
    """A hosted model."""

    provider: Annotated[
        str,
        word.choice(
            "openai",
            "anthropic",
            *cloud.PARTS,
            otherwise="; any OpenAI-compatible server is reached with provider: openai and its base_url",
        ),
    ] = default("openai", "The protocol that the other side speaks.")
    base_url: Annotated[Address, place.base_url()] = default(
        "https://api.openai.com/v1",
        "Where it is: https://, http:// or unix:/path.sock. That of a cloud follows from the keys that are its own.",
    )
    speaks: Annotated[
        tuple[Annotated[str, word.choice(*(dialect.value for dialect in Dialect))], ...],
        AfterValidator(distinct),
        BeforeValidator(one_as_list, json_schema_input_type=str | list[str]),
    ] = Field(default=(), description="The dialects that it understands, where it differs from its provider.")
    model: Annotated[str, word.text(256)] = Field(description="The model's name over there.")
    api_key: Annotated[SecretRef | None, place.secret()] = Field(
        default=None, description="Where its credential is: ${NAME} or file:/path. Never the credential itself."
    )
    ca: Annotated[str | None, place.path()] = Field(
        default=None, description="PEM file with the certificates to trust instead of the system's."
    )
    max_in_flight: Annotated[int, quantity.whole(1, 65_536)] = default(
        1024, "Exchanges in flight at once, over all workers."
    )
    queue: Annotated[int, quantity.whole(0, 65_536)] = default(
        64, "Exchanges that may wait beyond `max_in_flight`, over all workers; more get 503."
    )
    price: Price = default({}, "What the deployment charges.")

    @model_validator(mode="after")
    def _consistent(self) -> Provider:
        cloud.check(self.provider, self.model_fields_set)
        if self.ca is not None and not self.base_url.tls:
            raise Unfit("ca goes with an https:// base_url")
        if self.provider == "anthropic" and not _OF_ANTHROPIC.issuperset(self.speaks):
            raise Unfit(f"what speaks like Anthropic has no other dialects than {' and '.join(sorted(_OF_ANTHROPIC))}")
        return self


def _engine_or_provider(data: object) -> str:
    """Tell by its keys what a deployment is, once it is known to be one of them."""
    if not isinstance(data, dict):
        return "<engine>"  # either says that it wants a mapping
    keys = {key for key, value in data.items() if value is not None}
    hosted = "engine" not in keys and keys & {"provider", "base_url", "api_key"}
    return "<provider>" if hosted else "<engine>"


def _one_of_them(data: object) -> object:
    """Refuse a deployment whose keys do not say what it is, or contradict each other."""
    if not isinstance(data, dict):
        return data
    keys = {key for key, value in data.items() if value is not None}
    hosted = next((key for key in ("provider", "base_url") if key in keys), None)
    if "engine" in keys and hosted is not None:
        raise Unfit(f"has engine: (Penstock runs it) and {hosted}: (a hosted model); it is one of them, not both")
    if keys & {"engine", "weights", "api_key"} or hosted is not None:
        return data
    known = {*Engine.model_fields, *Provider.model_fields}
    strange = next((key for key in data if key not in known), None)
    needed = "needs engine: (Penstock runs it) or provider: (a hosted model)"
    raise Unfit(needed if strange is None else f"{needed}; {shown(strange)} is an {unknown(strange, known)}")


Deployment = Annotated[
    Annotated[Engine, Tag("<engine>")] | Annotated[Provider, Tag("<provider>")],
    Discriminator(_engine_or_provider),
    BeforeValidator(_one_of_them),
]


class Timeout(Section):
    """How long an exchange may take."""

    first_token: Annotated[Duration, quantity.duration("1ms", "1d")] = default(
        "30s", "From dispatch to the first content, waiting for capacity included; never more than `total`."
    )
    total: Annotated[Duration, quantity.duration("1ms", "7d")] = default("600s", "From dispatch to the end.")

    @model_validator(mode="after")
    def _in_order(self) -> Timeout:
        if "first_token" in self.model_fields_set and self.first_token > self.total:
            raise Unfit(f"first_token ({self.first_token}) is longer than total ({self.total})")
        return self


def _list_or_weights(data: object) -> str:
    return "<weights>" if isinstance(data, dict) else "<list>"


def _some(targets: tuple[str, ...] | dict[str, Decimal]) -> tuple[str, ...] | dict[str, Decimal]:
    if not targets:
        raise Unfit("needs at least one deployment")
    return targets


Names = Annotated[tuple[DeploymentRef, ...], AfterValidator(distinct), at_most(64)]
Weighted = Annotated[dict[DeploymentRef, Annotated[Decimal, quantity.weight()]], at_most(64)]
Targets = Annotated[
    Annotated[Names, Tag("<list>")] | Annotated[Weighted, Tag("<weights>")],
    Discriminator(_list_or_weights),
    BeforeValidator(one_as_list, json_schema_input_type=str | list[str] | dict[str, float]),
    AfterValidator(_some),
]


class Shadow(Section):
    """Copies of a share of the traffic go to another deployment, whose answers are compared and given to nobody."""

    deployment: DeploymentRef = Field(description="The deployment that the copies go to.")
    share: Annotated[Share, quantity.share()] = Field(
        description="Of the exchanges that are answered, how many are copied: a percentage such as 10%."
    )


class Model(Section):
    """A name that clients ask for. `chat: mini` is short for `chat: {targets: [mini]}`."""

    planned = frozenset({"splits"})

    route: Annotated[str, word.choice("weighted", planned=["tiered", "cascade"])] = default(
        "weighted", "How a deployment is chosen."
    )
    targets: Targets = Field(description="The deployments to choose from: a name, a list, or {name: weight}.")
    fallback: Annotated[Names, BeforeValidator(one_as_list, json_schema_input_type=str | list[str])] = Field(
        default=(), description="Deployments to try in order when the chosen one fails before any content."
    )
    timeout: Timeout = default({}, "How long an exchange may take.")
    policies: Annotated[
        tuple[PolicyRef, ...],
        AfterValidator(distinct),
        at_most(16),
        BeforeValidator(one_as_list, json_schema_input_type=str | list[str]),
    ] = Field(default=(), description="The policies that an exchange must pass, all of them.")
    shadow: Shadow | None = Field(
        default=None, description="Compare another deployment's answers with those that clients get."
    )

    @model_validator(mode="after")
    def _compares_two(self) -> Model:
        if self.shadow is not None and {*self.weights, *self.fallback} == {self.shadow.deployment}:
            raise Unfit(f"shadow: {self.shadow.deployment!r} is all that answers, so it would be compared with itself")
        return self

    @property
    def weights(self) -> dict[str, Decimal]:
        """The targets with their weights; those of a list weigh the same."""
        return dict(self.targets) if isinstance(self.targets, dict) else dict.fromkeys(self.targets, Decimal(1))


def _short(data: object) -> object:
    return {"targets": data} if isinstance(data, str | list) else data


_SHORTHAND = BeforeValidator(_short, json_schema_input_type=str | list[str] | Model)


class Root(Section):
    """The stack: what Penstock is to run."""

    version: Annotated[int, quantity.version(VERSION)] = Field(description="Version of this file's format.")
    gateway: Gateway = default({})
    admin: Admin = default({})
    state: State = default({})
    deployments: Annotated[dict[DeploymentName, Deployment], at_most(1000)] = Field(
        default={}, description="What answers: engines that Penstock runs, and hosted models."
    )
    models: Annotated[dict[ModelName, Annotated[Model, _SHORTHAND]], at_most(1000)] = Field(
        default={}, description="The names that clients ask for, and the deployments behind them."
    )
    policies: Annotated[dict[PolicyName, Policy], at_most(1000)] = Field(
        default={}, description="What exchanges must pass; models name theirs."
    )


def keeps_reference(path: KeyPath) -> bool:
    """Tell for which values `${NAME}` stays a reference, because they are secrets or hold some."""
    match path:
        case ("deployments", _, "api_key" | "service_account") | ("state", "database" | "counters" | "cache"):
            return True
        case ("deployments", _, "aws", _) | ("deployments", _, "entra", "client_secret"):
            return True
    return False


def section_at(steps: KeyPath) -> type[Section] | None:
    """
    Return the section at a place as pydantic names it, where the tag of a variant (`<engine>`) is a step of its own.

    None when what is there is not a section.
    """
    kind: Any = Root
    for step in steps:
        if isinstance(kind, type) and issubclass(kind, Section):
            kind = kind.model_fields[str(step)].annotation
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
        elif get_origin(kind) is tuple:
            kind = get_args(kind)[0]
        else:
            kind = next(variant for variant in get_args(kind) if Tag(str(step)) in get_args(variant))
        while get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        if type(None) in get_args(kind):
            kind = next(variant for variant in get_args(kind) if variant is not type(None))
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:penstock:stack:{VERSION}",
        **Root.model_json_schema(),
        "title": "penstock.yaml",
    }
