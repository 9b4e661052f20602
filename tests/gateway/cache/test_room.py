"""Room for answers under way: all of them together have only so much, whatever is taken and given back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.cache.room import LEAST, Room

STEPS = st.lists(st.tuples(st.sampled_from(["new", "take", "free"]), st.integers(0, 9), st.integers(0, 400)))


@given(STEPS)
def test_never_is_more_taken_than_there_is_and_in_the_end_nothing(steps: list[tuple[str, int, int]]) -> None:
    room = Room(1000)
    spaces = [room.space()]
    held = {0: 0}
    for what, number, size in steps:
        index = number % len(spaces)
        match what:
            case "new":
                held[len(spaces)] = 0
                spaces.append(room.space())
            case "take":
                before = room.used
                if spaces[index].take(size):
                    held[index] += room.used - before
                    assert room.used - before > size, "a piece takes more than its own bytes"
                else:
                    assert room.used == before
                    assert spaces[index].full
                    assert before + size > 900, "there was none"
            case "free":
                spaces[index].free()
                held[index] = 0
        assert room.used == sum(held.values()) <= 1000
    for space in spaces:
        space.free()
        space.free()
    assert room.used == 0


def test_there_is_a_share_of_what_kept_answers_have_and_room_for_the_largest_one() -> None:
    room = Room()
    for cache, most in ((0, LEAST), (64 << 20, 16 << 20), (1 << 30, 256 << 20)):
        room.fit(cache)
        assert room.most == most
