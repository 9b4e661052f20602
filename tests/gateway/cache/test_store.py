"""What holds of each store, in a worker's memory and in a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from penstock.gateway.cache.memory import Memory
from penstock.gateway.cache.redis import Redis
from penstock.gateway.cache.store import Entry, Store
from tests.processes import PATIENCE_S
from tests.servers import RedisServer

Test = Callable[[Store], Awaitable[None]]
Run = Callable[[Test], None]


async def connected(url: str, patience_s: float = PATIENCE_S) -> Redis:
    """Return a store that is connected."""
    store = Redis.begin(lambda: url, patience_s)
    await until(lambda: store.connected)
    return store


async def until(test: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not test():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@pytest.fixture(params=["memory", "redis"])
def run(request: pytest.FixtureRequest) -> Run:
    """Return what runs a test with an empty store."""
    if request.param == "memory":
        return lambda test: asyncio.run(_finished(test(Memory(1 << 20, time.time))))
    server: RedisServer = request.getfixturevalue("redis")

    async def with_redis(test: Test) -> None:
        store = await connected(server.url)
        try:
            await test(store)
        finally:
            await store.aclose()

    return lambda test: asyncio.run(with_redis(test))


async def _finished(test: Awaitable[None]) -> None:
    await test


def test_what_is_put_is_there_under_its_key_alone(run: Run) -> None:
    async def test(store: Store) -> None:
        one, other = Entry(1.5, b"one \x00\xff\r\n"), Entry(2.5, b"")
        assert await store.get(b"t/1") is None
        store.put(b"t/1", one, 60)
        store.put(b"t/2", other, 60)
        assert (await store.get(b"t/1"), await store.get(b"t/2")) == (one, other)
        assert await store.get(b"u/1") is None
        store.put(b"t/1", other, 60)
        assert await store.get(b"t/1") == other

    run(test)


def test_what_is_past_its_time_is_not(run: Run) -> None:
    async def test(store: Store) -> None:
        store.put(b"soon", Entry(0.0, b"x"), 0.05)
        store.put(b"at once", Entry(0.0, b"x"), 0.0)
        store.put(b"late", Entry(0.0, b"x"), 60)
        assert await store.get(b"at once") is None
        deadline = time.monotonic() + PATIENCE_S
        while await store.get(b"soon") is not None:
            assert time.monotonic() < deadline
        assert await store.get(b"late") is not None

    run(test)


def test_large_answers_come_back_whole(run: Run) -> None:
    async def test(store: Store) -> None:
        body = bytes(range(256)) * 2000
        store.put(b"k", Entry(0.0, body), 60)
        assert await store.get(b"k") == Entry(0.0, body)

    run(test)
