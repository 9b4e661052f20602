"""Choosing one of several replicas by what they have to do."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.routing.balance import least_outstanding, peak_ewma, round_robin
from tests.gateway.routing.replicas import Asked, places


@given(st.lists(st.integers(0, 50), min_size=1, max_size=10), st.integers(0, 10**6))
def test_the_least_loaded_is_chosen(loads: list[int], turn: int) -> None:
    assert least_outstanding(places(loads), Asked(turn)).outstanding == min(loads)


def test_round_robin_looks_at_nothing() -> None:
    there = places([9, 0, 0], [5.0, 0.1, 0.1])
    assert [there.index(round_robin(there, Asked(turn))) for turn in range(6)] == [0, 1, 2, 0, 1, 2]


@given(st.integers(2, 8), st.data())
def test_every_pair_is_compared_so_the_slowest_and_busiest_is_never_chosen(count: int, data: st.DataObject) -> None:
    worst = data.draw(st.integers(0, count - 1))
    there = places([3 if number == worst else 1 for number in range(count)], [0.5] * count)
    chosen = Counter(there.index(peak_ewma(there, Asked(turn))) for turn in range(count * (count - 1)))
    assert worst not in chosen
    assert len(chosen) == count - 1


def test_a_slow_replica_gets_less_and_a_new_one_is_not_flooded() -> None:
    quick, slow, new = places([3, 0, 4], [0.1, 1.0])
    for turn in range(6):
        assert peak_ewma([quick, slow], Asked(turn)) is quick
        assert peak_ewma([quick, new], Asked(turn)) is quick, "nothing is known of the new one, which has more to do"
        assert peak_ewma([new, slow], Asked(turn)) is slow
