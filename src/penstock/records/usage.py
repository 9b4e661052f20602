"""
What was used and what it cost: sums of the ledger, without what Penstock refused.

They are kept by day with each entry of the ledger, in the same transaction: once with everything apart, and once for
each of what people look at alone, which are far fewer rows. A period that begins or ends within a day
is summed from the ledger for that part. An exchange with several tags is in the sums of each of them.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Executable,
    Select,
    and_,
    case,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.journal.records import Outcome, Settled
from penstock.records import tags
from penstock.records.database import insert_adding
from penstock.records.schema import bounded, clean, ledger, usage_days

DAY_NS = 86_400_000_000_000
_ERRORS = (Outcome.FAILED, Outcome.LOST)
_APART = {
    "day": frozenset({"day"}),
    "tenant": frozenset({"day", "tenant"}),
    "user": frozenset({"day", "tenant", "user"}),
    "key": frozenset({"day", "tenant", "key"}),
    "model": frozenset({"day", "model"}),
    "deployment": frozenset({"day", "deployment"}),
    "all": frozenset({"day", "tenant", "key", "model", "deployment", "user"}),
    "tag": frozenset({"day", "tag"}),
    tags.APART: frozenset({"day", "tenant", "tag"}),
    "tag key": frozenset({"day", "tenant", "key", "user", "tag"}),
    "tag model": frozenset({"day", "tenant", "model", "deployment", "tag"}),
}
"""What the rows keep apart, by the name that they have; the fewest first, and those with a row per tag last."""
_GROUPS = ("day", "tenant", "key", "model", "deployment", "user", "tag")
_NONE: tuple[int | str, ...] = (0, "", "", "", "", "", "")  # what stands in their place where they are not kept apart
_WHOLE = _GROUPS[:5]  # a key has one user
_BASES = (frozenset({"tenant", "key", "user"}), frozenset({"day", "model", "deployment"}), frozenset({"tag"}))
"""What parts of days are summed by; every way within one of these is made of it."""
_SUMS = (
    "requests",
    "errors",
    "unpriced",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_nano",
)


class Selection(msgspec.Struct, frozen=True):
    """
    Which exchanges to sum; None selects all.

    Attributes:
        since_ns: arrived at or after, nanoseconds since the epoch.
        until_ns: arrived before.
        tag: that has this one: `team=search`.
    """

    since_ns: int | None = None
    until_ns: int | None = None
    tenant: str | None = None
    key: str | None = None
    model: str | None = None
    deployment: str | None = None
    user: str | None = None
    tag: str | None = None


class Tally(msgspec.Struct, frozen=True):
    """
    Sums over the exchanges of one day (UTC, days since the epoch), tenant, key, model, deployment, user and tag.

    Attributes:
        errors: exchanges that failed or were lost.
        unpriced: exchanges whose cost is not known, and not in `cost_nano`.
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
    user: str = ""
    tag: str = ""
    unpriced: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


async def add(connection: AsyncConnection, exchanges: Iterable[Settled]) -> None:
    """Add exchanges that have just come into the ledger."""
    await _change(connection, exchanges, 1)


async def take_back(connection: AsyncConnection, exchanges: Iterable[Settled]) -> None:
    """Take out exchanges that were in the ledger and are not any more."""
    await _change(connection, exchanges, -1)


