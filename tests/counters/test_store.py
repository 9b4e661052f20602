"""What every store of counters promises, whoever asks it from wherever."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
import uvloop

from penstock.counters.counter import (
    KEPT_S,
    Ask,
    Counter,
    Grant,
    Kind,
    Refusal,
    Return,
    Store,
    StoreUnavailable,
)
from penstock.counters.desk import Desk
from penstock.counters.local import Local
from penstock.counters.remote import Remote
from penstock.counters.shared import Shared
from penstock.counters.sums import Sums
from penstock.counters.tally import Tally
from tests.counters.test_tally import Clock
from tests.servers import RedisServer

PATIENT_S = 30.0
RATE, LEVEL, SUM = Counter("rate", Kind.RATE, 100), Counter("level", Kind.LEVEL, 100), Counter("sum", Kind.SUM, 100)
OLD, NEW = Counter("old", Kind.SUM, 100, "month", "ann"), Counter("new", Kind.SUM, 100, "later", "ann")


class Known:
    """An opening that knows of one budget."""

    def spent(self, counter: Counter) -> int | None:
        return {"": 0, "month": 30}.get(counter.budget)

    def telling(self, _counter: Counter) -> int:
        return 1


class Shop:
    """A store that two workers ask, and the ways in which the second one may go."""

    def __init__(
        self,
        clock: Clock,
        stores: list[Store],
        end: Callable[[], Awaitable[None]],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self.clock = clock
        self.one, self.two = stores
        self.end = end
        self.close = close


def local(clock: Clock) -> Shop:
    tally = Tally(clock, opening=Known())

    async def end() -> None:
        tally.gone(1)

    async def close() -> None:
        """There is nothing to close."""

    return Shop(clock, [Local(tally, 0), Local(tally, 1)], end, close)


async def remote(clock: Clock) -> Shop:
    tally = Tally(clock, opening=Known())
    desk, stores = Desk(tally), []
    for _ in range(2):
        ours, theirs = socket.socketpair()
        await desk.serve(ours)
        stores.append(await Remote.open(theirs, clock, PATIENT_S))

    async def end() -> None:
        stores[1].close()
        while len(desk._windows) > 1:  # noqa: ASYNC110  # until it is noticed
            await asyncio.sleep(0)

    async def close() -> None:
        for store in stores:
            store.close()
        await desk.aclose()

    return Shop(clock, [*stores], end, close)


async def shared(clock: Clock, redis: RedisServer) -> Shop:
    stores = [
        Shared.begin(lambda: redis.url, f"w{n}", lambda: ("", 0), time.monotonic, PATIENT_S, PATIENT_S, clock)
        for n in range(2)
    ]
    sums = await Sums.open(redis.url)
    await sums.replace({"": 0, "month": 0}, [(OLD.name, 30, 0)], {}, [])
    for store in stores:
        await connected(store)

    async def end() -> None:
        await stores[1].aclose()
        assert await sums.free("w1", 0.0)

    async def close() -> None:
        for store in stores:
            await store.aclose()
        sums.close()

    return Shop(clock, [*stores], end, close)


@pytest.fixture(params=["local", "remote", "shared"])
def with_shop(request: pytest.FixtureRequest) -> Callable[[Callable[[Shop], Coroutine[Any, Any, None]]], None]:
    """Run a test with a shop of either kind."""

    def run(test: Callable[[Shop], Coroutine[Any, Any, None]]) -> None:
        async def whole() -> None:
            if request.param == "shared":
                shop = await shared(Clock(), request.getfixturevalue("redis"))
            else:
                shop = local(Clock()) if request.param == "local" else await remote(Clock())
            try:
                await test(shop)
            finally:
                await shop.close()

        uvloop.run(whole())

    return run


WithShop = Callable[[Callable[[Shop], Coroutine[Any, Any, None]]], None]


async def connected(store: Shared) -> None:
    while store._connection is None:  # noqa: ASYNC110  # until Redis has answered
        await asyncio.sleep(0)


async def granted(store: Store, *asks: Ask) -> list[Grant]:
    answer = await store.take(asks)
    assert not isinstance(answer, Refusal)
    return list(answer)


async def refused(store: Store, *asks: Ask) -> Refusal:
    answer = await store.take(asks)
    assert isinstance(answer, Refusal)
    return answer


def test_both_workers_together_get_the_limit(with_shop: WithShop) -> None:
    async def test(shop: Shop) -> None:
        for of in (RATE, LEVEL, SUM):
            await granted(shop.one, Ask(of, 60, 60))
            await granted(shop.two, Ask(of, 40, 40))
            refusal = await refused(shop.one, Ask(of, 1, 1))
            assert refusal.remaining == 0

    with_shop(test)


def test_all_or_nothing(with_shop: WithShop) -> None:
    async def test(shop: Shop) -> None:
        await granted(shop.two, Ask(LEVEL, 90, 90))
        refusal = await refused(shop.one, Ask(RATE, 5, 5), Ask(LEVEL, 11, 11))
        assert (refusal.index, refusal.remaining) == (1, 10)
        (grant,) = await granted(shop.one, Ask(RATE, 1, 1))
        assert grant.remaining == 99

    with_shop(test)


def test_a_refusal_says_when_there_is_room(with_shop: WithShop) -> None:
    async def test(shop: Shop) -> None:
        await granted(shop.one, Ask(RATE, 100, 100))
        shop.clock.now += 20
        refusal = await refused(shop.two, Ask(RATE, 1, 1))
        assert refusal.after_s == pytest.approx(KEPT_S - 20)
        assert not refusal.lent
        shop.clock.now += refusal.after_s
        await granted(shop.two, Ask(RATE, 100, 100))

    with_shop(test)


def test_what_is_given_back_is_there_for_whoever_asks_after_it(with_shop: WithShop) -> None:
    async def test(shop: Shop) -> None:
        for _ in range(50):
            (grant,) = await granted(shop.two, Ask(LEVEL, 100, 100))
            shop.two.give([Return(LEVEL, 100, grant.slot)])
            (grant,) = await granted(shop.one, Ask(LEVEL, 100, 100))
            shop.one.give([Return(LEVEL, 100, grant.slot)])

    with_shop(test)


def test_more_is_lent_while_there_is_plenty_and_said_so(with_shop: WithShop) -> None:
    async def test(shop: Shop) -> None:
        (grant,) = await granted(shop.one, Ask(RATE, 1, 20))
        assert 1 < grant.amount <= 20
        assert (await refused(shop.two, Ask(RATE, 100, 100))).lent

    with_shop(test)


def test_more_may_be_counted_than_was_asked_for(with_shop: WithShop) -> None:
    async def test(shop: Shop) -> None:
        (grant,) = await granted(shop.one, Ask(RATE, 1, 1))
        shop.one.give([Return(RATE, -500, grant.slot)])
        assert (await refused(shop.one, Ask(RATE, 1, 1))).remaining == 0

    with_shop(test)


def test_the_end_of_a_worker_frees_what_it_held_and_forgets_nothing_it_spent(with_shop: WithShop) -> None:
    async def test(shop: Shop) -> None:
        await granted(shop.two, Ask(RATE, 30, 30), Ask(LEVEL, 100, 100))
        await shop.end()
        (rate, _) = await granted(shop.one, Ask(RATE, 1, 1), Ask(LEVEL, 100, 100))
        assert rate.remaining == 69

    with_shop(test)


def test_what_is_spent_of_a_sum_never_comes_back(with_shop: WithShop) -> None:
    async def test(shop: Shop) -> None:
        await granted(shop.one, Ask(SUM, 40, 40))
        await granted(shop.two, Ask(SUM, 50, 50))
        shop.one.settle([SUM], 15, 25)
        (grant,) = await granted(shop.one, Ask(SUM, 1, 1))
        assert grant.remaining == 100 - 50 - 15 - 1
        shop.one.give([Return(SUM, 1, 0)])
        shop.clock.now += 10_000_000
        await shop.end()
        (grant,) = await granted(shop.one, Ask(SUM, 85, 85))
        assert grant.remaining == 0

    with_shop(test)


def test_more_may_be_spent_of_a_sum_than_was_taken(with_shop: WithShop) -> None:
    async def test(shop: Shop) -> None:
        for _ in range(2):
            await granted(shop.one, Ask(SUM, 20, 20))
        shop.one.settle([SUM], 75, 20 - 75)
        assert (await refused(shop.two, Ask(SUM, 6, 6))).remaining == 5
        shop.one.settle([SUM], 10, 10)
        (grant,) = await granted(shop.two, Ask(SUM, 15, 15))
        assert grant.remaining == 0

    with_shop(test)


def test_a_sum_begins_with_what_was_spent_before(with_shop: WithShop) -> None:
    async def test(shop: Shop) -> None:
        assert (await refused(shop.one, Ask(OLD, 71, 71))).remaining == 70
        await granted(shop.two, Ask(OLD, 70, 70))

    with_shop(test)


def test_nothing_is_granted_of_a_sum_that_nobody_knows_and_the_rest_is_not_taken(with_shop: WithShop) -> None:
    async def test(shop: Shop) -> None:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await shop.one.take([Ask(LEVEL, 5, 5), Ask(NEW, 1, 1)])
        (grant,) = await granted(shop.one, Ask(LEVEL, 100, 100))
        assert grant.remaining == 0

    with_shop(test)
