"""Choosing one of several replicas."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.routing.balance import WAYS, Latency, least_outstanding, peak_ewma, round_robin
from penstock.snapshot.config import Balance


@dataclass(eq=False)
class Place:
    outstanding: int = 0
    latency: Latency = field(default_factory=Latency)


def _places(loads: list[int], latencies: list[float] | None = None) -> list[Place]:
    places = [Place(load) for load in loads]
    for place, seconds in zip(places, latencies or (), strict=False):
        place.latency.add(seconds, 100.0)
    return places


@given(
    st.sampled_from(Balance),
    st.lists(st.tuples(st.integers(0, 50), st.floats(0, 100)), min_size=1, max_size=10),
    st.integers(0, 10**6),
    st.floats(100, 1000),
)
def test_every_way_chooses_one_of_them(way: Balance, known: list[tuple[int, float]], turn: int, now: float) -> None:
    places = _places([load for load, _ in known], [seconds for _, seconds in known])
    assert WAYS[way](places, turn, now) in places


@given(st.lists(st.integers(0, 50), min_size=1, max_size=10), st.integers(0, 10**6))
def test_the_least_loaded_is_chosen(loads: list[int], turn: int) -> None:
    assert least_outstanding(_places(loads), turn, 0.0).outstanding == min(loads)


@pytest.mark.parametrize("way", WAYS.values())
@given(count=st.integers(1, 10))
def test_equals_take_turns(way: object, count: int) -> None:
    places = _places([0] * count)
    assert callable(way)
    chosen = Counter(id(way(places, turn, 0.0)) for turn in range(count * max(1, count - 1)))
    assert len(chosen) == count
    assert max(chosen.values()) == min(chosen.values())


def test_round_robin_looks_at_nothing() -> None:
    places = _places([9, 0, 0], [5.0, 0.1, 0.1])
    assert [places.index(round_robin(places, turn, 100.0)) for turn in range(6)] == [0, 1, 2, 0, 1, 2]


@given(st.integers(2, 8), st.data())
def test_every_pair_is_compared_so_the_slowest_and_busiest_is_never_chosen(count: int, data: st.DataObject) -> None:
    worst = data.draw(st.integers(0, count - 1))
    places = _places([3 if number == worst else 1 for number in range(count)], [0.5] * count)
    chosen = Counter(places.index(peak_ewma(places, turn, 100.0)) for turn in range(count * (count - 1)))
    assert worst not in chosen
    assert len(chosen) == count - 1


def test_a_slow_replica_gets_less_and_a_new_one_is_not_flooded() -> None:
    quick, slow, new = _places([3, 0, 4], [0.1, 1.0])
    for turn in range(6):
        assert peak_ewma([quick, slow], turn, 100.0) is quick
        assert peak_ewma([quick, new], turn, 100.0) is quick, "nothing is known of the new one, which has more to do"
        assert peak_ewma([new, slow], turn, 100.0) is slow


def test_a_latency_rises_at_once_and_falls_with_time() -> None:
    latency = Latency()
    assert latency.at(50.0) == 0
    latency.add(0.1, 100.0)
    latency.add(2.0, 101.0)
    assert latency.at(101.0) == 2.0
    latency.add(0.1, 102.0)
    assert 1.5 < latency.at(102.0) < 2.0
    for second in range(103, 153):
        latency.add(0.1, float(second))
    assert 0.1 <= latency.at(152.0) < 0.12
    assert latency.at(1000.0) < 1e-9


def _answers(way: Balance, slow_s: float) -> int:
    """Return how many answers twelve clients get in 100 s from four replicas, one of them slow, in a simulation."""
    places, answers, now = [Place() for _ in range(4)], 0, 0.0
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
        place = WAYS[way](places, turn, now)
        place.outstanding += 1
        waiting.append((now + (slow_s if place is places[0] else 0.1), now, place))
    return answers


def test_with_one_slow_replica_latency_knows_more_than_load_and_load_more_than_nothing() -> None:
    answers = {way: _answers(way, 2.0) for way in Balance}
    assert answers[Balance.ROUND_ROBIN] < answers[Balance.LEAST_OUTSTANDING] < answers[Balance.PEAK_EWMA]
    assert answers[Balance.PEAK_EWMA] > 0.95 * 3 / 4 * _answers(Balance.PEAK_EWMA, 0.1), "nearly what three can do"
