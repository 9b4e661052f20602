"""What each error means in HTTP, decided in one place, and its body in the shape of the client's dialect."""

from __future__ import annotations

import math
import re
import time
from http import HTTPStatus
from typing import Any

import msgspec

from penstock.gateway.dialects import ratelimits
from penstock.http.server import Refusal
from penstock.snapshot.config import Outage
from penstock.types import errors
from penstock.types.dialect import Dialect

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
    (errors.ResponseNotFound, Meaning(404, "invalid_request_error", "response_not_found", "client")),
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
    (errors.NotCached, Meaning(504, "invalid_request_error", "not_cached", "client")),
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
_SERVER_ERROR = 500
_PASSED_ON = frozenset({400, 413, 415, 422})

# What a client is told of an upstream's failure. Addresses and paths are for the operator, in the explanation.
_FAILED = "The upstream failed to answer."
_TOLD = (
    (errors.UpstreamRejected, "The upstream refused the request."),
    (errors.UpstreamUnreachable, "The upstream cannot be reached."),
    (errors.UpstreamTimeout, "The upstream did not answer in time."),
    (errors.UpstreamError, _FAILED),
)


# The type of an error in Anthropic's shape, by the status that goes with it.
_ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    431: "request_too_large",
    503: "overloaded_error",
    504: "timeout_error",
}
# What errors that a stream tells in spite of its status 200 would have had for one, by their type.
_TYPES = {
    "BadRequestError": 400,
    "invalid_request_error": 400,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}
_ANTHROPIC_OTHERWISE = "api_error"
_LIKE_ANTHROPIC = frozenset({Dialect.MESSAGES, Dialect.COUNT})
_NAMED = frozenset({Dialect.MESSAGES, Dialect.RESPONSES})  # whose events have names
_encode = msgspec.json.Encoder().encode


class _Named(msgspec.Struct):
    message: Any = None
    type: Any = None
    code: Any = None
    param: Any = None


class _Kind(msgspec.Struct):
    error: _Named
    type: Any = None  # always `error` in Anthropic's shape


_STATUS = re.compile("[45][0-9][0-9]")
_BAD_REQUEST, _LAST_STATUS = 400, 599
_WORD = re.compile(r"(?!None$)[A-Za-z0-9_.-]{1,64}")


def meaning(error: BaseException) -> Meaning:
    """Return what the error means in HTTP."""
    if isinstance(error, errors.UpstreamRejected):
        return _REJECTED.get(error.status, _REJECTED_OTHERWISE)
    return next((found for kind, found in MEANINGS if isinstance(error, kind)), MEANINGS[-1][1])


def body(error: BaseException, dialect: Dialect = Dialect.CHAT) -> bytes:
    """Return the error as a JSON body; an upstream's own words where they are for the client."""
    found = meaning(error)
    param = error.param if isinstance(error, errors.ExchangeError) else None
    code = (error.code if isinstance(error, errors.ExchangeError) else None) or found.code
    text = str(error) if isinstance(error, errors.PenstockError) else "internal error"
    text = next((told for kind, told in _TOLD if isinstance(error, kind)), text)
    if isinstance(error, errors.UpstreamRejected) and error.status >= _SERVER_ERROR:
        text = _FAILED
    if found.code == "unsupported_operation":
        text = f"The model does not support this operation, {dialect.value}."
    if isinstance(error, errors.UpstreamRejected) and error.status in _PASSED_ON:
        told = _read(error.body)
        if told is not None and told.error.message is not None:
            if (told.type == "error") is (dialect in _LIKE_ANTHROPIC):
                return error.body
            text, param, code = str(told.error.message), _word(told.error.param), _word(told.error.code) or code
    return _shaped(dialect, found, text, param, code)


def _shaped(dialect: Dialect, found: Meaning, text: str, param: str | None, code: str | None) -> bytes:
    if dialect not in _LIKE_ANTHROPIC:
        return _encode({"error": {"message": text, "type": found.type, "param": param, "code": code}})
    kind = _ANTHROPIC.get(found.status, _ANTHROPIC_OTHERWISE)
    named = {"type": kind, "message": text} | ({"code": code} if code else {}) | ({"param": param} if param else {})
    return _encode({"type": "error", "error": named})


