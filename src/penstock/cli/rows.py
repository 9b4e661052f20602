"""The answers of the admin API as the commands read them; what they do not show is left out."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from penstock.cli.client import Endpoint, Refused

T = TypeVar("T")


class KeyRow(msgspec.Struct, frozen=True):
    """A key without its secret."""

    id: str
    kind: str
    name: str
    tenant: str
    models: list[str] | None
    created_at: str
    role: str | None = None
    expires_at: str | None = None


class MadeKey(msgspec.Struct, frozen=True):
    """A key at the only moment it is shown."""

    id: str
    key: str
    tenant: str = ""
    new_tenant: bool = False


class KeyPage(msgspec.Struct, frozen=True):
    """Some keys; `next` is what to ask for the page after it."""

    keys: list[KeyRow]
    next: str | None = None


class TenantRow(msgspec.Struct, frozen=True):
    """A tenant."""

    id: str
    models: list[str] | None
    suspended_at: str | None


class TenantRows(msgspec.Struct, frozen=True):
    """All tenants."""

    tenants: list[TenantRow]


class Figures(msgspec.Struct, frozen=True):
    """Sums over exchanges."""

    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_nano: int
    cost_usd: str
    day: str = ""
    tenant: str = ""
    key: str = ""
    name: str = ""
    model: str = ""
    deployment: str = ""
    user: str = ""
    tag: str = ""
    unpriced: int = 0


class Usage(msgspec.Struct, frozen=True):
    """What was asked and what it cost."""

    totals: Figures
    by_day: list[Figures]
    by_tenant: list[Figures]
    by_key: list[Figures]
    by_model: list[Figures]
    by_deployment: list[Figures]
    by_user: list[Figures] = []
    by_tag: list[Figures] = []


class RequestRow(msgspec.Struct, frozen=True):
    """An exchange in a listing."""

    id: str
    at: str
    key: str
    model: str
    deployment: str
    status: int
    outcome: str
    input_tokens: int
    output_tokens: int
    cost_usd: str | None


class RequestPage(msgspec.Struct, frozen=True):
    """The latest exchanges."""

    requests: list[RequestRow]


class Decision(msgspec.Struct, frozen=True):
    """One step of an exchange and what it decided."""

    step: str
    decision: str


class Explanation(msgspec.Struct, frozen=True):
    """Why an exchange went as it did."""

    explanation: list[Decision]


def read(endpoint: Endpoint, answer: Any, kind: type[T]) -> T:
    """
    Return an answer as what it should be.

    Raises:
        Refused: it is something else, as from another version or another program.
    """
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        raise Refused(f"{endpoint.name} answered something else than this version expects: {error}", 200) from error
