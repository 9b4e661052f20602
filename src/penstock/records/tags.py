"""
Which tags have sums of their own.

Clients choose tags, so their number has a bound: of each tenant and day the first thousand. What comes with others is
summed as `(other)`; the ledger has them all.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from penstock.records.schema import clean, usage_days

APART = "tenant tag"  # of the rows that keep tags apart, and tenants
MOST = 1000
OTHER = "(other)"  # no tag has brackets

_OURS = usage_days.c.apart == literal_column(f"'{APART}'")  # written out, or SQLite would not use the index for it

_Owner = tuple[int, str]


class Kept:
    """Which tags of each day and tenant have sums of their own; None for an owner that may have more yet."""

    def __init__(self, known: dict[_Owner, set[str]]) -> None:
        self._known = known

    def of(self, day: int, tenant: str, written: str) -> tuple[str, ...]:
        """Return the tags of an exchange as they are summed, each once."""
        names = clean(written).split(",")
        known = self._known.get((day, clean(tenant)))
        if known is None:
            return tuple(names)
        for name in names:
            if len(known) < MOST:
                known.add(name)
        return tuple(dict.fromkeys(name if name in known else OTHER for name in names))


async def kept(connection: AsyncConnection, exchanges: Iterable[tuple[int, str, str]]) -> Kept:
    """
    Find out for exchanges that are about to be summed.

    Args:
        exchanges: day, tenant and tags of each.
    """
    new: dict[_Owner, set[str]] = {}
    for day, tenant, written in exchanges:
        new.setdefault((day, clean(tenant)), set()).update(clean(written).split(","))
    if not new:
        return Kept({})
    rows = usage_days.c
    counts: dict[_Owner, int] = {}
    for day in {day for day, _ in new}:  # one or two; all at once would not find its way by the index
        tenants = [tenant for one, tenant in new if one == day]
        query = select(rows.tenant, func.count()).where(_OURS, rows.day == day, rows.tenant.in_(tenants))
        for tenant, number in await connection.execute(query.group_by(rows.tenant)):
            counts[day, tenant] = number
    full = {}
    for owner, names in new.items():
        if counts.get(owner, 0) + len(names) > MOST:  # seldom: only then it matters which they are
            day, tenant = owner
            known = await connection.scalars(select(rows.tag).where(_OURS, rows.day == day, rows.tenant == tenant))
            full[owner] = set(known) - {OTHER}
    return Kept(full)