def refusal(error: BaseException, extra: bytes = b"", dialect: Dialect = Dialect.CHAT) -> Refusal:
    """
    Return the whole answer for an error: status, headers and body.

    Args:
        extra: header lines that come first.
        dialect: that the client speaks, if that is known.
    """
    found = meaning(error)
    headers = extra + _JSON + b"x-penstock-error-source: " + found.source.encode() + b"\r\n"
    if isinstance(error, errors.MethodNotAllowed):
        headers += b"allow: " + error.allow.encode() + b"\r\n"
    if found.status == HTTPStatus.UNAUTHORIZED:
        headers += b"www-authenticate: Bearer\r\n"
    if found.status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS):
        after = error.retry_after if isinstance(error, errors.ExchangeError) else None
        headers += b"retry-after: %d\r\n" % min(3600, max(1, math.ceil(after or 1)))
    if isinstance(error, errors.BudgetSpent | errors.NotCached):
        headers += b"x-should-retry: false\r\n"
    if isinstance(error, errors.ExchangeError) and error.counters:
        headers = _stricter(headers, Outage(error.counters))
    if isinstance(error, errors.LimitReached) and error.limit is not None:
        kind, after, left = found.type, error.retry_after or 0.0, b"%d" % error.remaining
        headers += ratelimits.head(kind, error.limit) + left + ratelimits.tail(kind, after)
        if dialect in _LIKE_ANTHROPIC:
            headers += ratelimits.anthropic_head(kind, error.limit) + left
            headers += ratelimits.anthropic_tail(kind, time.time() + after)
    return Refusal(found.status, headers, body(error, dialect))


def counters_line(action: Outage) -> bytes:
    """Return the header line that tells what was done while the counters were away."""
    return b"x-penstock-counters: " + action.value.encode() + b"\r\n"


def _stricter(headers: bytes, action: Outage) -> bytes:
    """Return header lines that tell this, or what they told already where that is stricter."""
    for told in Outage:
        if counters_line(told) in headers:
            return headers.replace(counters_line(told), counters_line(Outage.strictest((told, action))))
    return headers + counters_line(action)


def event(error: BaseException, dialect: Dialect = Dialect.CHAT) -> bytes:
    """Return the error as the last event of a stream, which does not end well then."""
    if dialect is Dialect.RESPONSES:
        # The members of this API's own error events, and `error`, which makes the official SDK raise.
        told = msgspec.json.decode(body(error, dialect), type=_Kind).error
        data = _encode(
            {"type": "error", "code": told.code, "message": told.message, "param": told.param, "error": told}
        )
    else:
        data = body(error, dialect).replace(b"\n", b" ").replace(b"\r", b" ")
    name = b"event: error\n" if dialect in _NAMED else b""
    return name + b"data: " + data + b"\n\n"


def _word(given: object) -> str | None:
    return str(given) if isinstance(given, str | int) else None


def kind_of(given: bytes) -> str:
    """
    Return type and code of an upstream's error body, for the operator: ` (invalid_request_error)`.

    Never its message, which may repeat the prompt or a credential.
    """
    found = _read(given)
    if found is None:
        return ""
    words = [str(word) for word in (found.error.type, found.error.code) if _WORD.fullmatch(str(word))]
    return f" ({', '.join(words)})" if words else ""


def in_band(given: bytes) -> errors.UpstreamError:
    """Return the error that a stream tells: as if by its status where it names one, by number or by a known type."""
    found = _read(given)
    code, kind = (found.error.code, found.error.type) if found is not None else (None, None)
    status = code if isinstance(code, int) else int(code) if isinstance(code, str) and _STATUS.fullmatch(code) else 0
    if not _BAD_REQUEST <= status <= _LAST_STATUS:
        status = _TYPES.get(kind, 0) if isinstance(kind, str) else 0
    if not status:
        return errors.UpstreamFailed("the upstream told an error in its stream")
    return errors.UpstreamRejected(
        f"the upstream told an error in its stream, of status {status}", status=status, body=given
    )


def _read(given: bytes) -> _Kind | None:
    """Read an upstream's error body, of either shape."""
    try:
        return msgspec.json.decode(given, type=_Kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
