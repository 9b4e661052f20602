"""Weights as a function of what is known of targets."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.routing.adaptive import FLOOR, adapted
from penstock.gateway.routing.vitals import Load

WEIGHT = st.floats(0.001, 1e6)
SHARE = st.floats(0, 1)
LOAD = st.builds(Load, st.just(0.0) | st.floats(0.001, 100), SHARE, SHARE)
TARGETS = st.lists(st.tuples(WEIGHT, LOAD), min_size=1, max_size=6)


def of(*loads: Load) -> list[float]:
    return [round(weight, 4) for weight in adapted([1.0] * len(loads), loads)]


@given(st.lists(WEIGHT, min_size=1, max_size=6), LOAD)
def test_targets_that_do_equally_well_have_their_configured_weights(weights: list[float], load: Load) -> None:
    assert adapted(weights, [load] * len(weights)) == pytest.approx(weights)


@given(TARGETS)
def test_each_keeps_its_floor_and_the_best_all_of_its_weight(targets: list[tuple[float, Load]]) -> None:
    weights, loads = zip(*targets, strict=True)
    shares = [new / old for new, old in zip(adapted(weights, loads), weights, strict=True)]
    assert max(shares) == pytest.approx(1)
    assert min(shares) >= FLOOR * (1 - 1e-9)


@given(TARGETS, st.data())
def test_who_does_worse_gets_no_more_and_the_others_no_less(
    targets: list[tuple[float, Load]], data: st.DataObject
) -> None:
    weights, loads = zip(*targets, strict=True)
    number = data.draw(st.integers(0, len(targets) - 1))
    load = loads[number]
    worse = Load(
        load.latency_s * data.draw(st.floats(1, 10)),
        data.draw(st.floats(load.used, 1)),
        data.draw(st.floats(load.errors, 1)),
    )
    if any(not each.latency_s for each in loads):
        worse = msgspec.structs.replace(worse, latency_s=load.latency_s)  # which is that of others where none is known
    before, after = (adapted(weights, (*loads[:number], each, *loads[number + 1 :])) for each in (load, worse))

    def share(found: tuple[float, ...]) -> float:
        return found[number] / sum(found)

    assert share(after) <= share(before) * (1 + 1e-9)


def test_twice_as_slow_is_half_as_much() -> None:
    assert of(Load(0.2), Load(0.4)) == [1, 0.5]
    assert of(Load(0.2), Load(0.4), Load(0.1)) == [0.5, 0.25, 1]
    assert of(Load(0.1), Load(100.0)) == [1, FLOOR]


def test_what_fails_every_second_answer_gets_far_less() -> None:
    assert of(Load(0.2), Load(0.2, errors=0.5)) == [1, 0.0625]
    assert of(Load(0.2), Load(0.2, errors=0.01)) == [1, 0.9606]
    assert of(Load(0.2), Load(0.001, errors=1.0)) == [1, FLOOR], "however fast it fails"


def test_seats_count_where_they_run_out() -> None:
    assert of(Load(0.2, used=0.1), Load(0.2, used=0.3)) == [1, 0.9936]
    assert of(Load(0.2), Load(0.2, used=0.8)) == [1, 0.6723]
    assert of(Load(0.2), Load(0.2, used=1.0)) == [1, 0.2]


def test_what_is_not_known_counts_as_usual() -> None:
    assert of(Load(), Load()) == [1, 1]
    assert of(Load(0.1), Load(), Load(0.4)) == [1, 0.5, 0.25]


def test_where_all_fail_the_configured_weights_stay() -> None:
    assert adapted([3.0, 1.0], [Load(0.1, errors=1.0), Load(0.4, errors=1.0)]) == (3.0, 1.0)
