"""Kept answers in a real Redis that is slow, frozen, full, or full of something else."""

from __future__ import annotations

import asyncio
import logging

import pytest

from penstock.auth.secrets import SecretMissing
from penstock.gateway.cache.redis import Held, Lock, Redis
from penstock.gateway.cache.store import Entry
from penstock.types.priority import Priority
from tests.gateway.cache.test_store import connected, until
from tests.processes import PATIENCE_S
from tests.servers import RedisServer

ENTRY = Entry(1.0, b"an answer")


def test_a_frozen_redis_costs_one_wait_and_is_asked_again_when_it_is_back() -> None:
    async def test() -> None:
        with RedisServer() as redis:
            store = await connected(redis.url, 0.2)
            store.put(b"k", ENTRY, 60)
            assert await store.get(b"k") == ENTRY
            redis.freeze()
            assert await store.get(b"k") is None
            assert not store.connected
            for _ in range(100):  # would take 20 s if each of them waited
                assert await store.get(b"k") is None
            store.put(b"k", ENTRY, 60)
            redis.thaw()
            await until(lambda: store.connected)
            assert await store.get(b"k") == ENTRY
            assert store.failures >= 1
            await store.aclose()

    asyncio.run(test())


def test_a_redis_that_dies_unasked_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        with RedisServer() as redis:
            store = await connected(redis.url)
            redis.kill()
            await until(lambda: not store.connected)
            store.put(b"k", ENTRY, 60)
            assert await store.get(b"k") is None
            redis.start()
            await until(lambda: store.connected)
            await store.aclose()

    with caplog.at_level(logging.WARNING):
        asyncio.run(test())
    said = [record.getMessage() for record in caplog.records if "cache" in record.getMessage()]
    assert said == ["the Redis of the cache is away; trying again", "the Redis of the cache is back"]


def test_what_would_take_too_long_to_bring_is_not_sent_there() -> None:
    async def test() -> None:
        with RedisServer() as redis, redis.client() as client:
            store = await connected(redis.url)
            store.put(b"large", Entry(0.0, b"x" * (4 << 20)), 60)
            store.put(b"small", ENTRY, 60)
            assert await store.get(b"small") == ENTRY
            assert client.keys("*") == ["penstock:cache:small"]
            await store.aclose()

    asyncio.run(test())


def test_a_full_redis_takes_nothing_and_still_gives(redis: RedisServer) -> None:
    async def test() -> None:
        store = await connected(redis.url)
        store.put(b"k", ENTRY, 60)
        assert await store.get(b"k") == ENTRY
        with redis.client() as client:
            client.config_set("maxmemory", "1mb")
            try:
                store.put(b"l", ENTRY, 60)
                assert await store.get(b"k") == ENTRY
                assert await store.get(b"l") is None
            finally:
                client.config_set("maxmemory", "0")
        assert store.connected
        assert store.failures == 1
        await store.aclose()

    asyncio.run(test())


async def hosts(url: str, *names: str) -> list[Redis]:
    """Return connected stores of these hosts."""
    stores = [Redis.begin(lambda: url, PATIENCE_S, host=name) for name in names]
    for store in stores:
        await until(lambda store=store: store.connected)  # type: ignore[misc]  # bound at once
    return stores


async def lead(store: Redis, priority: Priority = Priority.NORMAL, hold_s: float = 60.0) -> Lock:
    lock = await store.lead(b"k", priority, hold_s)
    assert isinstance(lock, Lock)
    return lock


def test_one_host_asks_at_a_time_and_all_find_what_it_has_put(redis: RedisServer) -> None:
    async def test() -> None:
        one, two = await hosts(redis.url, "1" * 12, "2" * 12)
        lock = await lead(one)
        assert await two.lead(b"k", Priority.NORMAL, 60.0) == Held()
        assert isinstance(await two.lead(b"other", Priority.NORMAL, 60.0), Lock)
        one.put(b"k", ENTRY, 60)
        lock.land(ENTRY, kept=True)
        assert await one.get(b"k") == ENTRY
        assert await two.lead(b"k", Priority.NORMAL, 60.0) == ENTRY
        with redis.client() as client:
            assert client.keys("penstock:asking:k") == []
        for store in (one, two):
            await store.aclose()

    asyncio.run(test())


def test_a_lock_is_given_back_by_its_owner_alone_and_ends_by_itself(redis: RedisServer) -> None:
    async def test() -> None:
        one, two = await hosts(redis.url, "1" * 12, "2" * 12)
        (await lead(one)).release(ConnectionError())
        assert await one.get(b"k") is None  # behind what it has said before
        short = await lead(two, hold_s=0.02)
        while isinstance(lock := await one.lead(b"k", Priority.NORMAL, 60.0), Held):
            pass
        assert isinstance(lock, Lock)
        short.release(None)
        assert await two.lead(b"k", Priority.NORMAL, 60.0) == Held()
        lock.release(None)
        lock.release(None)
        assert await one.get(b"k") is None
        (await lead(two)).release(None)
        for store in (one, two):
            await store.aclose()

    asyncio.run(test())


