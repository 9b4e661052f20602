"""The ledger: one row per exchange, for ever."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, and_, delete, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.journal.records import Outcome, Settled
from penstock.records import usage
from penstock.records.schema import bounded, clean, ledger
from penstock.types.usage import Usage, UsageSource


async def add(connection: AsyncConnection, exchanges: Sequence[Settled]) -> int:
    """
    Add exchanges, and their sums. Return how many were new.

    One whose id is there already is left as it was, unless it was called lost: what it was then takes its place.
    """
    if not exchanges:
        return 0
    ids = [exchange.id for exchange in exchanges]
    known = {
        row.request_id: row for row in await connection.execute(select(ledger).where(ledger.c.request_id.in_(ids)))
    }
    new: dict[str, Settled] = {}
    for exchange in exchanges:
        row = known.get(exchange.id)
        if row is None or (row.outcome == Outcome.LOST and exchange.outcome is not Outcome.LOST):
            new.setdefault(exchange.id, exchange)  # the first counts
    lost = [_settled(known[name]) for name in new if name in known]
    if lost:
        await connection.execute(delete(ledger).where(ledger.c.request_id.in_([exchange.id for exchange in lost])))
        await usage.take_back(connection, lost)
    if new:
        await connection.execute(insert(ledger), [_row(exchange) for exchange in new.values()])
        await usage.add(connection, new.values())
    return len(new)


async def get(connection: AsyncConnection, request_id: str) -> Settled | None:
    """Return one exchange."""
    row = (await connection.execute(select(ledger).where(ledger.c.request_id == request_id))).one_or_none()
    return _settled(row) if row is not None else None


async def page(connection: AsyncConnection, limit: int, before: str | None, tenant: str | None = None) -> list[Settled]:
    """Return up to `limit` exchanges of a tenant or of all, newest first, that come before the one with this id."""
    query = select(ledger).order_by(ledger.c.at_ns.desc(), ledger.c.request_id.desc()).limit(limit)
    if tenant is not None:
        query = query.where(ledger.c.tenant == clean(tenant))
    if before is not None:
        found = select(ledger.c.at_ns).where(ledger.c.request_id == before)
        at = (found if tenant is None else found.where(ledger.c.tenant == clean(tenant))).scalar_subquery()
        query = query.where(or_(ledger.c.at_ns < at, and_(ledger.c.at_ns == at, ledger.c.request_id < before)))
    return [_settled(row) for row in await connection.execute(query)]


def _row(exchange: Settled) -> dict[str, Any]:
    used = exchange.usage
    return {
        "request_id": exchange.id,
        "at_ns": exchange.at_ns,
        "key": exchange.key,
        "tenant": clean(exchange.tenant),
        "model": clean(exchange.model),
        "operation": clean(exchange.operation),
        "stream": exchange.stream,
        "deployment": clean(exchange.deployment),
        "status": exchange.status,
        "outcome": exchange.outcome.value,
        "input_tokens": bounded(used.input_tokens),
        "output_tokens": bounded(used.output_tokens),
        "cache_read_tokens": bounded(used.cache_read_tokens),
        "usage_source": used.source.value,
        "cost_nano": bounded(exchange.cost_nano),
        "duration_ms": _finite(exchange.duration_ms),
        "first_content_ms": None if exchange.first_content_ms is None else _finite(exchange.first_content_ms),
        "explanation": exchange.explanation,
        "trace_id": clean(exchange.trace_id),
        "error": clean(exchange.error),
        "cache_write_tokens": bounded(used.cache_write_tokens),
        "cache_write_1h_tokens": bounded(used.cache_write_1h_tokens),
        "reasoning_tokens": bounded(used.reasoning_tokens),
        "audio_input_tokens": bounded(used.audio_input_tokens),
        "audio_output_tokens": bounded(used.audio_output_tokens),
        "batch": used.batch,
        "cost_known": exchange.cost_known,
        "price": clean(exchange.price),
        "user": clean(exchange.user),
        "tags": clean(exchange.tags),
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
        usage=Usage(
            input_tokens=row.input_tokens,
            output_tokens=row.output_tokens,
            cache_read_tokens=row.cache_read_tokens,
            source=UsageSource(row.usage_source),
            cache_write_tokens=row.cache_write_tokens,
            cache_write_1h_tokens=row.cache_write_1h_tokens,
            reasoning_tokens=row.reasoning_tokens,
            audio_input_tokens=row.audio_input_tokens,
            audio_output_tokens=row.audio_output_tokens,
            batch=row.batch,
        ),
        cost_nano=row.cost_nano,
        duration_ms=row.duration_ms,
        first_content_ms=row.first_content_ms,
        explanation=tuple((step, decision) for step, decision in row.explanation),
        trace_id=row.trace_id,
        error=row.error,
        cost_known=row.cost_known,
        price=row.price,
        user=row.user,
        tags=row.tags,
    )


def _finite(number: float) -> float:
    return number if math.isfinite(number) else 0.0
