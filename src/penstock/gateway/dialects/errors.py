"""What each error means in HTTP, decided in one place, and its body in the OpenAI shape."""

from __future__ import annotations

import math
import re
from http import HTTPStatus

import msgspec

from penstock.http.server import Refusal
from penstock.snapshot.config import Outage
from penstock.types import errors

_JSON = b"content-type: application/json\r\n"


class Meaning(msgspec.Struct, frozen=True):
    """
    Attributes:
        source: whose fault it is, for `x-penstock-error-source`: client, penstock or upstream.
    """

    status: int
    type: str
    code: str | None
    source: str


# The first class that matches counts, so narrower ones stand above wider ones.
MEANINGS: tuple[tuple[type[errors.PenstockError], Meaning], ...] = (
    (errors.Unauthenticated, Meaning(401, "invalid_request_error", "invalid_api_key", "client")),
    (errors.NotAllowed, Meaning(403, "invalid_request_error", "permission_denied", "client")),
    (errors.ModelNotFound, Meaning(404, "invalid_request_error", "model_not_found", "client")),
    (errors.UnknownPath, Meaning(404, "invalid_request_error", "unknown_url", "client")),
    (errors.MethodNotAllowed, Meaning(405, "invalid_request_error", "method_not_allowed", "client")),
    (errors.RequestTimedOut, Meaning(408, "timeout_error", "request_timeout", "client")),
    (errors.BodyTooLarge, Meaning(413, "invalid_request_error", "request_too_large", "client")),
    (errors.HeadersTooLarge, Meaning(431, "invalid_request_error", "headers_too_large", "client")),
    (errors.InvalidRequest, Meaning(400, "invalid_request_error", None, "client")),
    (errors.TokenLimitReached, Meaning(429, "tokens", "rate_limit_exceeded", "client")),
    (errors.BudgetSpent, Meaning(429, "insufficient_quota", "insufficient_quota", "client")),
    (errors.BudgetHeld, Meaning(429, "requests", "budget_held", "client")),
    (errors.LimitReached, Meaning(429, "requests", "rate_limit_exceeded", "client")),
    (errors.NoCapacity, Meaning(503, "server_error", "overloaded", "penstock")),
    (errors.CountersUnavailable, Meaning(503, "server_error", "counters_unavailable", "penstock")),
    (errors.JournalError, Meaning(503, "server_error", "journal_unavailable", "penstock")),
    (errors.UpstreamUnreachable, Meaning(503, "server_error", "upstream_unreachable", "upstream")),
    (errors.UpstreamTimeout, Meaning(504, "timeout_error", "upstream_timeout", "upstream")),
    (errors.UpstreamFailed, Meaning(502, "server_error", "upstream_failed", "upstream")),
    (errors.PenstockError, Meaning(500, "server_error", "internal_error", "penstock")),
)

# What an upstream's own status means to the client. 429 is only for the caller's own limits, and an upstream that
# refuses Penstock's credentials or does not know the model is no fault of the client.
_REJECTED = {
    400: Meaning(400, "invalid_request_error", None, "upstream"),
    413: Meaning(413, "invalid_request_error", "request_too_large", "upstream"),
    415: Meaning(415, "invalid_request_error", None, "upstream"),
    422: Meaning(422, "invalid_request_error", None, "upstream"),
    429: Meaning(503, "server_error", "upstream_overloaded", "upstream"),
    501: Meaning(400, "invalid_request_error", "unsupported_operation", "upstream"),
    503: Meaning(503, "server_error", "upstream_overloaded", "upstream"),
    504: Meaning(504, "timeout_error", "upstream_timeout", "upstream"),
    529: Meaning(503, "server_error", "upstream_overloaded", "upstream"),
}
_REJECTED_OTHERWISE = Meaning(502, "server_error", "upstream_failed", "upstream")
_PASSED_ON = frozenset({400, 413, 415, 422})

# What a client is told of an upstream's failure. Addresses and paths are for the operator, in the explanation.
_TOLD = (
    (errors.UpstreamRejected, "The upstream refused the request."),
    (errors.UpstreamUnreachable, "The upstream cannot be reached."),
    (errors.UpstreamTimeout, "The upstream did not answer in time."),
    (errors.UpstreamError, "The upstream failed to answer."),
)


class _Shape(msgspec.Struct):
    error: dict[str, msgspec.Raw]


