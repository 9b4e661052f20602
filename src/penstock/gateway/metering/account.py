"""The account of one exchange: opened in the journal before dispatch, settled once, whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from penstock.gateway.dialects.errors import meaning
from penstock.gateway.dialects.operation import Call
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
_OUTPUT_BOUND = 4096  # tokens per choice assumed for the reservation where the client sets no cap


class Books:
    """Where a worker writes its accounts. One per process."""

    def __init__(self, journal: Writer, metrics: Metrics, clock: Callable[[], float]) -> None:
        self.journal = journal
        self.metrics = metrics
        self.clock = clock


class Account:
    """
    The account of one exchange; `with Account(...) as account`.

    Leaving the block settles what has not been settled: as cancelled when the client left, as refused when nothing was
    dispatched, else as failed. Attributes are set by the request path as it learns them.

    Attributes:
        deployment: what is answering, or empty.
        provider: its kind, for telemetry.
        price: of that deployment.
        usage: what is known of the usage so far.
        status: the HTTP status sent, 0 before.
        first_content: clock time of the first content, or None.
        label: the model's name for metrics: a configured one, or `other`.
    """

    __slots__ = (
        "_at_ns",
        "_books",
        "_call",
        "_caller",
        "_explanation",
        "_opened",
        "_settled",
        "_started",
        "cost_nano",
        "deployment",
        "first_content",
        "id",
        "label",
        "price",
        "provider",
        "status",
        "trace_id",
        "usage",
    )

    def __init__(self, books: Books, request_id: str, caller: Caller, call: Call, received: float) -> None:
        self._books = books
        self._caller = caller
        self._call = call
        self._started = received
        self._at_ns = time.time_ns() - int((books.clock() - received) * 1e9)
        self._explanation: list[tuple[str, str]] = [("identity", f"key {caller.key} of tenant {caller.tenant}")]
        self._opened = False
        self._settled = False
        self.id = request_id
        self.trace_id = ""
        self.label = "other"
        self.deployment = ""
        self.provider = ""
        self.price = Price()
        self.usage = Usage()
        self.cost_nano = 0
        self.status = 0
        self.first_content: float | None = None

    def explain(self, step: str, decision: str) -> None:
        """Add one decision to the exchange's explanation."""
        self._explanation.append((step, decision))

    def open(self, prices: Iterable[Price]) -> None:
        """
        Write that the exchange is about to be dispatched; called before each attempt, written before the first.

        Args:
            prices: of the deployments that may answer; the dearest is reserved.
        Raises:
            JournalError: it could not be written, so nothing may be dispatched.
        """
        if self._opened:
            return
        call = self._call
        # Bytes bound the tokens of the prompt.
        ceiling = Usage(len(call.body), (call.max_output or _OUTPUT_BOUND) * call.choices)
        self._books.journal.append(
            Opened(
                self.id,
                self._at_ns,
                self._caller.key,
                self._caller.tenant,
                call.model,
                call.operation,
                max((cost_nano(price, ceiling) for price in prices), default=0),
            )
        )
        self._opened = True
        self._books.metrics.in_progress.inc()

    def settle(self, outcome: Outcome, status: int, error: str = "") -> None:
        """
        Write what the exchange used and cost. The first call counts; later ones do nothing.

        Raises:
            JournalError: it could not be written; control will find the exchange open and call it lost.
        """
        if self._settled:
            return
        self._settled = True
        books, call = self._books, self._call
        if self._opened:
            books.metrics.in_progress.dec()
        self.cost_nano = cost_nano(self.price, self.usage)
        duration = books.clock() - self._started
        first = None if self.first_content is None else self.first_content - self._started
        try:
            books.journal.append(
                Settled(
                    id=self.id,
                    at_ns=self._at_ns,
                    key=self._caller.key,
                    tenant=self._caller.tenant,
                    model=call.model,
                    operation=call.operation,
                    stream=call.stream,
                    deployment=self.deployment,
                    status=status,
                    outcome=outcome,
                    usage=self.usage,
                    cost_nano=self.cost_nano,
                    duration_ms=round(duration * 1000, 3),
                    first_content_ms=None if first is None else round(first * 1000, 3),
                    explanation=tuple(self._explanation),
                    trace_id=self.trace_id,
                    error=error[:_MAX_ERROR],
                )
            )
        except JournalError as fault:
            _log.error("exchange not settled", extra={"fields": {"request_id": self.id, "error": str(fault)}})
            outcome = Outcome.LOST  # as control will call it
            raise
        finally:
            books.metrics.settled(
                (call.operation, self.provider, self.label, self.deployment, outcome),
                usage=self.usage,
                cost_nano=self.cost_nano,
                duration_s=duration,
                first_content_s=first,
            )
        self.status = status
        if _log.isEnabledFor(logging.INFO):
            self._log_line(outcome, duration)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._settled:
            return
        if isinstance(error, asyncio.CancelledError):
            outcome, status = Outcome.CANCELLED, self.status or _CLIENT_LEFT
            text = "the client left, or the gateway's drain ended"
        else:
            outcome = Outcome.FAILED if self._opened else Outcome.REFUSED
            status = self.status or (meaning(error).status if error else 500)
            text = str(error) if isinstance(error, PenstockError) else type(error).__name__
        with contextlib.suppress(JournalError):  # logged; the error under way says more
            self.settle(outcome, status, text)

    def _log_line(self, outcome: Outcome, duration: float) -> None:
        fields: dict[str, object] = {
            "request_id": self.id,
            "key": self._caller.key,
            "model": self._call.model,
            "deployment": self.deployment,
            "status": self.status,
            "outcome": outcome,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "cost_nano": self.cost_nano,
            "duration_ms": round(duration * 1000, 3),
        }
        if self.trace_id:
            fields["trace_id"] = self.trace_id
        _log.info("exchange", extra={"fields": fields})
