"""What a failure means, for the deployment and for the exchange."""

import pytest

from penstock.gateway.upstream.verdicts import Again, Blame, again, backoff_s, blame, free, most_telling, pauses
from penstock.types.errors import (
    NoCapacity,
    UpstreamError,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnreachable,
    UpstreamUnusable,
)

BROKE, DOWN, NONSENSE, LATE = UpstreamFailed(""), UpstreamUnreachable(""), UpstreamUnusable(""), UpstreamTimeout("")


def status(number: int, retry_after: float | None = None) -> UpstreamRejected:
    return UpstreamRejected("", status=number, retry_after=retry_after)


@pytest.mark.parametrize("number", [400, 401, 403, 404, 408, 409, 413, 415, 422, 446, 499, 501])
@pytest.mark.parametrize("engine", [False, True])
def test_what_a_pause_would_not_cure_is_nobodys_failure(number: int, engine: bool) -> None:
    assert blame(status(number), engine=engine, took_s=1, usual_s=1) is Blame.NOTHING
    assert not pauses(status(number, 5))


@pytest.mark.parametrize(
    ("error", "provider", "engine"),
    [
        (status(500), Blame.FAILED, Blame.FAILED),
        (status(503, 3), Blame.FAILED, Blame.FAILED),
        (status(529), Blame.FAILED, Blame.FAILED),
        (status(429), Blame.THROTTLED, Blame.THROTTLED),
        (NONSENSE, Blame.FAILED, Blame.FAILED),
        (LATE, Blame.FAILED, Blame.FAILED),
        (BROKE, Blame.FAILED, Blame.NOTHING),
        (DOWN, Blame.FAILED, Blame.NOTHING),
    ],
    ids=repr,
)
def test_who_is_to_blame(error: UpstreamError, provider: Blame, engine: Blame) -> None:
    assert blame(error, engine=False, took_s=10, usual_s=10) is provider
    assert blame(error, engine=True, took_s=10, usual_s=10) is engine


def test_who_had_hardly_any_time_is_not_to_blame_for_being_late() -> None:
    assert blame(LATE, engine=False, took_s=0.2, usual_s=10) is Blame.NOTHING


@pytest.mark.parametrize(
    ("error", "last", "reason"),
    [
        (DOWN, True, Again.REFUSED),
        (DOWN, False, Again.NO),
        (status(429, 1), True, Again.REFUSED),
        (status(503, 1), True, Again.REFUSED),
        (status(503), True, Again.NO),
        (status(500, 1), True, Again.NO),
        (BROKE, True, Again.NO),
        (LATE, True, Again.NO),
        (NONSENSE, True, Again.NO),
    ],
    ids=repr,
)
def test_a_provider_is_asked_again_only_when_it_has_certainly_not_charged(
    error: UpstreamError, last: bool, reason: Again
) -> None:
    assert again(error, engine=False, others=False, last=last) is reason


@pytest.mark.parametrize(
    ("error", "others", "last", "reason"),
    [
        (BROKE, True, False, Again.REPLICA),
        (BROKE, False, True, Again.SUCCESSOR),
        (BROKE, False, False, Again.NO),
        (DOWN, True, True, Again.REPLICA),
        (status(500), True, True, Again.REPLICA),
        (status(500), False, True, Again.NO),
        (status(404), True, True, Again.NO),
        (status(429), True, True, Again.NO),
        (LATE, True, True, Again.NO),
        (NONSENSE, True, True, Again.NO),
    ],
    ids=repr,
)
def test_an_engine_has_other_replicas(error: UpstreamError, others: bool, last: bool, reason: Again) -> None:
    assert again(error, engine=True, others=others, last=last) is reason


def test_what_costs_a_deployment_nothing_needs_no_budget() -> None:
    assert free(Again.REPLICA, DOWN, engine=True)
    assert free(Again.SUCCESSOR, BROKE, engine=True)
    assert not free(Again.REPLICA, BROKE, engine=True)
    assert not free(Again.REFUSED, DOWN, engine=False)


def test_pauses_between_tries_grow_and_have_a_bound() -> None:
    assert [backoff_s(retries, 0.999) > backoff_s(retries - 1, 0.999) for retries in (1, 2, 3)] == [True] * 3
    assert backoff_s(30, 0.999) <= 1.0
    assert backoff_s(30, 0.0) == 0.0


def test_the_client_is_told_of_what_broke_rather_than_of_what_was_full() -> None:
    full, limited = NoCapacity(""), status(429)
    assert most_telling([status(500), full]).__class__ is UpstreamRejected
    assert most_telling([DOWN, limited]) is DOWN
    assert most_telling([full, limited]) is limited
    assert most_telling([LATE, BROKE]) is BROKE
