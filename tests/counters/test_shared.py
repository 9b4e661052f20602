"""Counting in a real Redis that is slow, frozen, gone, or has lost its memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from penstock.auth.secrets import SecretMissing
from penstock.counters.counter import Ask, Counter, Grant, Kind, Refusal, Return, StoreUnavailable
from penstock.counters.held import Position
from penstock.counters.shared import Shared
from penstock.counters.sums import Sums
from tests.counters.test_tally import Clock
from tests.processes import PATIENCE_S
from tests.servers import RedisServer

RATE, LEVEL, SUM = Counter("r", Kind.RATE, 10), Counter("l", Kind.LEVEL, 10), Counter("s", Kind.SUM, 100, "b")
Test = Callable[[], Coroutine[Any, Any, None]]


class Journal:
    def __init__(self) -> None:
        self.position: Position = ("w-0", 0)


@asynccontextmanager
async def shared(
    url: str, writer: str = "w", journal: Journal | None = None, clock: Clock | None = None, timeout_s: float = 30.0
) -> AsyncIterator[Shared]:
    where = journal or Journal()
    store = Shared.begin(lambda: url, writer, lambda: where.position, time.monotonic, timeout_s, 2 * timeout_s, clock)
    try:
        yield store
    finally:
        await store.aclose()


async def granted(store: Shared, *asks: Ask) -> list[Grant]:
    """Ask until the store is there."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            answer = await store.take(asks)
        except StoreUnavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        else:
            assert not isinstance(answer, Refusal), answer
            return list(answer)


