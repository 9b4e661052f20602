"""`/admin/v1/requests`: single exchanges, and why each went as it did."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import FastAPI, Path, Query
from pydantic import BaseModel, Field

from penstock.auth.roles import Permission
from penstock.control.admin.access import Caller, allow
from penstock.control.admin.errors import Refused
from penstock.control.admin.moments import from_ns
from penstock.control.fold import Fold
from penstock.journal.records import Outcome, Settled
from penstock.pricing.price import usd
from penstock.records import ledger
from penstock.records.database import Database
from penstock.types.usage import UsageSource

_MAX_PAGE = 1000
_PATIENCE_S = 5.0


class Decision(BaseModel):
    """One step of the request path and what it decided."""

    step: str
    decision: str


class RequestView(BaseModel):
    """One exchange, as the ledger has it."""

    id: str
    at: datetime
    key: str
    tenant: str
    model: str
    operation: str
    stream: bool
    deployment: str
    status: int = Field(description="HTTP status sent to the client; 0 when it is not known")
    outcome: Outcome
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    usage_source: UsageSource
    cost_nano: int = Field(description="nano-dollars")
    cost_usd: str
    duration_ms: float
    first_content_ms: float | None
    trace_id: str
    error: str
    explanation: list[Decision]


class RequestList(BaseModel):
    """A page of exchanges, newest first."""

    requests: list[RequestView]
    next: str | None = Field(description="`before` of the next page; null on the last one")


def mount(app: FastAPI, database: Database, fold: Fold) -> None:
    """Serve the exchanges."""

    @app.get("/admin/v1/requests", tags=["requests"])
    async def list_requests(
        caller: Annotated[Caller, allow(Permission.READ_REQUESTS)],
        tenant: Annotated[str | None, Query(max_length=256, description="only of this tenant")] = None,
        limit: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = 50,
        before: Annotated[str | None, Query(max_length=256, description="`next` of the page before")] = None,
    ) -> RequestList:
        """List exchanges, newest first, refused ones too."""
        await fold.catch_up(_PATIENCE_S)
        async with database.read() as connection:
            found = await ledger.page(connection, limit + 1, before, caller.narrowed(tenant))
        shown = found[:limit]
        return RequestList(
            requests=[_view(exchange) for exchange in shown], next=shown[-1].id if len(found) > limit else None
        )

    @app.get("/admin/v1/requests/{request_id}", tags=["requests"])
    async def get(
        caller: Annotated[Caller, allow(Permission.READ_REQUESTS)],
        request_id: Annotated[str, Path(max_length=256, description="the `x-request-id` of its answer")],
    ) -> RequestView:
        """Explain one exchange: its key, route, deployment, retries, tokens and price."""
        await fold.catch_up(_PATIENCE_S)
        async with database.read() as connection:
            exchange = await ledger.get(connection, request_id)
        if exchange is None or not caller.sees(exchange.tenant):
            raise Refused(HTTPStatus.NOT_FOUND, "there is no settled exchange with this id")
        return _view(exchange)


def _view(exchange: Settled) -> RequestView:
    usage = exchange.usage
    return RequestView(
        id=exchange.id,
        at=from_ns(exchange.at_ns),
        key=exchange.key,
        tenant=exchange.tenant,
        model=exchange.model,
        operation=exchange.operation,
        stream=exchange.stream,
        deployment=exchange.deployment,
        status=exchange.status,
        outcome=exchange.outcome,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        usage_source=usage.source,
        cost_nano=exchange.cost_nano,
        cost_usd=usd(exchange.cost_nano),
        duration_ms=exchange.duration_ms,
        first_content_ms=exchange.first_content_ms,
        trace_id=exchange.trace_id,
        error=exchange.error,
        explanation=[Decision(step=step, decision=decision) for step, decision in exchange.explanation],
    )
