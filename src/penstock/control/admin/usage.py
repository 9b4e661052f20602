"""`/admin/v1/usage`: what was asked and what it cost."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from fastapi import FastAPI, Query
from pydantic import BaseModel, Field

from penstock.control.admin.access import Role, allow
from penstock.control.admin.moments import to_ns
from penstock.control.fold import Fold
from penstock.pricing.price import usd
from penstock.records import keys, ledger
from penstock.records.database import Database
from penstock.records.ledger import Selection, Tally

_PATIENCE_S = 5.0

_Name = Annotated[str | None, Query(max_length=256)]


class Figures(BaseModel):
    """Sums over exchanges. Those that Penstock refused are not in them."""

    requests: int
    errors: int = Field(description="of these: failed, or lost with a gateway worker")
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int = Field(description="the part of `input_tokens` served from an upstream's cache")
    cost_nano: int = Field(description="nano-dollars")
    cost_usd: str = Field(description="the same in dollars, exact")


class KeyFigures(Figures):
    """Sums of one key."""

    key: str = Field(description="the key's id; `local` for this machine's user on the Unix socket")
    name: str
    tenant: str


class ModelFigures(Figures):
    """Sums of one model, by the name that was asked for."""

    model: str


class UsageView(BaseModel):
    """What was asked and what it cost: in all, by key and by model."""

    totals: Figures
    by_key: list[KeyFigures]
    by_model: list[ModelFigures]


def mount(app: FastAPI, database: Database, fold: Fold) -> None:
    """Serve the sums."""

    @app.get("/admin/v1/usage", dependencies=[allow(Role.ADMIN)], tags=["usage"])
    async def usage(
        since: Annotated[datetime | None, Query(description="arrived at or after; UTC without a zone")] = None,
        until: Annotated[datetime | None, Query(description="arrived before")] = None,
        key: _Name = None,
        model: _Name = None,
        tenant: _Name = None,
    ) -> UsageView:
        """Sum the ledger, everything answered so far included."""
        await fold.catch_up(_PATIENCE_S)
        selection = Selection(
            since_ns=None if since is None else to_ns(since),
            until_ns=None if until is None else to_ns(until),
            key=key,
            model=model,
            tenant=tenant,
        )
        async with database.read() as connection:
            tallies = await ledger.tallies(connection, selection)
            names = await keys.names(connection)
        by_key: dict[tuple[str, str], list[Tally]] = {}
        by_model: dict[str, list[Tally]] = {}
        for tally in tallies:
            by_key.setdefault((tally.key, tally.tenant), []).append(tally)
            by_model.setdefault(tally.model, []).append(tally)
        return UsageView(
            totals=_sum(tallies),
            by_key=[
                KeyFigures(key=key_id, name=names.get(key_id, ""), tenant=owner, **_sum(group).model_dump())
                for (key_id, owner), group in by_key.items()
            ],
            by_model=[ModelFigures(model=name, **_sum(group).model_dump()) for name, group in sorted(by_model.items())],
        )


def _sum(tallies: Iterable[Tally]) -> Figures:
    group = list(tallies)
    cost = sum(tally.cost_nano for tally in group)
    return Figures(
        requests=sum(tally.requests for tally in group),
        errors=sum(tally.errors for tally in group),
        input_tokens=sum(tally.input_tokens for tally in group),
        output_tokens=sum(tally.output_tokens for tally in group),
        cache_read_tokens=sum(tally.cache_read_tokens for tally in group),
        cost_nano=cost,
        cost_usd=usd(cost),
    )
