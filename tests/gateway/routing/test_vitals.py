"""What is known of a deployment, as answers come and time passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.routing.vitals import LATELY_S, Load, Vitals


def asked(seconds: float, count: int, *, every_s: float = 0.1, began: float = 100.0) -> tuple[Vitals, float]:
    vitals, now = Vitals(), began
    for _ in range(count):
        now += every_s
        vitals.answers(seconds, now)
    return vitals, now


def test_of_few_answers_nothing_is_said() -> None:
    vitals, now = asked(0.5, 9)
    assert vitals.load(now) == Load()
    vitals.answers(0.5, now)
    assert vitals.load(now).latency_s == pytest.approx(0.5)


def test_a_wait_that_a_client_gave_up_counts_if_it_was_longer_than_usual() -> None:
    vitals, now = asked(0.5, 20)
    vitals.given_up(0.4, now)
    assert vitals.load(now).latency_s == pytest.approx(0.5)
    for _ in range(200):
        now += 0.1
        vitals.given_up(20.0, now)
    assert vitals.load(now).latency_s > 5


@given(st.floats(0.002, 100), st.floats(0.01, 60))
def test_a_steady_latency_is_known_exactly_however_often_it_is_seen(seconds: float, every_s: float) -> None:
    vitals, now = asked(seconds, 30, every_s=every_s)
    assert vitals.load(now).latency_s == pytest.approx(seconds)


@pytest.mark.parametrize("every_s", [0.02, 0.5, 5.0, 60.0])
def test_a_change_is_known_after_a_while_and_not_from_one_answer(every_s: float) -> None:
    vitals, now = asked(0.2, 50, every_s=every_s)
    vitals.answers(2.0, now + every_s)
    assert vitals.load(now + every_s).latency_s < 0.4, "one is an accident"
    for _ in range(max(16, int(4 * LATELY_S / every_s))):
        now += every_s
        vitals.answers(2.0, now)
    assert vitals.load(now).latency_s > 1.8


def test_what_answers_slowly_is_judged_slowly() -> None:
    """By as many of its latencies as make ten, so that no loop acts before it knows what it has done."""
    quick, now = asked(0.2, 400)
    slow, _ = asked(20.0, 400)
    for number in range(1, 101):
        quick.answers(0.4, now + number / 10)
        slow.answers(40.0, now + number / 10)
    now += 10
    assert quick.load(now).latency_s / 0.2 > 1.5
    assert slow.load(now).latency_s / 20.0 < 1.2


def test_what_is_long_ago_is_not_known() -> None:
    vitals, now = asked(0.5, 20)
    vitals.looked(1.0, now)
    for _ in range(20):
        vitals.ended(False, now)
    assert vitals.load(now + 170).latency_s == pytest.approx(0.5)
    later = vitals.load(now + 200)
    assert later.latency_s == 0
    assert later.errors < 0.02
    vitals.answers(0.1, now + 200)
    assert vitals.load(now + 200).latency_s == 0, "it begins anew"


def test_the_share_of_failures_is_of_those_lately() -> None:
    vitals, now = Vitals(), 100.0
    vitals.ended(False, now)
    assert vitals.load(now).errors == pytest.approx(0.2), "one failure says little"
    for number in range(400):
        now += 0.1
        vitals.ended(number % 2 == 0, now)
    assert vitals.load(now).errors == pytest.approx(0.5, abs=0.02)
    for _ in range(900):
        now += 0.1
        vitals.ended(True, now)
    assert vitals.load(now).errors < 0.03


def test_seats_are_those_of_a_while_and_not_of_a_moment() -> None:
    vitals = Vitals()
    for number in range(400):
        vitals.looked(number % 2, 100 + number / 4)
    assert vitals.load(200.0).used == pytest.approx(0.5, abs=0.02)
    vitals.looked(0.25, 1000.0)
    assert vitals.load(1000.0).used == pytest.approx(0.25)
