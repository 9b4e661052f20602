"""Kept answers in a real Redis that is slow, frozen, full, or full of something else."""

from __future__ import annotations

import asyncio
import logging

import pytest

from penstock.auth.secrets import SecretMissing
from penstock.gateway.cache.redis import Redis
from penstock.gateway.cache.store import Entry
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
