"""
What a failed attempt means: for the deployment that it was made at, and for the exchange. Pure functions.

An upstream may charge for whatever it has begun to work on. A provider is therefore asked again only when it certainly
has not; an engine is ours, and has only lost its own work.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from penstock.types.errors import (
    InvalidRequest,
    NoCapacity,
    UpstreamError,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnreachable,
    UpstreamUnusable,
)

TRIES = 3  # per deployment and exchange: what dies under every exchange is not to be fed one for ever
_THROTTLED = frozenset({429, 503, 529})
_TOO_MANY = 429
_NOT_IMPLEMENTED = 501
_SERVER_ERROR = 500
_FAIR = 0.3  # of the time that a model allows; who was given less is not to blame for a time-out
_BACKOFF_S = 0.1
_LONGEST_BACKOFF_S = 1.0

Failure = NoCapacity | UpstreamError | InvalidRequest
"""Why a deployment did not answer an exchange that another one may answer."""


class Blame(Enum):
    """What an attempt says about its deployment."""

    FAILED = "failed"
    THROTTLED = "throttled"  # it works, and has said that it is asked too much
    NOTHING = "nothing"


class Again(Enum):
    """Where an exchange goes after a failure. The value is the reason, for metrics."""

    NO = "no"
    REPLICA = "replica"  # another one of the same deployment
    SUCCESSOR = "successor"  # of the only one there is
    REFUSED = "refused"  # the same provider: it has not taken the request


def blame(error: UpstreamError, *, engine: bool, took_s: float, usual_s: float) -> Blame:
    """
    Say what a failed attempt says about its deployment.

    A client's own fault, or ours (a credential, a model's name), is nothing that a pause would cure. Neither is an
    engine that has died, under an exchange or before it: its node puts another in its place, which is to be asked.

    Args:
        took_s: how long the attempt took.
        usual_s: how long its model allows.
    """
    if isinstance(error, UpstreamRejected):
        if error.status == _TOO_MANY:
            return Blame.THROTTLED
        failed = error.status >= _SERVER_ERROR and error.status != _NOT_IMPLEMENTED
        return Blame.FAILED if failed else Blame.NOTHING
    if isinstance(error, UpstreamTimeout):
        return Blame.FAILED if took_s >= _FAIR * usual_s else Blame.NOTHING
    return Blame.NOTHING if engine and not isinstance(error, UpstreamUnusable) else Blame.FAILED


def pauses(error: UpstreamError) -> bool:
    """Tell whether the upstream has asked for a pause, with or without saying how long."""
    if not isinstance(error, UpstreamRejected) or error.status not in _THROTTLED:
        return False
    return error.status == _TOO_MANY or error.retry_after is not None


def again(error: UpstreamError, *, engine: bool, others: bool, last: bool) -> Again:
    """
    Say whether an exchange tries the same deployment again.

    Args:
        others: the deployment has replicas that have not failed this exchange.
        last: no other deployment could be tried instead.
    """
    if engine:
        if isinstance(error, UpstreamUnusable | UpstreamTimeout):
            return Again.NO  # it would say the same, or the time is up
        if isinstance(error, UpstreamRejected):
            broken = error.status >= _SERVER_ERROR and error.status != _NOT_IMPLEMENTED
            return Again.REPLICA if broken and others else Again.NO
        if others:
            return Again.REPLICA
        return Again.SUCCESSOR if last else Again.NO
    if not last:
        return Again.NO  # another deployment answers sooner
    refused = isinstance(error, UpstreamUnreachable) or (
        isinstance(error, UpstreamRejected) and error.status in _THROTTLED and error.retry_after is not None
    )
    return Again.REFUSED if refused else Again.NO


def free(reason: Again, error: UpstreamError, *, engine: bool) -> bool:
    """Tell whether a retry needs no budget: it adds nothing to what the deployment's processes have to do."""
    return reason is Again.SUCCESSOR or (engine and isinstance(error, UpstreamUnreachable))


def backoff_s(retries: int, draw: float) -> float:
    """
    Return the pause before a provider is asked again: exponential, with full jitter.

    Args:
        retries: so far.
        draw: a number in [0, 1), uniformly random.
    Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return draw * min(_LONGEST_BACKOFF_S, _BACKOFF_S * (1 << retries))


def most_telling(failures: Sequence[Failure]) -> Failure:
    """
    Return the failure that the client is told of, of at least one.

    What broke comes before what was merely full, and both before what a deployment had no words for: it may be asked
    of another one later.
    """
    return max(reversed(failures), key=_weight)


def _weight(error: Failure) -> int:
    if isinstance(error, InvalidRequest):
        return -1
    if isinstance(error, NoCapacity):
        return 0
    if isinstance(error, UpstreamUnreachable):
        return 2
    if isinstance(error, UpstreamRejected):
        return 1 if error.status in _THROTTLED else 3
    return 3 if isinstance(error, UpstreamFailed | UpstreamTimeout) else 2
