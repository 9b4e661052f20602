"""The account of one exchange: opened in the journal before dispatch, settled once, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

import msgspec

from penstock.gateway.admission.hold import Hold
from penstock.gateway.admission.purse import Reservation
from penstock.gateway.cache.flight import Lead
from penstock.gateway.cache.room import Space
from penstock.gateway.dialects.call import Call
from penstock.gateway.dialects.errors import meaning
from penstock.gateway.identity.caller import Caller
from penstock.gateway.metering.metrics import Metrics
from penstock.journal.records import Opened, Outcome, Settled
from penstock.journal.segment import Writer
from penstock.pricing.price import Price, cost_nano
from penstock.types.errors import JournalError, PenstockError
from penstock.types.usage import Usage

_log = logging.getLogger("penstock.exchange")
_CLIENT_LEFT = 499  # never sent; the usual mark for a client that went away first
_MAX_ERROR = 300
_FREE, _NOTHING = Price(), Usage()
_MAX_DECISION = 4000  # characters; what does not fit into the journal could not be settled
_MAX_NANO = 2**63 - 1  # what a row can hold; nine billion dollars


class ExchangeLine(msgspec.Struct, omit_defaults=True):
    """What the log says of an exchange."""

    request_id: str
    key: str
    model: str
    deployment: str
    status: int
    outcome: str
    input_tokens: int
    output_tokens: int
    cost_nano: int
    duration_ms: float
    trace_id: str = ""
    cost_known: bool = True
    error: str = ""


TakesLines = Callable[[ExchangeLine], None]


class Books:
    """
    Where a worker writes its accounts. One per process.

    Args:
        clock: seconds, monotonic.
        log: takes a line for every exchange; None where nobody wants to read them.
    """

    def __init__(
        self,
        journal: Writer,
        metrics: Metrics,
        clock: Callable[[], float],
        log: TakesLines | None = None,
    ) -> None:
        self.journal = journal
        self.metrics = metrics
        self.clock = clock
        self.log = log


class Account(msgspec.Struct):
    """
    The account of one exchange; `with Account(...) as account`.

    Leaving the block settles what has not been settled: as cancelled when the client left, as refused when nothing was
    dispatched, else as failed. Attributes are set by the request path as it learns them.

    Attributes:
        received: clock time at which the request came in.
        deployment: what is answering, or empty.
        provider: its kind, for telemetry.
        price: of that deployment; None when it is not known.
        priced: what that is, for the explanation.
        usage: what is known of the usage so far.
        tags: what the client says it is for, as in the journal.
        cost_known: whether `cost_nano` is what it cost, once it is settled.
        status: the HTTP status sent, 0 before.
        first_content: clock time of the first content, or None.
        label: the model's name for metrics: a configured one, or `other`.
        explanation: one `(step, decision)` per decision, in order.
        at_ns: when the request came in, nanoseconds since the epoch; 0 until it is needed.
        opened, settled: whether that has been written to the journal.
        hold: what it holds of limits, given back when it is settled.
        reservation: what it holds of budgets.
        reserved_nano: the most that it can cost.
        outcome: how it ended, once that is written to the journal.
        lead: of the equal requests that wait for its answer, if it leads; given up at its end.
        space: what its answer takes while it is recorded; given back at its end.
        operation: what kind of call it is, where its dialect does not say it.
    """

    books: Books
    id: str
    caller: Caller
    call: Call
    received: float
    explanation: list[tuple[str, str]]
    trace_id: str = ""
    label: str = "other"
    deployment: str = ""
    provider: str = ""
    price: Price | None = _FREE
    priced: tuple[str, str] | None = None
    usage: Usage = _NOTHING
    tags: str = ""
    cost_nano: int = 0
    cost_known: bool = True
    status: int = 0
    first_content: float | None = None
    at_ns: int = 0
    opened: bool = False
    settled: bool = False
    hold: Hold | None = None
    reservation: Reservation | None = None
    reserved_nano: int = 0
    outcome: Outcome | None = None
    lead: Lead | None = None
    space: Space | None = None
    operation: str = ""

    def explain(self, step: str, decision: str) -> None:
        """Add one decision to the exchange's explanation, cut where it is long: clients' words may be a part of it."""
        self.explanation.append((step, decision[:_MAX_DECISION]))

    def estimate(self, prices: Iterable[Price]) -> None:
        """
        Set the most that the exchange can cost, and when it came in.

        Args:
            prices: of the deployments that may answer; the dearest counts.
        """
        ceiling, most = Usage(self.call.most_input, self.call.most_output), 0
        for price in prices:
            most = max(most, cost_nano(price, ceiling))
        self.reserved_nano = min(most, _MAX_NANO)
        self.at_ns = time.time_ns() - int((self.books.clock() - self.received) * 1e9)

    def open(self) -> None:
        """
        Write that the exchange is about to be dispatched; called before each attempt, written before the first.

        Raises:
            JournalError: it could not be written, so nothing may be dispatched.
        """
        if self.opened:
            return
        call, books, caller = self.call, self.books, self.caller
        books.journal.append(
            Opened(
                self.id,
                self.at_ns,
                caller.key,
                caller.tenant,
                call.model,
                self.operation or call.dialect.operation,
                self.reserved_nano,
                caller.user,
                self.tags,
            )
        )
        self.opened = True
        books.metrics.in_progress += 1

    def settle(self, outcome: Outcome, status: int, error: str = "") -> None:
        """
        Write what the exchange used and cost. The first call counts; later ones do nothing.

        Raises:
            JournalError: it could not be written; control will find the exchange open and call it lost.
        """
        if self.settled:
            return
        self.settled = True
        operation = self.operation or self.call.dialect.operation
        books, call, caller, usage, deployment = self.books, self.call, self.caller, self.usage, self.deployment
        if self.hold is not None:
            self.hold.release(usage)
        if self.opened:
            books.metrics.in_progress -= 1
        price, cost = self.price, 0
        if price is not None:
            self.cost_nano = cost = cost_nano(price, usage)
        elif usage.input_tokens or usage.output_tokens:
            self.cost_known = False
        if self.priced is not None:
            self.explanation.append(self.priced)
        if self.reservation is not None:
            self.reservation.settle(cost)  # before the journal: what is in there has been counted
        duration = books.clock() - self.received
        duration_ms = int(duration * 1_000_000) / 1000
        first = None if self.first_content is None else self.first_content - self.received
        try:
            books.journal.append(
                Settled(
                    self.id,
                    self.at_ns or time.time_ns() - int(duration * 1e9),
                    caller.key,
                    caller.tenant,
                    call.model,
                    operation,
                    call.stream,
                    deployment,
                    status,
                    outcome,
                    usage,
                    cost,
                    duration_ms,
                    None if first is None else int(first * 1_000_000) / 1000,
                    tuple(self.explanation),
                    self.trace_id,
                    error[:_MAX_ERROR],
                    self.cost_known,
                    "" if price is None else price.version,
                    caller.user,
                    self.tags,
                )
            )
        except JournalError as fault:
            _log.error("exchange not settled", extra={"fields": {"request_id": self.id, "error": str(fault)}})
            outcome = Outcome.LOST  # as control will call it
            raise
        finally:
            kind = (operation, self.provider, self.label, deployment, outcome)
            books.metrics.settled(kind, usage, cost if self.cost_known else None, duration, first)
        self.status, self.outcome = status, outcome
        if books.log is not None:
            books.log(
                ExchangeLine(
                    self.id,
                    caller.key,
                    call.model,
                    deployment,
                    status,
                    outcome,
                    usage.input_tokens,
                    usage.output_tokens,
                    cost,
                    duration_ms,
                    self.trace_id,
                    self.cost_known,
                    error[:_MAX_ERROR],
                )
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.lead is not None:
            self.lead.release(error)
        if self.space is not None:
            self.space.free()
        if self.settled:
            return
        if isinstance(error, asyncio.CancelledError):
            outcome, status = Outcome.CANCELLED, self.status or _CLIENT_LEFT
            text = "the client left, or the gateway's drain ended"
        else:
            outcome = Outcome.FAILED if self.opened else Outcome.REFUSED
            status = self.status or (meaning(error).status if error else 500)
            text = str(error) if isinstance(error, PenstockError) else type(error).__name__
        with contextlib.suppress(JournalError):  # logged; the error under way says more
            self.settle(outcome, status, text)
