"""What budgets had spent when the node began to count: the ledger's sums, for whoever keeps the counters."""

from __future__ import annotations

import msgspec


class Standing(msgspec.Struct, frozen=True):
    """
    What one budget has spent.

    Attributes:
        since_day: first day of the period that is summed, days since the epoch.
        spent_nano: by subject, see `subject`; who is not here has spent nothing.
        told: version of the document that had it first since it came into force.
    """

    since_day: int
    spent_nano: dict[str, int]
    told: int


class Standings(msgspec.Struct, frozen=True):
    """All budgets by their ids. `version` grows with each change."""

    version: int
    budgets: dict[str, Standing]


def subject(values: tuple[str, ...]) -> str:
    """Return the name of whom a budget counts for: its key, user, tenant, model, as far as it tells them apart."""
    return " ".join(values)


def sum_name(budget: str, begins: int, whom: str) -> str:
    """Return the name of the counter of what a budget has spent for a subject in the period that begins on this day."""
    return f"{budget} {begins} {whom}"
