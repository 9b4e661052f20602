"""Journal records to fill the tables with."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.journal.records import Opened, Outcome, Settled
from penstock.types.usage import Usage, UsageSource

AT = 1_700_000_000_000_000_000


def opened(number: int, reserved_nano: int = 5_000, **changes: Any) -> Opened:
    exchange = Opened(f"req-{number:06d}", AT + number, "key1", "acme", "chat", "chat", reserved_nano)
    return msgspec.structs.replace(exchange, **changes)


def settled(number: int, **changes: Any) -> Settled:
    exchange = Settled(
        id=f"req-{number:06d}",
        at_ns=AT + number,
        key="key1",
        tenant="acme",
        model="chat",
        operation="chat",
        stream=False,
        deployment="mini",
        status=200,
        outcome=Outcome.ANSWERED,
        usage=Usage(10, 5, 2, UsageSource.UPSTREAM),
        cost_nano=300,
        duration_ms=12.5,
        first_content_ms=3.25,
        explanation=(("identity", "key key1"), ("route", "chat: mini — least outstanding")),
        trace_id="0af7651916cd43dd8448eb211c80319c",
    )
    return msgspec.structs.replace(exchange, **changes)