async def until(test: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await test():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def tell(url: str, *writers: str, spent: int = 0) -> None:
    """Say, as control does, what is spent and whose word is awaited."""
    sums = await Sums.open(url)
    await sums.replace({"b": 0}, [(SUM.name, spent, 0)] if spent else [], {writer: {} for writer in writers}, writers)
    sums.close()


async def room(store: Shared, counter: Counter) -> int:
    """Return what is left of a counter."""
    (grant,) = await granted(store, Ask(counter, 0, 0))
    return grant.remaining


def test_a_frozen_redis_costs_one_time_out_and_gets_back_what_it_grants_too_late() -> None:
    async def test() -> None:
        with RedisServer() as redis:
            await tell(redis.url)
            async with shared(redis.url, timeout_s=0.05) as store, shared(redis.url, "other") as other:
                await granted(store, Ask(LEVEL, 1, 1))
                await granted(other, Ask(LEVEL, 0, 0))
                redis.freeze()
                for _ in range(2):  # the second one does not wait
                    with pytest.raises(StoreUnavailable):
                        await store.take([Ask(LEVEL, 5, 5)])
                redis.thaw()
                await granted(store, Ask(LEVEL, 9, 9))
                assert await room(other, LEVEL) == 0
                store.give([Return(LEVEL, 10, 0)])

                async def empty() -> bool:
                    return await room(other, LEVEL) == 10

                await until(empty)

    uvloop.run(test())


def test_a_redis_that_lost_its_memory_is_told_what_is_held_and_knows_no_sum() -> None:
    async def test() -> None:
        with RedisServer() as redis:
            await tell(redis.url)
            async with shared(redis.url) as store:
                await granted(store, Ask(LEVEL, 6, 6), Ask(SUM, 70, 70))
                redis.kill()
                store.give([Return(LEVEL, 2, 0), Return(SUM, 10, 0)])
                redis.start()
                async with shared(redis.url, "other") as other:
                    while other._connection is None:  # noqa: ASYNC110  # until it is there
                        await asyncio.sleep(0.01)
                    with pytest.raises(StoreUnavailable):
                        await other.take([Ask(LEVEL, 1, 1)])
                    await tell(redis.url, "w", "frozen", spent=15)
                    for counter in (LEVEL, SUM):
                        with pytest.raises(StoreUnavailable):
                            await other.take([Ask(counter, 1, 1)])
                    async with shared(redis.url, "frozen"):
                        assert await room(other, LEVEL) == 6
                        assert await room(other, SUM) == 100 - 15 - 60

    uvloop.run(test())


def test_a_worker_that_is_excused_is_not_waited_for_and_may_still_say_what_it_holds(redis: RedisServer) -> None:
    async def test() -> None:
        await tell(redis.url, "one", "dead", "late")
        sums = await Sums.open(redis.url)
        async with shared(redis.url, "one") as one:
            for excused in ([], ["one", "nobody"], ["dead"]):
                await sums.excuse(excused)
                for counter in (LEVEL, SUM):
                    with pytest.raises(StoreUnavailable):
                        await one.take([Ask(counter, 1, 1)])
            await sums.excuse(["late", "dead"])
            assert await room(one, SUM) == 100
            async with shared(redis.url, "late") as late:
                await granted(late, Ask(SUM, 30, 30))
                assert await room(one, SUM) == 70
        sums.close()

    uvloop.run(test())


def test_what_is_spent_is_held_until_control_has_posted_it(redis: RedisServer) -> None:
    async def test() -> None:
        journal, sums = Journal(), await Sums.open(redis.url)
        await sums.replace({"b": 0}, [], {}, [])
        async with shared(redis.url, journal=journal) as store, shared(redis.url, "other") as other:
            await granted(store, Ask(SUM, 40, 40))
            journal.position = "w-0", 100
            store.settle([SUM], 15, 25)

            async def free() -> bool:
                return await room(other, SUM) == 85

            await until(free)
            assert await sums.post("w", "w-0", 0, 60, [])
            assert not await sums.post("w", "w-0", 0, 100, [(SUM.name, 15, 0)]), "some of it is in there already"
            assert await room(other, SUM) == 85
            assert await sums.post("w", "w-0", 60, 100, [(SUM.name, 15, 0)])
            assert await sums.post("w", "w-0", 60, 100, [(SUM.name, 15, 0)]), "it is in there"
            await until(free)
            assert not store._held.amounts
        assert await sums.free("w", 0.0)
        async with shared(redis.url, "third") as third:
            assert await room(third, SUM) == 85
        sums.close()

    uvloop.run(test())


def test_a_silent_worker_holds_no_places_any_more_and_its_money_until_control_says_so(redis: RedisServer) -> None:
    async def test() -> None:
        clock, sums = Clock(), await Sums.open(redis.url)
        await sums.replace({"b": 0}, [], {}, [])
        async with shared(redis.url, "dead", clock=clock) as dead:
            await granted(dead, Ask(LEVEL, 10, 10), Ask(SUM, 30, 30))
            assert dead._task is not None
            dead._task.cancel()
            await asyncio.gather(dead._task, return_exceptions=True)
        clock.now += 4.9
        async with shared(redis.url, "one", clock=clock) as one:
            assert await room(one, LEVEL) == 0
        clock.now += 0.2
        async with shared(redis.url, "two", clock=clock) as two:
            assert await room(two, LEVEL) == 10
            assert await room(two, SUM) == 70
            assert await sums.free("dead", 0.0)
            assert await room(two, SUM) == 100
        sums.close()

    uvloop.run(test())


def test_control_frees_nobody_who_lives(redis: RedisServer) -> None:
    async def test() -> None:
        await tell(redis.url)
        sums = await Sums.open(redis.url)
        async with shared(redis.url) as store:
            await granted(store, Ask(LEVEL, 3, 3))
            assert not await sums.free("w", 60.0)
            assert await room(store, LEVEL) == 7
        sums.close()

    uvloop.run(test())


def test_without_an_address_it_is_away_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        def url() -> str:
            raise SecretMissing("the environment variable REDIS_URL is empty or unusable")

        store = Shared.begin(url, "w", lambda: ("", 0), time.monotonic)
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable):
            await store.take([Ask(LEVEL, 1, 1)])
        await store.aclose()

    with caplog.at_level("WARNING"):
        uvloop.run(test())
    assert [record.__dict__["fields"]["error"] for record in caplog.records] == [
        "the environment variable REDIS_URL is empty or unusable"
    ]


