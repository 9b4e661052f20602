"""
What was used and what it cost: sums of the ledger, without what Penstock refused.

They are kept by day with each entry of the ledger, in the same transaction: once with everything apart, and once for
each of what people look at alone, which are far fewer rows. A period that begins or ends within a day
is summed from the ledger for that part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, Select, Table, and_, case, func, literal, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.journal.records import Outcome, Settled
from penstock.records.database import insert_adding
from penstock.records.schema import bounded, clean, ledger, usage_days

DAY_NS = 86_400_000_000_000
_ERRORS = (Outcome.FAILED, Outcome.LOST)
_APART = {
    "day": frozenset({"day"}),
    "tenant": frozenset({"day", "tenant"}),
    "key": frozenset({"day", "tenant", "key"}),
    "model": frozenset({"day", "model"}),
    "deployment": frozenset({"day", "deployment"}),
    "all": frozenset({"day", "tenant", "key", "model", "deployment"}),
}
"""What the rows keep apart, by the name that they have; the fewest first."""
_GROUPS = ("day", "tenant", "key", "model", "deployment")
_SUMS = ("requests", "errors", "input_tokens", "output_tokens", "cache_read_tokens", "cost_nano")


class Selection(msgspec.Struct, frozen=True):
    """
    Which exchanges to sum; None selects all.

    Attributes:
        since_ns: arrived at or after, nanoseconds since the epoch.
        until_ns: arrived before.
    """

    since_ns: int | None = None
    until_ns: int | None = None
    tenant: str | None = None
    key: str | None = None
    model: str | None = None
    deployment: str | None = None


class Tally(msgspec.Struct, frozen=True):
    """
    Sums over the exchanges of one day (UTC, days since the epoch), tenant, key, model and deployment.

    Attributes:
        errors: exchanges that failed or were lost.
    """

    day: int
    tenant: str
    key: str
    model: str
    deployment: str
    requests: int
    errors: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cost_nano: int


async def add(connection: AsyncConnection, exchanges: Iterable[Settled]) -> None:
    """Add exchanges that have just come into the ledger."""
    sums: dict[tuple[Any, ...], list[int]] = {}
    for exchange in exchanges:
        if exchange.outcome is Outcome.REFUSED:
            continue
        texts = (exchange.tenant, exchange.key, exchange.model, exchange.deployment)
        whole = (exchange.at_ns // DAY_NS, *map(clean, texts))
        usage = exchange.usage
        amounts = (1, exchange.outcome in _ERRORS, usage.input_tokens, usage.output_tokens, usage.cache_read_tokens)
        for apart, kept in _APART.items():
            group = (apart, *(value if name in kept else "" for name, value in zip(_GROUPS, whole, strict=True)))
            so_far = sums.setdefault(group, [0] * len(_SUMS))
            for index, amount in enumerate((*amounts, exchange.cost_nano)):
                so_far[index] += bounded(amount)
    if sums:
        names = ("apart", *_GROUPS)
        rows = [dict(zip((*names, *_SUMS), (*group, *values), strict=True)) for group, values in sums.items()]
        await connection.execute(insert_adding(connection, usage_days, names, _SUMS), rows)


async def tallies(connection: AsyncConnection, selection: Selection, by: Sequence[str] = _GROUPS) -> list[Tally]:
    """
    Sum the selected exchanges.

    Args:
        by: what to keep apart: any of day, tenant, key, model, deployment. The others are 0 or empty.
    """
    found: dict[tuple[Any, ...], list[int]] = {}
    for query in _queries(selection, by):
        for row in await connection.execute(query):
            if not row.requests:  # the one row that sums over nothing have
                continue
            so_far = found.setdefault(_group(row), [0] * len(_SUMS))
            for index, name in enumerate(_SUMS):
                so_far[index] += int(getattr(row, name))  # sums are decimals in some databases
    return [Tally(*group, *values) for group, values in sorted(found.items())]


def _queries(selection: Selection, by: Sequence[str]) -> Iterator[Select[Any]]:
    """Yield a query for the whole days, and one for the parts of days at the ends."""
    since, until = selection.since_ns, selection.until_ns
    first = None if since is None else -(-since // DAY_NS)
    last = None if until is None else until // DAY_NS
    narrowed = {name for name in _GROUPS[1:] if getattr(selection, name) is not None}
    apart = next(name for name, kept in _APART.items() if kept.issuperset({*narrowed, *by}))
    days: list[ColumnElement[bool]] = [usage_days.c.apart == apart]
    if first is not None:
        days.append(usage_days.c.day >= first)
    if last is not None:
        days.append(usage_days.c.day < last)
    if first is None or last is None or first < last:
        yield _query(usage_days, [func.sum(usage_days.c[name]).label(name) for name in _SUMS], days, selection, by)
    parts = list(_parts(since, until, first, last))
    if parts:
        at, outcome = ledger.c.at_ns, ledger.c.outcome
        ranges = or_(*(and_(at >= begin, at < end) for begin, end in parts))
        sums = [
            func.count().label("requests"),
            func.sum(case((outcome.in_(_ERRORS), 1), else_=0)).label("errors"),
            *(func.sum(ledger.c[name]).label(name) for name in _SUMS[2:]),
        ]
        yield _query(ledger, sums, [outcome != Outcome.REFUSED, ranges], selection, by)


def _parts(since: int | None, until: int | None, first: int | None, last: int | None) -> Iterator[tuple[int, int]]:
    """Yield the parts of days, from and to in nanoseconds, that the whole days between `first` and `last` leave out."""
    if since is not None and until is not None and first is not None and last is not None and first > last:
        yield since, until  # both within one day
        return
    if since is not None and first is not None and since < first * DAY_NS:
        yield since, first * DAY_NS
    if until is not None and last is not None and last * DAY_NS < until:
        yield last * DAY_NS, until


def _query(
    table: Table,
    sums: Sequence[ColumnElement[Any]],
    conditions: Sequence[ColumnElement[bool]],
    selection: Selection,
    by: Sequence[str],
) -> Select[Any]:
    day = table.c.day if table is usage_days else (ledger.c.at_ns // literal_column(str(DAY_NS)))
    columns = {name: day if name == "day" else table.c[name] for name in by}
    empty = {name: literal(0 if name == "day" else "") for name in _GROUPS}
    narrowed = [
        table.c[name] == clean(value) for name in _GROUPS[1:] if (value := getattr(selection, name)) is not None
    ]
    query = select(*(columns.get(name, empty[name]).label(name) for name in _GROUPS), *sums)
    return query.where(*conditions, *narrowed).group_by(*columns.values())


def _group(row: Row[Any]) -> tuple[Any, ...]:
    return (int(row.day), row.tenant, row.key, row.model, row.deployment)
