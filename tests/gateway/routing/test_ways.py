"""What holds for every way to choose one of several replicas."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.routing.prefix import chain
from penstock.gateway.routing.ways import WAYS
from penstock.snapshot.config import Balance
from tests.gateway.routing.replicas import Asked, Place, places


@given(
    st.sampled_from(Balance),
    st.lists(st.tuples(st.integers(0, 50), st.floats(0, 100)), min_size=1, max_size=10),
    st.integers(0, 10**6),
    st.floats(100, 1000),
)
def test_every_way_chooses_one_of_them(way: Balance, known: list[tuple[int, float]], turn: int, now: float) -> None:
    there = places([load for load, _ in known], [seconds for _, seconds in known])
    assert WAYS[way](there, Asked(turn, now, 1 + turn % 3, chain([b"x" * (turn % 1000)]), turn % 2 or None)) in there


@pytest.mark.parametrize("way", WAYS.values())
@given(count=st.integers(1, 10))
def test_equals_take_turns(way: object, count: int) -> None:
    there = places([0] * count)
    assert callable(way)
    chosen = Counter(id(way(there, Asked(turn))) for turn in range(count * max(1, count - 1)))
    assert len(chosen) == count
    assert max(chosen.values()) == min(chosen.values())


def _answers(way: Balance, slow_s: float) -> int:
    """Return how many answers twelve clients get in 100 s from four replicas, one of them slow, in a simulation."""
    there, answers, now = places([0] * 4), 0, 0.0
    waiting: list[tuple[float, float, Place]] = []
    for turn in range(100_000):
        if len(waiting) == 12:
            waiting.sort(key=lambda each: each[0])
            now, began, place = waiting.pop(0)
            if now > 100:
                break
            answers += 1
            place.outstanding -= 1
            place.latency.add(now - began, now)
        place = WAYS[way](there, Asked(turn, now))
        place.outstanding += 1
        waiting.append((now + (slow_s if place is there[0] else 0.1), now, place))
    return answers


def test_with_one_slow_replica_latency_knows_more_than_load_and_load_more_than_nothing() -> None:
    ways = (Balance.ROUND_ROBIN, Balance.LEAST_OUTSTANDING, Balance.PEAK_EWMA)
    answers = {way: _answers(way, 2.0) for way in ways}
    assert answers[Balance.ROUND_ROBIN] < answers[Balance.LEAST_OUTSTANDING] < answers[Balance.PEAK_EWMA]
    assert answers[Balance.PEAK_EWMA] > 0.95 * 3 / 4 * _answers(Balance.PEAK_EWMA, 0.1), "nearly what three can do"