def test_a_lock_is_taken_over_by_its_own_host_and_by_a_higher_priority(redis: RedisServer) -> None:
    async def test() -> None:
        one, same, two = await hosts(redis.url, "1" * 12, "1" * 12, "2" * 12)
        first = await lead(one)
        second = await lead(same)
        first.release(None)
        assert await two.lead(b"k", Priority.NORMAL, 60.0) == Held()
        third = await lead(two, Priority.HIGH)
        second.release(None)
        assert await one.lead(b"k", Priority.NORMAL, 60.0) == Held()
        third.release(None)
        assert await two.get(b"k") is None
        (await lead(one)).release(None)
        for store in (one, same, two):
            await store.aclose()

    asyncio.run(test())


def test_who_leaves_before_it_knows_that_it_has_a_lock_gives_it_back(redis: RedisServer) -> None:
    async def test() -> None:
        one, two = await hosts(redis.url, "1" * 12, "2" * 12)
        asking = asyncio.create_task(one.lead(b"k", Priority.NORMAL, 60.0))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert await one.get(b"k") is None  # behind what it has said before
        (await lead(two)).release(None)
        for store in (one, two):
            await store.aclose()

    asyncio.run(test())


def test_a_redis_that_takes_no_locks_still_gives_answers(redis: RedisServer) -> None:
    async def test() -> None:
        store = await connected(redis.url)
        store.put(b"k", ENTRY, 60)
        assert await store.get(b"k") == ENTRY
        with redis.client() as client:
            client.config_set("maxmemory", "1mb")
            try:
                assert await store.lead(b"l", Priority.NORMAL, 60.0) is None
                assert await store.lead(b"k", Priority.NORMAL, 60.0) == ENTRY
            finally:
                client.config_set("maxmemory", "0")
        assert store.connected
        await store.aclose()

    asyncio.run(test())


def test_a_frozen_redis_gives_no_locks_and_costs_one_wait() -> None:
    async def test() -> None:
        with RedisServer() as redis:
            store = await connected(redis.url, 0.2)
            redis.freeze()
            assert await store.lead(b"k", Priority.NORMAL, 60.0) is None
            for _ in range(100):  # would take 20 s if each of them waited
                assert await store.lead(b"k", Priority.NORMAL, 60.0) is None
            redis.thaw()
            await store.aclose()

    asyncio.run(test())


@pytest.mark.parametrize("knows", [False, True])
def test_a_lock_does_not_outlast_an_outage_in_which_it_was_taken_or_given_back(knows: bool) -> None:
    async def test() -> None:
        with RedisServer() as redis:
            store = await connected(redis.url, 0.2)
            (other,) = await hosts(redis.url, "2" * 12)
            lock = await lead(store) if knows else None
            redis.freeze()
            assert await store.lead(b"l", Priority.NORMAL, 600.0) is None
            if lock is not None:
                lock.release(None)
            redis.thaw()
            for key in (b"k", b"l"):
                await until(lambda: store.connected and other.connected)
                async with asyncio.timeout(PATIENCE_S):
                    while isinstance(found := await other.lead(key, Priority.NORMAL, 600.0), Held):
                        pass
                assert isinstance(found, Lock)
            for each in (store, other):
                await each.aclose()

    asyncio.run(test())


@pytest.mark.parametrize("value", [b"", b"\xff", b"text", b"\x92\xc0\xc0", b"\x91\xcb"])
def test_what_is_not_ours_is_no_answer(redis: RedisServer, value: bytes) -> None:
    async def test() -> None:
        store = await connected(redis.url)
        with redis.client() as client:
            client.set(b"penstock:cache:k", value)
        assert await store.get(b"k") is None
        assert (store.connected, store.failures) == (True, 1)
        await store.aclose()

    asyncio.run(test())


def test_no_more_is_on_its_way_than_there_is_room_for() -> None:
    async def test() -> None:
        with RedisServer() as redis:
            store = await connected(redis.url)
            redis.freeze()
            big = Entry(0.0, b"x" * (3 << 20))
            for number in range(5):
                store.put(b"%d" % number, big, 60)
            redis.thaw()
            assert [await store.get(b"%d" % number) is not None for number in range(5)] == [True, True, *[False] * 3]
            await until(lambda: not store._unsent)
            store.put(b"4", big, 60)
            assert await store.get(b"4") == big
            await store.aclose()

    asyncio.run(test())


def test_without_an_address_it_says_so_once_and_tries_again(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        def url() -> str:
            raise SecretMissing("the environment variable CACHE is not set")

        store = Redis.begin(url, PATIENCE_S)
        await until(lambda: store.failures >= 1)
        assert await store.get(b"k") is None
        await store.aclose()

    with caplog.at_level(logging.WARNING):
        asyncio.run(test())
    (record,) = caplog.records
    assert record.__dict__["fields"] == {"error": "the environment variable CACHE is not set"}
