"""One exchange on its way through the gateway: what the steps after the door share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from penstock.gateway.cache.recorder import Recorder
from penstock.gateway.dialects.call import Call
from penstock.gateway.dialects.errors import counters_line
from penstock.gateway.dialects.spoken import Spoken
from penstock.gateway.metering.account import Account
from penstock.gateway.ownership.claim import Claim
from penstock.gateway.ownership.stamp import Stamp
from penstock.gateway.translation.translation import Translation
from penstock.gateway.view import View
from penstock.http.server import Responder
from penstock.snapshot.config import Model, Outage
from penstock.types.errors import InvalidRequest, UpstreamError
from penstock.types.priority import BY_WORD, Priority

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_MAX_TRACESTATE = 512
_BETAS = b"anthropic-beta"
_NAMES = re.compile(rb"[A-Za-z0-9._-]{1,64}(?:, ?[A-Za-z0-9._-]{1,64}){0,31}")


class Exchange(msgspec.Struct):
    """
    Attributes:
        spoken: what the client speaks.
        id_line: ready-made header line with the request's id, for the upstream.
        heading: those with which each answer begins: the request's id, by the names that the client may look for.
        deadline: clock time by which the answer must be complete.
        first_token_deadline: clock time by which the deployment being tried must have sent its first content.
        counts_first_choice: the upstream reports the usage of the first of several choices only, as llama.cpp does.
        capped: what is held for it is the cap of its output, where the client set none.
        limit_lines: ready-made header lines about the caller's limits, for the answer.
        outage: what was done about them instead of asking how much is left, where nobody could be asked.
        trace: ready-made header lines that carry the caller's W3C trace context on, or nothing.
        features: ready-made header lines about features of the client's dialect, for upstreams that speak it.
        answer_lines: ready-made header lines of the deployment that was tried last, for the answer.
        admits: those of them that say how the answer falls short of what was asked for, also when it is given again.
        translation: of the attempt under way, where the upstream speaks another dialect.
        priority: with which it waits for a seat.
        cache_line: ready-made header line of what the cache had for it, where its model has one.
        session: what its client says it is part of, in a header.
        attempts: made so far, at whatever deployments.
        degraded: the deployment that is tried is another one than was drawn.
        attempt_deadline: clock time by which the attempt under way must be complete.
        answering: to be called when the answer of the attempt under way has begun to have content.
        broken: why the answer broke off behind its first content, if it did.
        claim: what it has a claim to of what upstreams keep; None where that is nothing.
        spoke: clock time at which the client of a stream was last sent something, or its silence began; 0 before.
        stamp: puts tags into the answer of the attempt under way; None where there are none to be put.
    """

    spoken: Spoken
    id_line: bytes
    heading: bytes
    view: View
    call: Call
    model: Model
    account: Account
    responder: Responder | Recorder
    trace: bytes
    deadline: float
    first_token_deadline: float = 0.0
    counts_first_choice: bool = False
    capped: bool = False
    limit_lines: bytes = b""
    outage: Outage | None = None
    features: bytes = b""
    answer_lines: bytes = b""
    admits: bytes = b""
    translation: Translation | None = None
    priority: Priority = Priority.NORMAL
    cache_line: bytes = b""
    session: bytes = b""
    attempts: int = 0
    degraded: bool = False
    attempt_deadline: float = 0.0
    answering: Callable[[], None] | None = None
    broken: UpstreamError | None = None
    claim: Claim | None = None
    stamp: Stamp | None = None
    spoke: float = 0.0

    def heed(self, headers: Mapping[bytes, bytes]) -> None:
        """
        Take in what the client's headers ask for beyond the call itself: session, priority, features.

        Raises:
            InvalidRequest: a header is not as it should be.
        """
        self.priority = self.model.priority
        self.session = headers.get(b"x-penstock-session", b"")
        if b"x-penstock-priority" in headers:
            self.priority = lowered(self.priority, headers[b"x-penstock-priority"])
        if self.spoken.like_anthropic and _BETAS in headers:
            if not _NAMES.fullmatch(headers[_BETAS]):
                raise InvalidRequest("anthropic-beta is a list of at most 32 names", code="invalid_value")
            self.features = b"%b: %b\r\n" % (_BETAS, headers[_BETAS])

    def headers(self) -> bytes:
        """Return the header lines that every answer of an exchange carries."""
        lines = self.heading + self.limit_lines + self.answer_lines + self.cache_line
        return lines if self.outage is None else lines + counters_line(self.outage)


def trace_context(headers: Mapping[bytes, bytes]) -> tuple[str, bytes]:
    """Return the trace id of a valid `traceparent` and the header lines to pass on, or nothing of either."""
    parent = headers.get(b"traceparent")
    match = _TRACEPARENT.fullmatch(parent) if parent is not None else None
    if parent is None or match is None:
        return "", b""
    lines = b"traceparent: " + parent + b"\r\n"
    state = headers.get(b"tracestate", b"")
    if 0 < len(state) <= _MAX_TRACESTATE:
        lines += b"tracestate: " + state + b"\r\n"
    return match[1].decode(), lines


def lowered(priority: Priority, wanted: bytes | None) -> Priority:
    """
    Return the priority of an exchange: that of its model, or a lower one that its client asks for.

    Raises:
        InvalidRequest: there is no such priority.
    """
    if wanted is None:
        return priority
    found = BY_WORD.get(wanted.decode("latin-1").strip().lower())
    if found is None:
        raise InvalidRequest(f"x-penstock-priority is one of: {', '.join(BY_WORD)}", code="invalid_value")
    return max(priority, found)
