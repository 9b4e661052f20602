"""
One tree of our own errors, named for what the caller can do about them.

Packages raise these; foreign exceptions are translated where they enter. What an error means in HTTP is decided once,
at the edge (`penstock.gateway.dialects`). The message of every error is one sentence for people, without any secret.
"""

from __future__ import annotations


class PenstockError(Exception):
    """Anything that Penstock itself reports. `str(error)` is one clear sentence."""


class StackError(PenstockError):
    """The stack file is wrong; the message names the file, the line and, where one is near, the right key."""


class StartError(PenstockError):
    """A process cannot start: a port is taken, a directory is in use, a part is missing."""


class WeightsError(PenstockError):
    """A weights file is missing, truncated or not in the format the engine reads."""


class JournalError(PenstockError):
    """The journal cannot be written (a full disk, say); admission stops until it can."""


class ExchangeError(PenstockError):
    """
    An exchange that ends without an answer from a model.

    Attributes:
        param: the request field at fault, if one is.
        code: a finer machine-readable code than the class gives, if there is one.
        retry_after: seconds after which another try makes sense, if that is known.
        counters: what was done as the counters were away (a word of the stack's `on_counters_outage`), or empty.
    """

    counters = ""

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.retry_after = retry_after


class InvalidRequest(ExchangeError):
    """The client sent something that cannot be served as it is: 400."""


class Unauthenticated(ExchangeError):
    """No key, or one that is not valid: 401."""


class NotAllowed(ExchangeError):
    """The key is valid, and not for this or not from here: 403."""


class UnknownPath(ExchangeError):
    """Nothing is served at this path: 404."""


class ModelNotFound(ExchangeError):
    """No such model, or none that this key may see: 404, the same for both."""


class ResponseNotFound(ExchangeError):
    """No response by this id is kept for the caller: 404, the same whatever the reason is."""


class MethodNotAllowed(ExchangeError):
    """The path is served, by another method: 405."""

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class BodyTooLarge(ExchangeError):
    """The body is over `max_body`: 413."""


class HeadersTooLarge(ExchangeError):
    """The request head is over its limits in bytes or count: 431."""


class RequestTimedOut(ExchangeError):
    """The client was too slow in sending its request: 408."""


class LimitReached(ExchangeError):
    """
    A limit of the caller's own has no room: 429 with Retry-After.

    Attributes:
        limit: of a minute; None where it is one of what goes on at the same time.
        remaining: what is left of it.
    """

    def __init__(self, message: str, *, limit: int | None, remaining: int, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)
        self.limit = limit
        self.remaining = remaining


class TokenLimitReached(LimitReached):
    """It is a limit of tokens."""


class BudgetSpent(ExchangeError):
    """A budget of the caller's has not enough left: 429 that is not to be tried again."""


class BudgetHeld(ExchangeError):
    """A budget of the caller's has not enough left while others hold some of it: 429 with Retry-After."""


class NoCapacity(ExchangeError):
    """Nothing can take the request now (no replica ready, a full queue, draining): 503 with Retry-After."""


class CountersUnavailable(ExchangeError):
    """What is left of a limit cannot be told now, and the limit is to deny then: 503 with Retry-After."""

    counters = "deny"


class NotCached(ExchangeError):
    """The client wants a kept answer or none, and none is kept: 504, as RFC 9111 has it."""


class UpstreamError(ExchangeError):
    """An engine or provider failed, and nothing of an answer has reached the client."""


class UpstreamUnreachable(UpstreamError):
    """No connection could be made, so the request was certainly not processed."""


class UpstreamFailed(UpstreamError):
    """The connection broke or the answer was malformed: 502."""


class UpstreamUnusable(UpstreamFailed):
    """The answer came, and is not one: not JSON, too large, an error in spite of its status. Also 502."""


class UpstreamTimeout(UpstreamError):
    """A deadline passed while waiting for the upstream: 504."""


_FINAL = frozenset({400, 413, 415, 422, 501})


class UpstreamRejected(UpstreamError):
    """
    The upstream answered with an error status of its own.

    Attributes:
        status: the upstream's status.
        body: the upstream's body, as received, at most 64 KiB.
    """

    def __init__(
        self, message: str, *, status: int, body: bytes = b"", retry_after: float | None = None, code: str | None = None
    ) -> None:
        super().__init__(message, retry_after=retry_after, code=code)
        self.status = status
        self.body = body

    @property
    def final(self) -> bool:
        """Whether it is the request's own fault: any deployment would say the same."""
        return self.status in _FINAL

    def again(self) -> UpstreamRejected:
        """Return an equal one, to be raised elsewhere."""
        return UpstreamRejected(
            str(self), status=self.status, body=self.body, retry_after=self.retry_after, code=self.code
        )
