"""The policy for exchanges whose gateway worker died before it settled them: kept in the ledger and not charged."""

from __future__ import annotations

from penstock.journal.records import Opened, Outcome, Settled
from penstock.pricing.price import usd
from penstock.types.usage import Usage


def settle(opened: Opened) -> Settled:
    """Return the ledger entry of a lost exchange. What it used is unknown, so it is charged nothing."""
    return Settled(
        id=opened.id,
        at_ns=opened.at_ns,
        key=opened.key,
        tenant=opened.tenant,
        model=opened.model,
        operation=opened.operation,
        stream=False,
        deployment="",
        status=0,
        outcome=Outcome.LOST,
        usage=Usage(),
        cost_nano=0,
        duration_ms=0.0,
        first_content_ms=None,
        explanation=(
            ("lost", "the gateway worker ended before it settled this exchange"),
            ("cost", f"{usd(opened.reserved_nano)} USD were reserved; a lost exchange is charged nothing"),
        ),
        error="the gateway worker ended before it settled this exchange",
        user=opened.user,
        tags=opened.tags,
    )