class _Named(msgspec.Struct):
    type: str | None = None
    code: str | int | None = None


class _Kind(msgspec.Struct):
    error: _Named


_WORD = re.compile(r"(?!None$)[A-Za-z0-9_.-]{1,64}")


def meaning(error: BaseException) -> Meaning:
    """Return what the error means in HTTP."""
    if isinstance(error, errors.UpstreamRejected):
        return _REJECTED.get(error.status, _REJECTED_OTHERWISE)
    return next((found for kind, found in MEANINGS if isinstance(error, kind)), MEANINGS[-1][1])


def body(error: BaseException) -> bytes:
    """Return the error as a JSON body; an upstream's own body where it is in the right shape and for the client."""
    found = meaning(error)
    if isinstance(error, errors.UpstreamRejected) and error.status in _PASSED_ON and _well_formed(error.body):
        return error.body
    param = error.param if isinstance(error, errors.ExchangeError) else None
    code = error.code if isinstance(error, errors.ExchangeError) else None
    text = str(error) if isinstance(error, errors.PenstockError) else "internal error"
    text = next((told for kind, told in _TOLD if isinstance(error, kind)), text)
    if found.code == "unsupported_operation":
        text = "The model does not support this operation."
    return msgspec.json.encode(
        {"error": {"message": text, "type": found.type, "param": param, "code": code or found.code}}
    )


def refusal(error: BaseException, extra: bytes = b"") -> Refusal:
    """Return the whole answer for an error: status, headers (`extra` first) and body."""
    found = meaning(error)
    headers = extra + _JSON + b"x-penstock-error-source: " + found.source.encode() + b"\r\n"
    if isinstance(error, errors.MethodNotAllowed):
        headers += b"allow: " + error.allow.encode() + b"\r\n"
    if found.status == HTTPStatus.UNAUTHORIZED:
        headers += b"www-authenticate: Bearer\r\n"
    if found.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        after = error.retry_after if isinstance(error, errors.ExchangeError) else None
        headers += b"retry-after: %d\r\n" % min(3600, max(1, math.ceil(after or 1)))
    if isinstance(error, errors.BudgetSpent):
        headers += b"x-should-retry: false\r\n"
    if isinstance(error, errors.ExchangeError) and error.counters:
        headers = _stricter(headers, Outage(error.counters))
    if isinstance(error, errors.LimitReached) and error.limit is not None:
        headers += ratelimit_head(found.type, error.limit) + b"%d" % error.remaining
        headers += ratelimit_tail(found.type, error.retry_after or 0.0)
    return Refusal(found.status, headers, body(error))


def ratelimit_head(kind: str, limit: int) -> bytes:
    """Return the header lines that tell a caller of a limit per minute, up to how many of `kind` remain."""
    name = kind.encode()
    return b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: " % (name, limit, name)


def ratelimit_tail(kind: str, reset_s: float) -> bytes:
    """Return the rest of them, from behind that number on."""
    return b"\r\nx-ratelimit-reset-%b: %gs\r\n" % (kind.encode(), math.ceil(reset_s * 10) / 10)


def counters_line(action: Outage) -> bytes:
    """Return the header line that tells what was done while the counters were away."""
    return b"x-penstock-counters: " + action.value.encode() + b"\r\n"


def _stricter(headers: bytes, action: Outage) -> bytes:
    """Return header lines that tell this, or what they told already where that is stricter."""
    for told in Outage:
        if counters_line(told) in headers:
            return headers.replace(counters_line(told), counters_line(Outage.strictest((told, action))))
    return headers + counters_line(action)


def event(error: BaseException) -> bytes:
    """Return the error as the last event of a stream; no `[DONE]` follows it."""
    return b"data: " + body(error).replace(b"\n", b" ").replace(b"\r", b" ") + b"\n\n"


def kind_of(given: bytes) -> str:
    """
    Return type and code of an upstream's error body, for the operator: ` (invalid_request_error)`.

    Never its message, which may repeat the prompt or a credential.
    """
    try:
        found = msgspec.json.decode(given, type=_Kind).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    words = [str(word) for word in (found.type, found.code) if _WORD.fullmatch(str(word))]
    return f" ({', '.join(words)})" if words else ""


def _well_formed(given: bytes) -> bool:
    try:
        return "message" in msgspec.json.decode(given, type=_Shape).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
