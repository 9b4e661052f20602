"""What a worker's memory holds, and what it lets go."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.cache.memory import _OVERHEAD, Memory
from penstock.gateway.cache.store import Entry
from tests.counters.test_tally import Clock


def get(memory: Memory, key: bytes) -> Entry | None:
    return asyncio.run(memory.get(key))


def filled(clock: Clock, room: int, count: int) -> Memory:
    memory = Memory(room, clock)
    for number in range(count):
        memory.put(b"%d" % number, Entry(clock(), b"x" * 99), 60)
    return memory


EACH = 100 + _OVERHEAD


def test_what_was_used_least_lately_makes_room() -> None:
    clock = Clock()
    memory = filled(clock, 3 * EACH, 3)
    assert get(memory, b"0") is not None
    memory.put(b"3", Entry(clock(), b"x" * 99), 60)
    assert [get(memory, b"%d" % number) is not None for number in range(4)] == [True, False, True, True]
    assert (memory.evicted, memory.used, len(memory)) == (1, 3 * EACH, 3)


def test_an_answer_that_would_fill_it_all_throws_nothing_out() -> None:
    clock = Clock()
    memory = filled(clock, 3 * EACH, 3)
    memory.put(b"big", Entry(clock(), b"x" * 3 * EACH), 60)
    assert get(memory, b"big") is None
    assert len(memory) == 3


def test_less_room_is_taken_at_once_and_none_means_nothing() -> None:
    memory = filled(Clock(), 10 * EACH, 10)
    memory.resize(4 * EACH)
    assert (len(memory), memory.used) == (4, 4 * EACH)
    memory.resize(0)
    assert (len(memory), memory.used) == (0, 0)
    memory.put(b"x", Entry(0.0, b""), 60)
    assert len(memory) == 0


def test_so_many_entries_are_kept_and_no_more() -> None:
    memory = Memory(1 << 30, Clock(), most=2)
    for number in range(5):
        memory.put(b"%d" % number, Entry(0.0, b""), 60)
    assert len(memory) == 2


STEPS = st.lists(
    st.tuples(st.just("put"), st.sampled_from(b"abcdef"), st.integers(0, 400), st.integers(0, 9))
    | st.tuples(st.just("get"), st.sampled_from(b"abcdef"), st.just(0), st.just(0))
    | st.tuples(st.just("wait"), st.just(0), st.integers(0, 5), st.just(0))
    | st.tuples(st.just("resize"), st.just(0), st.integers(0, 3000), st.just(0))
)


@given(STEPS)
def test_the_bounds_hold_and_nothing_but_what_was_put_is_found(steps: list[tuple[str, int, int, int]]) -> None:
    clock, room = Clock(), 2000
    memory = Memory(room, clock, most=4)
    put: dict[bytes, tuple[Entry, float]] = {}

    async def run() -> None:
        nonlocal room
        for what, name, number, ttl in steps:
            key = bytes([name])
            match what:
                case "put":
                    put[key] = Entry(clock(), b"x" * number), clock() + ttl
                    memory.put(key, put[key][0], ttl)
                case "get":
                    found = await memory.get(key)
                    assert found is None or (found == put[key][0] and clock() < put[key][1])
                case "wait":
                    clock.now += number
                case "resize":
                    room = number
                    memory.resize(number)
            assert memory.used <= room
            assert len(memory) <= 4
            assert memory.used == sum(
                len(entry.body) + len(key) + _OVERHEAD for key, (entry, _) in memory._kept.items()
            )

    asyncio.run(run())
