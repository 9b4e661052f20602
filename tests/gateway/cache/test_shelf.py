"""Memory before Redis, and what happens when the configuration names another one."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, generate_latest

from penstock.auth.secrets import SecretRef
from penstock.gateway.cache.counts import Counts, Result
from penstock.gateway.cache.redis import Held, Lock, Redis
from penstock.gateway.cache.shelf import Shelf
from penstock.gateway.cache.store import Entry
from penstock.snapshot.config import GatewaySettings
from penstock.types.priority import Priority
from tests.counters.test_tally import Clock

ONE, TWO = SecretRef(env="ONE"), SecretRef(env="TWO")


class Elsewhere(Redis):
    """A Redis that is there at once."""

    def __init__(self) -> None:
        super().__init__(lambda: "", 1.0)
        self.kept: dict[bytes, Entry] = {}
        self.closed = False
        self.holds = 0  # how often to say yet that another host asks

    async def lead(self, key: bytes, priority: Priority, hold_s: float) -> Entry | Lock | Held | None:
        self.holds -= 1
        return Held() if self.holds >= 0 else self.kept.get(key) or Lock(self, key, b"")

    async def get(self, key: bytes) -> Entry | None:
        return self.kept.get(key)

    def put(self, key: bytes, entry: Entry, left_s: float) -> None:
        self.kept[key] = entry

    async def aclose(self) -> None:
        self.closed = True


def test_what_is_found_far_is_near_from_then_on_until_its_time_is_over() -> None:
    async def test() -> None:
        clock, far = Clock(), Elsewhere()
        shelf = Shelf(lambda _: far, clock)
        shelf.follow(GatewaySettings(shared_cache=ONE))
        far.kept[b"k"] = entry = Entry(clock() - 50, b"x")
        assert shelf.near(b"k") is None
        assert await shelf.far(b"k", 60.0) == entry
        assert shelf.near(b"k") == entry
        clock.now += 10
        assert shelf.near(b"k") is None
        await shelf.far(b"k", 60.0)
        assert shelf.near(b"k") is None
        shelf.put(b"new", entry, 60.0)
        assert (shelf.near(b"new"), far.kept[b"new"]) == (entry, entry)
        await shelf.aclose()
        assert far.closed

    asyncio.run(test())


def test_what_another_host_asks_for_is_waited_for_as_long_as_it_may_take() -> None:
    async def test() -> None:
        clock, far = Clock(), Elsewhere()
        shelf = Shelf(lambda _: far, clock)
        assert await shelf.lead(b"k", 60.0, Priority.NORMAL, 60.0) is None
        shelf.follow(GatewaySettings(shared_cache=ONE))
        far.holds = 2
        assert isinstance(await shelf.lead(b"k", 60.0, Priority.NORMAL, 60.0), Lock)
        far.holds, far.kept[b"k"] = 2, Entry(clock(), b"x")
        assert await shelf.lead(b"k", 60.0, Priority.NORMAL, 60.0) == far.kept[b"k"]
        assert shelf.near(b"k") == far.kept[b"k"]
        far.holds = 1000
        assert await shelf.lead(b"l", 60.0, Priority.NORMAL, 0.05) is None
        assert far.holds > 990, "the pauses grow"
        await shelf.aclose()

    asyncio.run(test())


def test_each_reference_is_connected_to_once_and_left_for_the_next() -> None:
    async def test() -> None:
        places = {ONE: Elsewhere(), TWO: Elsewhere()}
        shelf, counts = Shelf(places.__getitem__, Clock()), CollectorRegistry()
        counted = Counts(counts, shelf)
        for reference in (None, ONE, ONE, TWO):
            shelf.follow(GatewaySettings(shared_cache=reference))
            for place in places.values():
                place.failures += 1
        await asyncio.sleep(0)
        assert (places[ONE].closed, places[TWO].closed) == (True, False)
        shelf.put(b"k", Entry(0.0, b"x"), 60.0)
        counted.looked_up("chat", Result.EXACT)
        counted.stored("chat")
        page = generate_latest(counts).decode()
        for line in (
            'penstock_cache_lookups_total{gen_ai_request_model="chat",result="exact"} 1.0',
            'penstock_cache_stored_total{gen_ai_request_model="chat"} 1.0',
            "penstock_cache_entries 1.0",
            "penstock_cache_outages_total 7.0",
            "penstock_cache_evicted_total 0.0",
        ):
            assert line in page
        shelf.follow(GatewaySettings(cache=0))
        assert "penstock_cache_bytes 0.0" in generate_latest(counts).decode()
        assert await shelf.far(b"k", 60.0) is None
        await shelf.aclose()
        assert places[TWO].closed

    asyncio.run(test())
