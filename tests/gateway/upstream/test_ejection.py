from __future__ import annotations

import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penstock.gateway.upstream.breaker import Breaker, State
from penstock.gateway.upstream.ejection import Record, candidates
from penstock.types.errors import UpstreamError, UpstreamFailed, UpstreamTimeout, UpstreamUnreachable

BROKEN = UpstreamFailed("it broke off")
TIMEOUT = UpstreamTimeout("nothing came")
UNREACHABLE = UpstreamUnreachable("refused")


class Replica:
    def __init__(self) -> None:
        self.record = Record()


def test_one_failure_to_connect_is_enough_and_broken_answers_take_three_in_a_row() -> None:
    record = Record()
    assert record.failed(10.0, UNREACHABLE)
    assert record.until == 11.0
    record = Record()
    record.failed(10.0, BROKEN)
    record.failed(10.0, BROKEN)
    record.succeeded(10.0)
    assert [record.failed(10.0, BROKEN) for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("share", [0.03, 0.1])
@pytest.mark.parametrize("per_s", [50, 1000])
def test_a_busy_replica_is_not_left_out_for_failures_that_only_happen_to_follow_one_another(
    share: float, per_s: int
) -> None:
    """Ten minutes in which each answer breaks by itself: three in a row would leave it out up to hundreds of times."""
    record, chance, now = Record(), random.Random(3), 100.0
    for _ in range(600 * per_s):
        now += 1 / per_s
        if chance.random() < share:
            assert not record.failed(now, BROKEN)
        else:
            record.succeeded(now)


def test_failures_that_fall_due_together_do_not_leave_it_out() -> None:
    """As timeouts do where a worker was busy with something else for a moment: all before the next good end."""
    record, now = Record(), 100.0
    for _ in range(20):
        for _ in range(400):
            now += 0.001
            record.succeeded(now)
        assert not any(record.failed(now, TIMEOUT) for _ in range(20))


@given(
    per_s=st.floats(0.05, 3000),
    share=st.floats(0, 0.5),
    seconds=st.floats(0, 30),
    error=st.sampled_from([BROKEN, TIMEOUT]),
)
def test_where_nothing_succeeds_any_more_it_is_left_out_half_a_second_behind_the_third_failure(
    per_s: float, share: float, seconds: float, error: UpstreamError
) -> None:
    record, chance, now = Record(), random.Random(5), 100.0
    for _ in range(min(int(seconds * per_s), 20_000)):
        now += 1 / per_s
        if chance.random() < share:
            assume(not record.failed(now, BROKEN))
        else:
            record.succeeded(now)
    record.succeeded(now)
    died, out, failures = now, False, 0
    while not out:
        now += 1 / per_s
        failures += 1
        out = record.failed(now, error)
        assert now - died <= 4 / per_s + 0.5
    assert error is TIMEOUT or failures <= 8, "each costs an exchange another attempt"


def test_what_ends_while_it_is_left_out_does_not_leave_it_out_again() -> None:
    """A crowd that was asked before fails late; behind that one failure is no row."""
    record = Record()
    assert record.failed(10.0, UNREACHABLE)
    for _ in range(20):
        record.failed(10.5, BROKEN)
    assert not record.failed(11.5, BROKEN)


@given(others=st.integers(0, 500), share=st.floats(0, 1), error=st.sampled_from([BROKEN, TIMEOUT]))
def test_a_replica_is_left_out_before_its_failures_in_a_row_open_the_breaker(
    others: int, share: float, error: UpstreamError
) -> None:
    """However much of the traffic was its own; the failure that it is left out for is not blamed either."""
    record, chance, now = Record(), random.Random(7), 100.0
    breaker = Breaker(chance.random, lambda _: None)
    for _ in range(others):
        now += 0.01
        ticket = breaker.admit(now)
        assert ticket is not None
        breaker.succeeded(ticket, now)
        if chance.random() < share:
            record.succeeded(now)
    while not record.failed(now, error):
        ticket = breaker.admit(now)
        assert ticket is not None
        breaker.failed(ticket, now)
        assert breaker.state is State.CLOSED


def test_a_replica_that_comes_back_may_fail_once_again() -> None:
    record = Record()
    assert [record.failed(10.0, BROKEN) for _ in range(3)] == [False, False, True]
    assert [record.failed(record.until, BROKEN) for _ in range(3)] == [False, False, True]


def test_it_is_left_out_for_longer_each_time_up_to_half_a_minute() -> None:
    record, now, times = Record(), 0.0, []
    for _ in range(8):
        assert record.failed(now, UNREACHABLE)
        assert not record.failed(now, UNREACHABLE), "it is left out already"
        times.append(record.until - now)
        now = record.until
    assert times == [1, 2, 4, 8, 16, 30, 30, 30]
    for _ in range(8):
        record.succeeded(now)
    record.failed(now, UNREACHABLE)
    assert record.until - now == 1


@given(st.lists(st.floats(0, 20), min_size=1, max_size=8), st.sets(st.integers(0, 7)))
def test_at_most_half_is_left_out_and_never_all(untils: list[float], failing: set[int]) -> None:
    replicas = [Replica() for _ in untils]
    for replica, until in zip(replicas, untils, strict=True):
        replica.record.until = until
    assert len(candidates(replicas, [], 10.0)) >= (len(replicas) + 1) // 2
    out = [replica for replica in replicas if replica not in candidates(replicas, [], 10.0)]
    assert all(replica.record.until > 10.0 for replica in out)
    failed = [replica for number, replica in enumerate(replicas) if number in failing]
    left = candidates(replicas, failed, 10.0)
    assert not set(left) & set(failed)
    assert bool(left) == (len(failed) < len(replicas))
