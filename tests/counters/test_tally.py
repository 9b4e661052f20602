"""Counting for several holders."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.counters.counter import KEPT_S, SLOT_S, Ask, Counter, Grant, Kind, Refusal, Return
from penstock.counters.tally import Tally


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def counter(kind: Kind, limit: int, name: str = "c") -> Counter:
    return Counter(name, kind, limit)


def take(tally: Tally, of: Counter, need: int = 1, want: int = 0, holder: int = 0) -> Grant | Refusal:
    found = tally.take(holder, [Ask(of, need, max(need, want))])
    return found if isinstance(found, Refusal) else found[0]


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("limit", [0, 1, 7])
def test_as_many_are_granted_as_the_limit_says(kind: Kind, limit: int) -> None:
    tally = Tally(Clock())
    found = [take(tally, counter(kind, limit), holder=index % 3) for index in range(limit + 3)]
    assert [isinstance(each, Grant) for each in found] == [True] * limit + [False] * 3
    assert [each.remaining for each in found] == [*reversed(range(limit)), 0, 0, 0]


def test_a_rate_has_room_again_when_the_refusal_says() -> None:
    clock = Clock()
    tally, rate = Tally(clock), counter(Kind.RATE, 2)
    take(tally, rate)
    clock.now += 10
    take(tally, rate)
    refused = take(tally, rate)
    assert isinstance(refused, Refusal)
    assert refused.after_s == pytest.approx(KEPT_S - 10)
    clock.now += refused.after_s - 0.001
    assert isinstance(take(tally, rate), Refusal)
    clock.now += 0.001
    assert isinstance(take(tally, rate), Grant)


@pytest.mark.parametrize("kind", Kind)
def test_what_never_fits_is_told_so(kind: Kind) -> None:
    refused = take(Tally(Clock()), counter(kind, 5), need=6)
    assert isinstance(refused, Refusal)
    assert refused.after_s == float("inf")


def test_all_asks_are_granted_or_none() -> None:
    tally = Tally(Clock())
    wide, narrow = counter(Kind.RATE, 10, "wide"), counter(Kind.LEVEL, 1, "narrow")
    asks = [Ask(wide, 1, 1), Ask(narrow, 1, 1)]
    assert isinstance(tally.take(0, asks), list)
    refused = tally.take(0, asks)
    assert isinstance(refused, Refusal)
    assert refused.index == 1
    left = take(tally, wide)
    assert left.remaining == 8


def test_what_a_holder_held_is_free_when_it_has_gone_and_what_it_took_of_a_rate_is_not() -> None:
    tally = Tally(Clock())
    level, rate = counter(Kind.LEVEL, 1, "level"), counter(Kind.RATE, 1, "rate")
    tally.take(1, [Ask(level, 1, 1), Ask(rate, 1, 1)])
    tally.gone(2)
    assert isinstance(take(tally, level), Refusal)
    tally.gone(1)
    assert isinstance(take(tally, level), Grant)
    assert isinstance(take(tally, rate), Refusal)


def test_leases_are_lent_only_far_from_the_limit_and_a_refusal_says_while_they_run() -> None:
    clock = Clock()
    tally, rate = Tally(clock), counter(Kind.RATE, 100)
    lent = take(tally, rate, want=80, holder=1)
    assert isinstance(lent, Grant)
    assert lent.amount == 1 + 37  # half of what is left of three quarters
    assert not lent.tight
    refused = take(tally, rate, need=63)
    assert isinstance(refused, Refusal)
    assert refused.lent
    assert isinstance(near := take(tally, rate, need=40, want=80), Grant)
    assert (near.amount, near.tight) == (40, True)
    clock.now += SLOT_S
    refused = take(tally, rate, need=63)
    assert isinstance(refused, Refusal)
    assert not refused.lent


def test_what_is_given_back_can_be_taken_and_no_more_than_was_taken() -> None:
    clock = Clock()
    tally, rate, level = Tally(clock), counter(Kind.RATE, 5, "rate"), counter(Kind.LEVEL, 5, "level")
    for of in (rate, level):
        taken = take(tally, of, need=4)
        assert isinstance(taken, Grant)
        clock.now += 30
        tally.give(0, [Return(of, 3, taken.slot), Return(of, 9, taken.slot), Return(of, -2, taken.slot)])
        assert take(tally, of).remaining == 2
        assert isinstance(take(tally, of, need=3), Refusal)


def test_nobody_gives_back_what_another_holds() -> None:
    tally, level = Tally(Clock()), counter(Kind.LEVEL, 1)
    take(tally, level, holder=1)
    tally.give(2, [Return(level, 1, 0)])
    assert isinstance(take(tally, level, holder=2), Refusal)


def test_counters_that_count_nothing_are_forgotten_and_there_are_never_more_than_the_most() -> None:
    clock = Clock()
    tally = Tally(clock, most=50)
    for index in range(200):
        take(tally, counter(Kind.RATE, 5, f"r{index}"))
    assert len(tally) == 50
    clock.now += KEPT_S
    for _ in range(50):
        take(tally, counter(Kind.RATE, 500, "r199"))
    assert len(tally) == 1


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-3, 6)), max_size=60), st.integers(0, 12))
def test_levels_add_up(steps: list[tuple[int, int]], limit: int) -> None:
    """No more is held than the limit, and all of it can be given back."""
    tally, level = Tally(Clock()), counter(Kind.LEVEL, limit)
    held = [0, 0, 0]
    for holder, amount in steps:
        if amount < 0:
            tally.give(holder, [Return(level, -amount, 0)])
            held[holder] = max(0, held[holder] + amount)
            continue
        found = take(tally, level, need=amount, holder=holder)
        assert isinstance(found, Grant) == (sum(held) + amount <= limit)
        held[holder] += amount if isinstance(found, Grant) else 0
    for holder in range(3):
        tally.gone(holder)
    assert isinstance(take(tally, level, need=limit), Grant)


def test_sums_are_kept_until_they_end_however_many_there_are() -> None:
    clock, today = Clock(), [1_000_000.0]
    tally = Tally(clock, most=3, now=lambda: today[0])
    old = [Counter(f"old {number}", Kind.SUM, 9, ends=1_000_000) for number in range(20)]
    for_ever = Counter("for ever", Kind.SUM, 9)
    for each in (*old, for_ever):
        take(tally, each, 9)
        tally.settle(0, [each], 9, 0)
    today[0] += 86_000
    clock.now += 100
    assert all(isinstance(take(tally, each), Refusal) for each in (*old, for_ever))
    today[0] += 1_000
    clock.now += 100
    assert isinstance(take(tally, for_ever), Refusal)
    assert isinstance(take(tally, old[0]), Grant), "nobody asks for it any more, so it may begin anew"


class _Told:
    """An opening whose budget goes out of force and comes back."""

    told, before = 1, 0

    def spent(self, _counter: Counter) -> int:
        return self.before

    def telling(self, _counter: Counter) -> int:
        return self.told


def test_a_sum_that_has_been_out_of_force_begins_anew_with_what_is_held_of_it() -> None:
    opening, budget = _Told(), counter(Kind.SUM, 1000)
    tally = Tally(Clock(), opening=opening)
    take(tally, budget, 100)
    tally.settle(0, [budget], 40, 60)
    take(tally, budget, 200)
    opening.told, opening.before = 2, 700
    grant = take(tally, budget, 30)
    assert isinstance(grant, Grant)
    assert grant.remaining == 1000 - 700 - 200 - 30
    tally.settle(0, [budget], 200, 30)
    assert isinstance(take(tally, budget, 100), Grant)
    assert isinstance(take(tally, budget), Refusal)


def test_what_is_held_for_long_hides_nothing_that_can_be_forgotten() -> None:
    clock = Clock()
    tally = Tally(clock)
    take(tally, counter(Kind.LEVEL, 5, "held"))
    for number in range(500):
        take(tally, counter(Kind.RATE, 5, f"address {number}"))
    clock.now += 100
    for _ in range(600):
        take(tally, counter(Kind.RATE, 5, "somebody"))
    assert len(tally) == 2
    assert take(tally, counter(Kind.LEVEL, 5, "held"), 4).remaining == 0


def test_what_is_spent_while_nobody_asks_counts_in_a_sum_that_has_come_back() -> None:
    opening, budget = _Told(), counter(Kind.SUM, 100)
    tally = Tally(Clock(), opening=opening)
    take(tally, budget, 60)
    opening.told, opening.before = 2, 5
    tally.settle(0, [budget], 60, 0)
    assert take(tally, budget, 36).remaining == 35
