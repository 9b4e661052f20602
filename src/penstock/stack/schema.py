"""
The keys of `penstock.yaml`: the one place that knows them.

The models are also the frozen result. Defaults are written as in the file and read the same way. A model's `planned`
keys are those the design has and this version has not; they get a sentence of their own.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from penstock.auth.secrets import SecretRef
from penstock.stack import place, quantity, word
from penstock.stack.deployments import Deployment, DeploymentName, DeploymentRef
from penstock.stack.keypath import KeyPath
from penstock.stack.listen import Listen
from penstock.stack.policies import Policy, PolicyName, PolicyRef
from penstock.stack.reader import Unfit
from penstock.stack.section import Section, at_most, default, distinct, one_as_list
from penstock.stack.units import Duration, Share, Size

VERSION = 1
VARIANTS = frozenset({"<engine>", "<provider>", "<list>", "<weights>"})  # tags in the places pydantic names

ModelName = Annotated[
    str,
    word.name(
        r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}",
        "of a model has 1 to 128 of: letters, digits, '.', '_', '-', ':', '/'; it starts with a letter or digit",
    ),
]


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
    weights: Annotated[str, word.choice("fixed", "adaptive")] = default(
        "fixed", "Whether targets are drawn by their weights as they are, or by these and what each can do lately."
    )
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
        if self.shadow is not None and {*self.weighted, *self.fallback} == {self.shadow.deployment}:
            raise Unfit(f"shadow: {self.shadow.deployment!r} is all that answers, so it would be compared with itself")
        return self

    @property
    def weighted(self) -> dict[str, Decimal]:
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