def test_a_wrong_password_is_not_logged(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        url = f"redis://me:hunter2@127.0.0.1:{redis.port}/0"
        async with shared(url) as store:
            while not caplog.records:  # noqa: ASYNC110  # until it has been refused
                await asyncio.sleep(0.01)
            with pytest.raises(StoreUnavailable):
                await store.take([Ask(LEVEL, 1, 1)])

    with caplog.at_level("WARNING"):
        uvloop.run(test())
    assert all("hunter2" not in str(record.__dict__) for record in caplog.records)


def test_many_questions_at_once_are_all_answered_and_none_twice(redis: RedisServer) -> None:
    async def test() -> None:
        await tell(redis.url)
        async with shared(redis.url) as store:
            await granted(store, Ask(RATE, 0, 0))
            wide = Counter("wide", Kind.LEVEL, 1500)
            answers = await asyncio.gather(*(store.take([Ask(wide, 1, 1)]) for _ in range(2000)))
            assert sum(not isinstance(answer, Refusal) for answer in answers) == 1500

    uvloop.run(test())


def test_a_redis_that_was_emptied_is_told_again_by_everybody(redis: RedisServer) -> None:
    async def test() -> None:
        await tell(redis.url)
        async with shared(redis.url) as store, shared(redis.url, "other") as other:
            await granted(store, Ask(LEVEL, 10, 10), Ask(SUM, 100, 100))
            await granted(other, Ask(RATE, 0, 0))
            with redis.client() as client:
                client.flushall()
            await tell(redis.url, "w", "other")
            assert await room(other, LEVEL) == 0
            assert await room(other, SUM) == 0

    uvloop.run(test())


def test_one_that_was_taken_for_dead_says_again_what_it_holds(redis: RedisServer) -> None:
    async def test() -> None:
        await tell(redis.url)
        async with shared(redis.url) as store, shared(redis.url, "other") as other:
            await granted(store, Ask(LEVEL, 5, 5))
            sums = await Sums.open(redis.url)
            assert await sums.free("w", -1.0)
            assert await room(other, LEVEL) == 10
            store.give([Return(LEVEL, 1, 0)])

            async def told() -> bool:
                return await room(other, LEVEL) == 6

            await until(told)
            sums.close()

    uvloop.run(test())


def test_a_return_that_redis_refuses_is_not_lost(redis: RedisServer) -> None:
    async def test() -> None:
        await tell(redis.url)
        async with shared(redis.url) as store, shared(redis.url, "other") as other:
            await granted(store, Ask(LEVEL, 10, 10))
            with redis.client() as client:
                client.config_set("maxmemory", 1)
                store.give([Return(LEVEL, 10, 0)])
                while store._connection is not None:  # noqa: ASYNC110  # until it has heard
                    await asyncio.sleep(0.01)
                client.config_set("maxmemory", 0)

            async def free() -> bool:
                return await room(other, LEVEL) == 10

            await until(free)

    uvloop.run(test())


def test_an_answer_that_comes_when_nobody_waits_any_more_holds_nothing(redis: RedisServer) -> None:
    async def test() -> None:
        await tell(redis.url)
        async with shared(redis.url) as store:
            await granted(store, Ask(RATE, 0, 0))
            asking = asyncio.create_task(store.take([Ask(LEVEL, 7, 7)]))
            await asyncio.sleep(0)
            store._connection = None  # as when it is given up in the very turn in which the answer is read
            store._waiting.lost()
            with pytest.raises(StoreUnavailable):
                await asking
            await asyncio.sleep(0.05)
            assert not store._held.amounts

    uvloop.run(test())
