"""
The records of the journal.

They are written as arrays, without the names of their fields: what is added later goes to the end and has a default.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from penstock.types.usage import Usage


class Outcome(StrEnum):
    """How an exchange ended."""

    ANSWERED = "answered"  # the whole answer was sent
    CANCELLED = "cancelled"  # the client left
    FAILED = "failed"  # the upstream failed, before or after content
    REFUSED = "refused"  # Penstock said no before anything was dispatched
    LOST = "lost"  # opened, and its worker died before it was settled; only control writes this


class Opened(msgspec.Struct, frozen=True, array_like=True, tag="o"):
    """
    Written before an exchange is dispatched.

    Attributes:
        id: the request id, unique.
        at_ns: nanoseconds since the epoch.
        reserved_nano: upper estimate of the cost, in nano-dollars.
        user, tags: as in `Settled`.
    """

    id: str
    at_ns: int
    key: str
    tenant: str
    model: str
    operation: str
    reserved_nano: int
    user: str = ""
    tags: str = ""


class Settled(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """
    Written once, before the last byte of the answer leaves. Complete in itself.

    Attributes:
        at_ns: when the request came in, nanoseconds since the epoch.
        deployment: what answered, or empty.
        status: the HTTP status sent to the client (499 when it left before one was).
        duration_ms: from the request's arrival to this record.
        first_content_ms: from the request's arrival to the first content of the answer, or None.
        explanation: one `(step, decision)` per decision, in order.
        trace_id: W3C trace id, or empty.
        cost_known: False where something was used whose price nobody knows; `cost_nano` is 0 then.
        price: the version of the price that was in force; empty where none was, or none was known.
        user: whose key it was, see `gateway.identity.caller.Caller`.
        tags: what the client said it is for, `env=prod,team=search`: by name, each name once.
    """

    id: str
    at_ns: int
    key: str
    tenant: str
    model: str
    operation: str
    stream: bool
    deployment: str
    status: int
    outcome: Outcome
    usage: Usage
    cost_nano: int
    duration_ms: float
    first_content_ms: float | None
    explanation: tuple[tuple[str, str], ...]
    trace_id: str = ""
    error: str = ""
    cost_known: bool = True
    price: str = ""
    user: str = ""
    tags: str = ""


Record = Opened | Settled
