"""`/admin/v1/usage`: what was asked and what it cost."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Annotated, Any

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field

from penstock.auth.roles import Permission
from penstock.control.admin.access import Caller, allow
from penstock.control.admin.moments import to_ns
from penstock.control.fold import Fold
from penstock.pricing.price import usd
from penstock.records import keys
from penstock.records import usage as records
from penstock.records.database import Database
from penstock.records.usage import Selection, Tally

_PATIENCE_S = 5.0
_DAYS, _TENANTS, _MODELS, _DEPLOYMENTS = ("day",), ("tenant",), ("model",), ("deployment",)
_KEYS, _USERS, _TAGS = ("tenant", "key"), ("tenant", "user"), ("tag",)
_LISTINGS = (_DAYS, _TENANTS, _KEYS, _USERS, _MODELS, _DEPLOYMENTS, _TAGS)

_Name = Annotated[str | None, Query(max_length=256)]


class Figures(BaseModel):
    """Sums over exchanges. Those that Penstock refused are not in them."""

    requests: int
    errors: int = Field(description="of these: failed, or lost with a gateway worker")
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = Field(description="the part of `input_tokens` served from an upstream's cache")
    cache_write_tokens: int = Field(description="the part of `input_tokens` put into an upstream's cache")
    reasoning_tokens: int = Field(description="the part of `output_tokens` that is thoughts")
    unpriced: int = Field(description="of the requests: those whose price nobody knows; they are not in the cost")
    cost_nano: int = Field(description="nano-dollars")
    cost_usd: str = Field(description="the same in dollars, exact")


class DayFigures(Figures):
    """Sums of one day."""

    day: date = Field(description="in UTC")


class TenantFigures(Figures):
    """Sums of one tenant."""

    tenant: str


class KeyFigures(Figures):
    """Sums of one key."""

    key: str = Field(description="the key's id; `local` for this machine's user on the Unix socket")
    name: str
    tenant: str


class UserFigures(Figures):
    """Sums of all keys of one user."""

    user: str = Field(description="with the tenant: `acme/ann`; a key of nobody's stands for itself")
    tenant: str


class TagFigures(Figures):
    """Sums of the exchanges that have one tag; one with several is in the sums of each."""

    tag: str = Field(description="`team=search`; `(other)` beyond the first thousand of a tenant and day")


class ModelFigures(Figures):
    """Sums of one model, by the name that was asked for."""

    model: str


class DeploymentFigures(Figures):
    """Sums of what one deployment answered; without a name, what was lost before one did."""

    deployment: str


class UsageView(BaseModel):
    """
    What was asked and what it cost: in all, and by what it can be told apart by.

    Days are in their order, everything else has the dearest first.
    """

    totals: Figures
    by_day: list[DayFigures]
    by_tenant: list[TenantFigures]
    by_key: list[KeyFigures]
    by_user: list[UserFigures]
    by_model: list[ModelFigures]
    by_deployment: list[DeploymentFigures]
    by_tag: list[TagFigures]


def mount(app: FastAPI, database: Database, fold: Fold) -> None:
    """Serve the sums."""

    @app.get("/admin/v1/usage", tags=["usage"])
    async def usage(
        caller: Annotated[Caller, allow(Permission.READ_USAGE)],
        since: Annotated[datetime | None, Query(description="arrived at or after; UTC without a zone")] = None,
        until: Annotated[datetime | None, Query(description="arrived before")] = None,
        tenant: _Name = None,
        key: _Name = None,
        model: _Name = None,
        deployment: _Name = None,
        user: _Name = None,
        tag: Annotated[str | None, Query(max_length=256, description="that has this tag: `team=search`")] = None,
        limit: Annotated[int, Query(ge=1, le=10_000, description="rows in each listing; the totals have all")] = 100,
    ) -> UsageView:
        """Sum the ledger, everything answered so far included."""
        await fold.catch_up(_PATIENCE_S)
        selection = Selection(
            since_ns=None if since is None else to_ns(since),
            until_ns=None if until is None else to_ns(until),
            tenant=caller.narrowed(tenant),
            key=key,
            model=model,
            deployment=deployment,
            user=user,
            tag=tag,
        )
        async with database.read() as connection:
            found = await records.listings(connection, selection, _LISTINGS)
            dearest = {by: sorted(rows, key=lambda row: -row.cost_nano)[:limit] for by, rows in found.items()}
            names = await keys.names(connection, [row.key for row in dearest[_KEYS]])
        return UsageView(
            totals=_sum(found[_TENANTS]),
            by_day=[DayFigures(day=_date(row.day), **_figures(row)) for row in found[_DAYS][-limit:]],
            by_tenant=[TenantFigures(tenant=row.tenant, **_figures(row)) for row in dearest[_TENANTS]],
            by_key=[
                KeyFigures(key=row.key, name=names.get(row.key, ""), tenant=row.tenant, **_figures(row))
                for row in dearest[_KEYS]
            ],
            by_user=[UserFigures(user=row.user, tenant=row.tenant, **_figures(row)) for row in dearest[_USERS]],
            by_model=[ModelFigures(model=row.model, **_figures(row)) for row in dearest[_MODELS]],
            by_deployment=[
                DeploymentFigures(deployment=row.deployment, **_figures(row)) for row in dearest[_DEPLOYMENTS]
            ],
            by_tag=[TagFigures(tag=row.tag, **_figures(row)) for row in dearest[_TAGS]],
        )


def _date(day: int) -> date:
    return date(1970, 1, 1) + timedelta(days=day)


def _figures(tally: Tally) -> dict[str, Any]:
    return _sum([tally]).model_dump()


def _sum(tallies: Iterable[Tally]) -> Figures:
    group = list(tallies)
    cost = sum(tally.cost_nano for tally in group)
    return Figures(
        requests=sum(tally.requests for tally in group),
        errors=sum(tally.errors for tally in group),
        input_tokens=sum(tally.input_tokens for tally in group),
        output_tokens=sum(tally.output_tokens for tally in group),
        cache_read_tokens=sum(tally.cache_read_tokens for tally in group),
        cache_write_tokens=sum(tally.cache_write_tokens for tally in group),
        reasoning_tokens=sum(tally.reasoning_tokens for tally in group),
        unpriced=sum(tally.unpriced for tally in group),
        cost_nano=cost,
        cost_usd=usd(cost),
    )
