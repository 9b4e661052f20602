"""The ledger: one row per exchange, for ever."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, and_, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.journal.records import Outcome, Settled
from penstock.records.database import insert_new
from penstock.records.schema import bounded, ledger
from penstock.types.usage import Usage, UsageSource

_ERRORS = (Outcome.FAILED, Outcome.LOST)


class Selection(msgspec.Struct, frozen=True):
    """
    Which exchanges to sum; None selects all.

    Attributes:
        since_ns: arrived at or after, nanoseconds since the epoch.
        until_ns: arrived before.
    """

    since_ns: int | None = None
    until_ns: int | None = None
    key: str | None = None
    model: str | None = None
    tenant: str | None = None


class Tally(msgspec.Struct, frozen=True):
    """
    Sums over the exchanges of one key and model that were not refused.

    Attributes:
        errors: exchanges that failed or were lost.
    """

    key: str
    tenant: str
    model: str
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cost_nano: int


async def add(connection: AsyncConnection, exchanges: Sequence[Settled]) -> int:
    """Add exchanges; one whose id is there already is left as it was. Return how many were new."""
    if not exchanges:
        return 0
    result = await connection.execute(insert_new(ledger), [_row(exchange) for exchange in exchanges])
    return result.rowcount


async def get(connection: AsyncConnection, request_id: str) -> Settled | None:
    """Return one exchange."""
    row = (await connection.execute(select(ledger).where(ledger.c.request_id == request_id))).one_or_none()
    return _settled(row) if row is not None else None


async def page(connection: AsyncConnection, limit: int, before: str | None) -> list[Settled]:
    """Return up to `limit` exchanges, newest first, that come before the one with the id `before`."""
    query = select(ledger).order_by(ledger.c.at_ns.desc(), ledger.c.request_id.desc()).limit(limit)
    if before is not None:
        at = select(ledger.c.at_ns).where(ledger.c.request_id == before).scalar_subquery()
        query = query.where(or_(ledger.c.at_ns < at, and_(ledger.c.at_ns == at, ledger.c.request_id < before)))
    return [_settled(row) for row in await connection.execute(query)]


async def tallies(connection: AsyncConnection, selection: Selection) -> list[Tally]:
    """Sum the selected exchanges by key, tenant and model."""
    group = (ledger.c.key, ledger.c.tenant, ledger.c.model)
    query = (
        select(
            *group,
            func.count().label("requests"),
            func.sum(case((ledger.c.outcome.in_(_ERRORS), 1), else_=0)).label("errors"),
            func.sum(ledger.c.input_tokens).label("input_tokens"),
            func.sum(ledger.c.output_tokens).label("output_tokens"),
            func.sum(ledger.c.cache_read_tokens).label("cache_read_tokens"),
            func.sum(ledger.c.cost_nano).label("cost_nano"),
        )
        .where(ledger.c.outcome != Outcome.REFUSED, *_conditions(selection))
        .group_by(*group)
        .order_by(*group)
    )
    return [_tally(row) for row in await connection.execute(query)]


def _conditions(selection: Selection) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if selection.since_ns is not None:
        conditions.append(ledger.c.at_ns >= selection.since_ns)
    if selection.until_ns is not None:
        conditions.append(ledger.c.at_ns < selection.until_ns)
    for column, value in (
        (ledger.c.key, selection.key),
        (ledger.c.model, selection.model),
        (ledger.c.tenant, selection.tenant),
    ):
        if value is not None:
            conditions.append(column == value)
    return conditions


def _tally(row: Row[Any]) -> Tally:
    return Tally(
        key=row.key,
        tenant=row.tenant,
        model=row.model,
        requests=row.requests,
        errors=int(row.errors),  # sums are decimals in some databases
        input_tokens=int(row.input_tokens),
        output_tokens=int(row.output_tokens),
        cache_read_tokens=int(row.cache_read_tokens),
        cost_nano=int(row.cost_nano),
    )


def _row(exchange: Settled) -> dict[str, Any]:
    usage = exchange.usage
    return {
        "request_id": exchange.id,
        "at_ns": exchange.at_ns,
        "key": exchange.key,
        "tenant": exchange.tenant,
        "model": exchange.model,
        "operation": exchange.operation,
        "stream": exchange.stream,
        "deployment": exchange.deployment,
        "status": exchange.status,
        "outcome": exchange.outcome.value,
        "input_tokens": bounded(usage.input_tokens),
        "output_tokens": bounded(usage.output_tokens),
        "cache_read_tokens": bounded(usage.cache_read_tokens),
        "usage_source": usage.source.value,
        "cost_nano": bounded(exchange.cost_nano),
        "duration_ms": _finite(exchange.duration_ms),
        "first_content_ms": None if exchange.first_content_ms is None else _finite(exchange.first_content_ms),
        "explanation": exchange.explanation,
        "trace_id": exchange.trace_id,
        "error": exchange.error,
    }


def _settled(row: Row[Any]) -> Settled:
    return Settled(
        id=row.request_id,
        at_ns=row.at_ns,
        key=row.key,
        tenant=row.tenant,
        model=row.model,
        operation=row.operation,
        stream=row.stream,
        deployment=row.deployment,
        status=row.status,
        outcome=Outcome(row.outcome),
        usage=Usage(row.input_tokens, row.output_tokens, row.cache_read_tokens, UsageSource(row.usage_source)),
        cost_nano=row.cost_nano,
        duration_ms=row.duration_ms,
        first_content_ms=row.first_content_ms,
        explanation=tuple((step, decision) for step, decision in row.explanation),
        trace_id=row.trace_id,
        error=row.error,
    )


def _finite(number: float) -> float:
    return number if math.isfinite(number) else 0.0
