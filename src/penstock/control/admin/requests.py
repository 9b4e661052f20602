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
    cache_read_tokens: int = Field(description="the part of `input_tokens` served from an upstream's cache")
    cache_write_tokens: int = Field(description="the part of `input_tokens` put into an upstream's cache")
    cache_write_1h_tokens: int = Field(description="the part of `cache_write_tokens` that stays there for an hour")
    reasoning_tokens: int = Field(description="the part of `output_tokens` that is thoughts")
    audio_input_tokens: int = Field(description="the part of `input_tokens` that is sound")
    audio_output_tokens: int = Field(description="the part of `output_tokens` that is sound")
    batch: bool = Field(description="charged as a batch")
    usage_source: UsageSource
    cost_nano: int | None = Field(description="nano-dollars; null where nobody knows the price")
    cost_usd: str | None = Field(description="the same in dollars, exact")
    price: str = Field(description="version of the price that was in force; empty where none was, or none is known")
    user: str = Field(description="whose key it was, with the tenant; of a key of nobody's the key")
    tags: dict[str, str] = Field(description="what the client said it was for")
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
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        audio_input_tokens=usage.audio_input_tokens,
        audio_output_tokens=usage.audio_output_tokens,
        batch=usage.batch,
        usage_source=usage.source,
        cost_nano=exchange.cost_nano if exchange.cost_known else None,
        cost_usd=usd(exchange.cost_nano) if exchange.cost_known else None,
        price=exchange.price,
        user=exchange.user,
        tags=dict(tag.split("=", 1) for tag in exchange.tags.split(",") if "=" in tag),
        duration_ms=exchange.duration_ms,
        first_content_ms=exchange.first_content_ms,
        trace_id=exchange.trace_id,
        error=exchange.error,
        explanation=[Decision(step=step, decision=decision) for step, decision in exchange.explanation],
    )
