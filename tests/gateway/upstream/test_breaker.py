"""The breaker as a state machine, against a plain model of what it must never do."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.gateway.upstream.breaker import IN_A_ROW, Breaker, State, Ticket


class Clocked:
    """A breaker with a clock, and what it became."""

    def __init__(self, draw: float = 0.5) -> None:
        self.now = 100.0
        self.became: list[State] = []
        self.breaker = Breaker(lambda: draw, self.became.append)

    def admit(self) -> Ticket:
        ticket = self.breaker.admit(self.now)
        assert ticket is not None
        return ticket

    def fail(self) -> None:
        self.breaker.failed(self.admit(), self.now)

    def succeed(self) -> None:
        self.breaker.succeeded(self.admit(), self.now)

    def state(self) -> State:
        return self.breaker.state

    def open(self) -> None:
        for _ in range(IN_A_ROW):
            self.fail()
        assert self.state() is State.OPEN

    def to_half_open(self) -> None:
        self.now += self.breaker.wait_s(self.now)


def test_it_opens_on_failures_in_a_row_and_admits_nothing_then() -> None:
    it = Clocked()
    for _ in range(IN_A_ROW - 1):
        it.fail()
    it.succeed()
    for _ in range(IN_A_ROW - 1):
        it.fail()
    assert it.state() is State.CLOSED
    it.fail()
    assert it.state() is State.OPEN
    assert it.breaker.admit(it.now) is None
    assert it.breaker.wait_s(it.now) > 0


def test_it_opens_on_the_share_of_failures_lately_and_forgets_older_ones() -> None:
    it = Clocked()
    for number in range(40):
        if number % 3 == 2:
            it.succeed()
        else:
            it.fail()
        it.now += 0.6  # so that never twenty of them are lately
    assert it.state() is State.CLOSED
    for _ in range(8):
        if it.state() is State.CLOSED:
            it.succeed()
            it.fail()
        if it.state() is State.CLOSED:
            it.fail()
    assert it.state() is State.OPEN


def test_half_of_the_outcomes_may_be_failures() -> None:
    it = Clocked()
    for _ in range(100):
        it.fail()
        it.succeed()
        it.now += 0.01
    assert it.state() is State.CLOSED


@pytest.mark.parametrize("share", [0.1, 0.3])
@pytest.mark.parametrize("per_s", [50, 1000])
def test_failures_that_only_happen_to_follow_one_another_do_not_open_it(share: float, per_s: int) -> None:
    """Ten minutes in which each outcome fails by itself: with five in a row it would open up to hundreds of times."""
    it, chance = Clocked(), random.Random(3)
    for _ in range(600 * per_s):
        it.now += 1 / per_s
        if chance.random() < share:
            it.fail()
        else:
            it.succeed()
    assert it.became == []


def test_failures_that_fall_due_together_do_not_open_it() -> None:
    """As timeouts do, since deadlines are looked at only ten times a second: all before the next good end."""
    it = Clocked()
    for _ in range(20):
        for _ in range(400):
            it.now += 0.001
            it.succeed()
        for _ in range(20):
            it.fail()
    assert it.became == []


@given(per_s=st.floats(0.05, 3000), share=st.floats(0, 0.5), seconds=st.floats(0, 30))
def test_where_nothing_succeeds_any_more_it_opens_half_a_second_behind_the_fifth_failure(
    per_s: float, share: float, seconds: float
) -> None:
    it, chance = Clocked(), random.Random(5)
    for _ in range(min(int(seconds * per_s), 20_000)):
        it.now += 1 / per_s
        if chance.random() < share:
            it.fail()
            assume(it.state() is State.CLOSED)
        else:
            it.succeed()
    it.succeed()
    died = it.now
    while it.state() is State.CLOSED:
        it.now += 1 / per_s
        it.fail()
        assert it.now - died <= (IN_A_ROW + 1) / per_s + 0.5


def test_one_probe_decides() -> None:
    it = Clocked()
    it.open()
    it.to_half_open()
    probe = it.admit()
    assert it.state() is State.HALF_OPEN
    assert it.breaker.admit(it.now) is None
    it.breaker.left(probe)
    probe = it.admit()  # the client of the first had left, which says nothing
    it.breaker.failed(probe, it.now)
    assert it.state() is State.OPEN
    it.to_half_open()
    it.breaker.answers(it.admit())
    assert it.state() is State.CLOSED
    assert it.became == [State.OPEN, State.HALF_OPEN, State.OPEN, State.HALF_OPEN, State.CLOSED]


def test_it_stays_open_for_longer_each_time_up_to_a_minute_and_never_for_the_same_time_everywhere() -> None:
    for draw, least in ((0.0, 1.0), (0.999, 1.9)):
        it = Clocked(draw)
        it.open()
        waits = []
        for _ in range(40):
            waits.append(it.breaker.wait_s(it.now))
            it.to_half_open()
            it.fail()
        assert least <= waits[0] <= 2.0
        assert [round(late / early, 6) for early, late in pairwise(waits[:5])] == [2.0] * 4
        assert waits[-1] == waits[-2] <= 60.0


def test_having_recovered_it_forgets_how_often_it_opened() -> None:
    it = Clocked()
    it.open()
    first = it.breaker.wait_s(it.now)
    it.to_half_open()
    for _ in range(150):
        it.succeed()
    it.now += 20  # what was lately asks for more in a row
    it.open()
    assert it.breaker.wait_s(it.now) == first


def test_recovering_it_admits_no_crowd() -> None:
    """However many press on: in each round twice as many as in the one before, until all may."""
    it = Clocked()
    it.open()
    it.to_half_open()
    rounds: list[int] = []
    while len(rounds) < 8:
        admitted = [ticket for _ in range(1000) if (ticket := it.breaker.admit(it.now)) is not None]
        rounds.append(len(admitted))
        for ticket in admitted:
            it.breaker.answers(ticket)
        for ticket in admitted:
            it.breaker.succeeded(ticket, it.now)
        it.now += 0.01
    assert rounds == [1, 2, 4, 8, 16, 32, 64, 1000]


def test_recovering_it_does_not_wait_for_long_answers() -> None:
    """Plain answers of minutes begin only when they are complete."""
    it = Clocked()
    it.open()
    it.to_half_open()
    it.succeed()
    seen = []
    for _ in range(8):
        while it.breaker.admit(it.now) is not None:
            seen.append(it.now)
            if len(seen) > 1000:
                break
        it.now += 2.0
    counts = [seen.count(moment) for moment in sorted(set(seen))]
    assert counts[:4] == [2, 2, 4, 8]
    assert len(seen) > 1000, "in the end all may"


def test_a_probe_that_is_not_answered_gets_another_one_beside_it() -> None:
    it = Clocked()
    it.open()
    it.to_half_open()
    it.admit()
    it.now += 4.9
    assert it.breaker.admit(it.now) is None
    it.now += 0.1
    it.breaker.answers(it.admit())
    assert it.state() is State.CLOSED


def test_after_a_pause_it_admits_no_crowd_either() -> None:
    it = Clocked()
    early = it.admit()
    it.breaker.ease()
    assert [it.breaker.admit(it.now) is not None for _ in range(3)] == [True, False, False]
    it.breaker.succeeded(early, it.now)
    assert it.breaker.admit(it.now) is None, "what was asked before the pause says nothing of the time behind it"


def test_what_comes_back_from_before_a_change_says_nothing() -> None:
    it = Clocked()
    slow, broken = it.admit(), it.admit()
    it.open()
    it.breaker.succeeded(slow, it.now)
    assert it.state() is State.OPEN
    it.to_half_open()
    it.succeed()
    for _ in range(IN_A_ROW):
        it.breaker.failed(broken, it.now)
    assert it.state() is State.CLOSED


def test_one_failure_behind_a_good_probe_does_not_open_it_again() -> None:
    """What it has opened for is forgotten: its row, and the share of the failures lately."""
    world = Clocked()
    for _ in range(30):
        world.succeed()
    while world.state() is not State.OPEN:
        world.fail()
    world.now += world.breaker.wait_s(world.now)
    probe = world.admit()
    world.breaker.answers(probe)
    assert world.state() is State.CLOSED
    world.breaker.failed(probe, world.now)
    assert world.state() is State.CLOSED


class Machine(RuleBasedStateMachine):
    """Anything may happen in any order; tickets come back once each, at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.before = State.CLOSED
        self.breaker = Breaker(lambda: 0.3, self._became)
        self.out: list[Ticket] = []
        self.probes: list[tuple[Ticket, float]] = []
        self.told = ""

    def _became(self, state: State) -> None:
        allowed = {
            (State.CLOSED, State.OPEN): {"failed"},
            (State.OPEN, State.HALF_OPEN): {"admit"},
            (State.HALF_OPEN, State.OPEN): {"failed"},
            (State.HALF_OPEN, State.CLOSED): {"answers", "succeeded"},
        }
        assert self.told in allowed[self.before, state], (
            "never closed without a success, never opened without a failure"
        )
        self.before = state

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def admit(self) -> None:
        self.told = "admit"
        wait_s = self.breaker.wait_s(self.now)
        ticket = self.breaker.admit(self.now)
        assert (ticket is None) == (wait_s > 0)
        if ticket is not None:
            self.out.append(ticket)
            if self.breaker.state is State.HALF_OPEN:
                assert all(self.now - sent >= 5.0 for _, sent in self.probes), "one probe, for five seconds at least"
                self.probes.append((ticket, self.now))

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        self.told = "answers"
        self.breaker.answers(data.draw(st.sampled_from(self.out)))

    @precondition(lambda self: self.out)
    @rule(data=st.data(), end=st.sampled_from(["succeeded", "failed", "left"]))
    def end(self, data: st.DataObject, end: str) -> None:
        ticket = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        self.told = end
        if end == "left":
            self.breaker.left(ticket)
        else:
            getattr(self.breaker, end)(ticket, self.now)
        self.probes = [probe for probe in self.probes if probe[0] is not ticket]

    @rule()
    def ease(self) -> None:
        self.breaker.ease()

    @invariant()
    def probes_are_of_the_half_open(self) -> None:
        if self.breaker.state is not State.HALF_OPEN:
            self.probes = []

    @invariant()
    def it_can_always_be_asked_again_in_time(self) -> None:
        assert 0 <= self.breaker.wait_s(self.now) <= 60


TestBreaker = Machine.TestCase
