"""Choosing a replica that has read what it is asked."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.routing.affinity import prefix, session
from penstock.gateway.routing.prefix import chain
from tests.gateway.routing.replicas import Asked, Place, places

SYSTEM = b"You are a helpful assistant who knows the manual by heart. " * 40


def asked(text: bytes, **fields: int) -> Asked:
    return Asked(prefix=chain([text]), **fields)


def sent(place: Place, text: bytes) -> None:
    """As if a replica had read and answered it."""
    place.prompts.add(chain([text]))


@pytest.mark.parametrize("knows", range(4))
def test_the_replica_that_has_read_most_of_it_is_chosen(knows: int) -> None:
    there = places([0, 0, 0, 0])
    for place in there:
        sent(place, SYSTEM)
    sent(there[knows], SYSTEM + b"How do I open it?" * 20)
    for turn in range(8):
        chosen = prefix(there, asked(SYSTEM + b"How do I open it?" * 20 + b"And close it?", turn=turn))
        assert chosen is there[knows]


def test_it_is_left_when_another_would_have_read_all_of_it_sooner() -> None:
    knows, other = there = places([0, 0])
    sent(knows, SYSTEM)
    knows.prompts.reading = len(SYSTEM)
    assert prefix(there, asked(SYSTEM + b"a" * 100)) is knows
    knows.prompts.reading = 3 * len(SYSTEM)
    assert prefix(there, asked(SYSTEM + b"a" * 100)) is other


def test_it_is_left_when_it_is_saturated_however_little_there_is_to_read() -> None:
    knows, other, *_ = there = places([4, 0, 0, 0])
    sent(knows, SYSTEM)
    assert prefix(there, asked(SYSTEM)) is not knows, "half of its seats are taken, and nobody else has anything to do"
    knows.outstanding = 3
    assert prefix(there, asked(SYSTEM)) is knows
    knows.outstanding = 7
    for place in there[1:]:
        place.outstanding = 6
    assert prefix(there, asked(SYSTEM)) is knows, "the others have as much to do"
    assert other.outstanding < knows.outstanding


@given(st.integers(2, 6), st.lists(st.binary(min_size=200, max_size=3000), min_size=1, max_size=20))
def test_processes_that_know_nothing_of_each_other_agree(count: int, prompts: list[bytes]) -> None:
    ours, theirs = places([0] * count), places([0] * count)
    for number, text in enumerate(prompts):
        first, second = (prefix(there, asked(text, turn=number, workers=2)) for there in (ours, theirs[::-1]))
        assert first.name == second.name


def test_a_process_sends_what_is_new_to_it_where_the_others_do_unless_that_is_busy() -> None:
    there = places([0] * 4)
    home = prefix(there, asked(SYSTEM, workers=4))
    home.prompts.reading = len(SYSTEM)
    home.outstanding = 1
    assert prefix(there, asked(SYSTEM, workers=4)) is home
    assert prefix(there, asked(SYSTEM, workers=1)) is not home, "alone it knows that nobody has read it"


def test_new_prompts_are_spread_also_where_they_have_a_beginning_in_common() -> None:
    there = places([0] * 4)
    for place in there:
        sent(place, SYSTEM)
    texts = [SYSTEM + str(number).encode() * 600 for number in range(200)]
    chosen = Counter(prefix(there, asked(text, workers=2)).name for text in texts)
    assert len(chosen) == 4
    assert min(chosen.values()) > 25


def test_prompts_too_short_to_be_known_go_where_there_is_least_to_do() -> None:
    there = places([3, 1, 2])
    assert prefix(there, asked(b"hi")) is there[1]


@given(st.integers(1, 12), st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=60), st.data())
def test_sessions_move_only_when_they_must(count: int, sessions: list[int], data: st.DataObject) -> None:
    there = places([0] * (count + 1))
    gone = data.draw(st.sampled_from(there))
    left = [place for place in there if place is not gone]
    for each in sessions:
        before, after = (session(candidates, Asked(session=each)) for candidates in (there, left))
        assert after is before or before is gone


def test_sessions_are_spread_evenly() -> None:
    there = places([0] * 5)
    chosen = Counter(session(there, Asked(session=number)).name for number in range(5000))
    assert len(chosen) == 5
    assert max(chosen.values()) - min(chosen.values()) < 250


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.integers(0, 2**64 - 1))
def test_no_replica_gets_much_more_than_its_share_of_sessions(loads: list[int], each: int) -> None:
    there = places(loads)
    chosen = session(there, Asked(session=each))
    assert chosen.outstanding < 1.25 * (sum(loads) + 1) / len(loads) + 1


def test_a_session_whose_replica_is_full_goes_to_its_next_and_comes_back() -> None:
    there = places([0] * 4)
    first = session(there, Asked(session=7))
    second = session([place for place in there if place is not first], Asked(session=7))
    first.outstanding = 5
    assert {session(there, Asked(turn, session=7)).name for turn in range(4)} == {second.name}
    first.outstanding = 1
    assert session(there, Asked(session=7)) is first


def test_without_a_session_the_least_loaded_is_chosen() -> None:
    there = places([3, 1, 2])
    assert session(there, Asked()) is there[1]
