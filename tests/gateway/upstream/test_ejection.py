from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.upstream.ejection import Record, candidates


class Replica:
    def __init__(self) -> None:
        self.record = Record()


def test_one_failure_to_connect_is_enough_and_broken_answers_take_three_in_a_row() -> None:
    record = Record()
    assert record.failed(10.0, unreachable=True)
    assert record.until == 11.0
    record = Record()
    record.failed(10.0, unreachable=False)
    record.failed(10.0, unreachable=False)
    record.succeeded()
    assert [record.failed(10.0, unreachable=False) for _ in range(3)] == [False, False, True]


def test_it_is_left_out_for_longer_each_time_up_to_half_a_minute() -> None:
    record, now, times = Record(), 0.0, []
    for _ in range(8):
        assert record.failed(now, unreachable=True)
        assert not record.failed(now, unreachable=True), "it is left out already"
        times.append(record.until - now)
        now = record.until
    assert times == [1, 2, 4, 8, 16, 30, 30, 30]
    for _ in range(8):
        record.succeeded()
    record.failed(now, unreachable=True)
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