async def _change(connection: AsyncConnection, exchanges: Iterable[Settled], sign: int) -> None:
    new = [exchange for exchange in exchanges if exchange.outcome is not Outcome.REFUSED]
    kept_tags = await tags.kept(connection, ((one.at_ns // DAY_NS, one.tenant, one.tags) for one in new if one.tags))
    alike: dict[tuple[Any, ...], list[int]] = {}  # most exchanges of a batch differ in nothing that is kept apart
    for exchange in new:
        one = (exchange.tenant, exchange.key, exchange.model, exchange.deployment, exchange.user, exchange.tags)
        _add(alike, (exchange.at_ns // DAY_NS, *one), [sign * amount for amount in _amounts(exchange)])
    sums: dict[tuple[Any, ...], list[int]] = {}
    for (day, *texts, written), amounts in alike.items():
        named = kept_tags.of(day, texts[0], written) if written else ()
        cleaned = (day, *map(clean, texts))
        for apart, kept in _APART.items():
            for tag in named if "tag" in kept else ("",):
                whole = zip(_GROUPS, (*cleaned, tag), strict=True)
                _add(sums, (apart, *(value if name in kept else "" for name, value in whole)), amounts)
    if sums:
        names = ("apart", *_GROUPS)
        rows = [dict(zip((*names, *_SUMS), (*group, *values), strict=True)) for group, values in sums.items()]
        await connection.execute(insert_adding(connection, usage_days, names, _SUMS), rows)


def _add(sums: dict[tuple[Any, ...], list[int]], group: tuple[Any, ...], amounts: Iterable[int]) -> None:
    so_far = sums.get(group)
    sums[group] = list(amounts) if so_far is None else list(map(operator.add, so_far, amounts))


def _amounts(exchange: Settled) -> Iterable[int]:
    """Return what one exchange adds to each of `_SUMS`."""
    used = exchange.usage
    amounts = (
        1,
        exchange.outcome in _ERRORS,
        not exchange.cost_known,
        used.input_tokens,
        used.output_tokens,
        used.cache_read_tokens,
        used.cache_write_tokens,
        used.reasoning_tokens,
        exchange.cost_nano,
    )
    return map(bounded, amounts)


By = tuple[str, ...]
"""What to keep apart: any of day, tenant, key, model, deployment, user, tag. The others are 0 or empty."""


async def tallies(connection: AsyncConnection, selection: Selection, by: By = _WHOLE) -> list[Tally]:
    """Sum the selected exchanges as `listings` does, in one way."""
    return (await listings(connection, selection, [by]))[by]


async def listings(connection: AsyncConnection, selection: Selection, ways: Sequence[By]) -> dict[By, list[Tally]]:
    """
    Sum the selected exchanges in several ways.

    By tag, exchanges without one are left out, and those with several are there several times. Tag together with a key
    or user and a model or deployment is in no sum that is kept, so it is summed from the ledger, which takes long.
    """
    found: dict[By, dict[tuple[Any, ...], list[int]]] = {way: {} for way in ways}
    for query in _queries(selection, ways):
        for (
            number,
            day,
            *texts,
            tag,
            requests,
            errors,
            unpriced,
            read,
            made,
            cached,
            written,
            thought,
            cost,
        ) in await connection.execute(query.statement):
            if not requests:  # the one row that sums over nothing have
                continue
            amounts = (requests, errors, unpriced, read, made, cached, written, thought, cost)
            for way in query.serves[number]:
                for each in _tags(tag, query, selection, way):
                    whole = zip(_GROUPS, _NONE, (int(day), *texts, each), strict=True)
                    group = tuple(value if name in way else none for name, none, value in whole)
                    _add(found[way], group, map(int, amounts))  # sums are decimals in some databases
    names = (*_GROUPS, *_SUMS)
    return {
        way: [Tally(**dict(zip(names, (*group, *values), strict=True))) for group, values in sorted(sums.items())]
        for way, sums in found.items()
    }


class _Query(msgspec.Struct, frozen=True):
    """
    A statement whose rows are: a number, `_GROUPS`, `_SUMS`.

    Attributes:
        serves: by that number, the ways that a row counts for.
        of_ledger: its rows have all tags of their exchanges as one.
    """

    statement: Executable
    serves: tuple[tuple[By, ...], ...]
    of_ledger: bool


def _queries(selection: Selection, ways: Sequence[By]) -> Iterator[_Query]:
    """Yield queries of the sums for the whole days, and one of the ledger for the parts of days at the ends."""
    since, until = selection.since_ns, selection.until_ns
    first = None if since is None else -(-since // DAY_NS)
    last = None if until is None else until // DAY_NS
    narrowed = {name: value for name in _GROUPS[1:] if (value := getattr(selection, name)) is not None}
    kept: list[By] = []
    for way in ways:
        apart = next((name for name, columns in _APART.items() if columns.issuperset({*narrowed, *way})), None)
        if apart is None:
            continue
        kept.append(way)
        if first is None or last is None or first < last:
            days: list[ColumnElement[bool]] = [usage_days.c.apart == apart]
            if first is not None:
                days.append(usage_days.c.day >= first)
            if last is not None:
                days.append(usage_days.c.day < last)
            days += [usage_days.c[name] == clean(value) for name, value in narrowed.items()]
            yield _Query(_sums(0, frozenset(way), usage_days.c).where(*days), ((way,),), of_ledger=False)
    parts = list(_parts(since, until, first, last))
    if parts and kept:
        yield _of_ledger(kept, parts, narrowed)
    if others := [way for way in ways if way not in kept]:
        yield _of_ledger(others, [(since, until)], narrowed)


def _of_ledger(
    ways: Sequence[By], periods: Sequence[tuple[int | None, int | None]], narrowed: Mapping[str, str]
) -> _Query:
    """Return a query of the ledger itself, which reads each row once and sums it as few times as the ways allow."""
    rows = ledger.c
    within = [
        and_(true() if begin is None else rows.at_ns >= begin, true() if end is None else rows.at_ns < end)
        for begin, end in periods
    ]
    conditions = [rows.outcome != Outcome.REFUSED, or_(*within)]
    conditions += [rows[name] == clean(value) for name, value in narrowed.items() if name != "tag"]
    if "tag" in narrowed:  # LIKE may take one letter for another, so `_tags` looks again
        conditions.append((literal(",") + rows.tags + ",").contains(f",{clean(narrowed['tag'])},", autoescape=True))
    each = select(
        (rows.at_ns // literal_column(str(DAY_NS))).label("day"),
        *(rows[name] for name in _GROUPS[1:-1]),
        rows.tags.label("tag"),
        literal_column("1").label("requests"),
        case((rows.outcome.in_(_ERRORS), 1), else_=0).label("errors"),
        case((rows.cost_known == false(), 1), else_=0).label("unpriced"),
        *(rows[name] for name in _SUMS[3:]),
    )
    read = each.where(*conditions).cte("read")
    serves: dict[frozenset[str], list[By]] = {}
    for way in ways:
        base = next((base for base in _BASES if base.issuperset(way)), frozenset(way))
        serves.setdefault(base | ({"tag"} & narrowed.keys()), []).append(way)
    statement = union_all(*(_sums(number, base, read.c) for number, base in enumerate(serves)))
    return _Query(statement, tuple(map(tuple, serves.values())), of_ledger=True)


def _sums(number: int, by: frozenset[str], columns: Any) -> Select[Any]:
    """Return a query for the sums by some columns."""
    groups = [columns[name] if name in by else literal(none) for name, none in zip(_GROUPS, _NONE, strict=True)]
    sums = [func.sum(columns[name]) for name in _SUMS]
    labels = (*_GROUPS, *_SUMS)
    named = [column.label(f"its_{label}") for column, label in zip((*groups, *sums), labels, strict=True)]
    order = sorted(by, key=lambda name: name != "key")  # keys differ soonest, which makes comparing quicker
    return select(literal(number).label("number"), *named).group_by(*(columns[name] for name in order))


def _parts(since: int | None, until: int | None, first: int | None, last: int | None) -> Iterator[tuple[int, int]]:
    """Yield the parts of days, from and to in nanoseconds, that the whole days between `first` and `last` leave out."""
    if since is not None and until is not None and first is not None and last is not None and first > last:
        yield since, until  # both within one day
        return
    if since is not None and first is not None and since < first * DAY_NS:
        yield since, first * DAY_NS
    if until is not None and last is not None and last * DAY_NS < until:
        yield last * DAY_NS, until


def _tags(written: str, query: _Query, selection: Selection, way: By) -> Iterable[str]:
    """Return for which tags a row counts: one, or of the ledger each of several, or none without the right one."""
    if not query.of_ledger or ("tag" not in way and selection.tag is None):
        return (written,)
    names = [name for name in written.split(",") if name and selection.tag in (None, name)]
    return names if "tag" in way else names[:1]
