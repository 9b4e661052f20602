"""Several workers with leases on one tally."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from penstock.counters.counter import SLOT_S, WINDOW_S, Ask, Counter, Grant, Kind, Refusal, StoreUnavailable
from penstock.counters.leases import Lease, Leases
from penstock.counters.local import Local
from penstock.counters.tally import Tally
from tests.counters.test_tally import Clock


class Counted(Local):
    """A store that counts how often it is asked, and is away when told so."""

    asked = 0
    away = False
    gate: asyncio.Event | None = None

    async def take(self, asks: Sequence[Ask]) -> Sequence[Grant] | Refusal:
        self.asked += 1
        await (self.gate.wait() if self.gate else asyncio.sleep(0))
        if self.away:
            raise StoreUnavailable
        return await super().take(asks)


class Workers:
    """Workers that share a tally; sleeping moves the clock and lets all of them give back what has ended."""

    def __init__(self, count: int) -> None:
        self.clock = Clock()
        tally = Tally(self.clock)
        self.stores = [Counted(tally, holder) for holder in range(count)]
        self.leases = [Leases(store, self.clock, self.sleep) for store in self.stores]

    async def sleep(self, seconds: float) -> None:
        self.clock.now += seconds
        for each in self.leases:
            each.sweep()

    async def take(self, worker: int, lease: Lease, amount: int = 1) -> bool:
        leases = self.leases[worker]
        return leases.spend([lease], [amount]) or not isinstance(await leases.take([lease], [amount]), Refusal)

    async def lend(self, lease: Lease) -> None:
        """Let the first worker take five times, after which it has some more to spend."""
        for _ in range(5):
            assert await self.take(0, lease)
        assert lease.free


@given(
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3), st.sampled_from([0.0, 0.01, 0.2, 59.8])), max_size=120),
)
def test_in_no_minute_is_more_spent_than_the_limit(limit: int, steps: list[tuple[int, int, float]]) -> None:
    async def run() -> list[tuple[float, int]]:
        workers = Workers(3)
        held = [Lease(Counter("c", Kind.RATE, limit)) for _ in range(3)]
        spent = []
        for worker, amount, after_s in steps:
            if await workers.take(worker, held[worker], amount):
                spent.append((workers.clock.now, min(amount, limit)))
            await workers.sleep(after_s)
        return spent

    spent = asyncio.run(run())
    for began, _ in spent:
        assert sum(amount for at, amount in spent if began <= at < began + WINDOW_S) <= limit


@given(st.integers(0, 60), st.sampled_from(Kind), st.lists(st.integers(0, 3), min_size=80, max_size=80))
def test_exactly_as_many_are_admitted_as_the_limit_says(limit: int, kind: Kind, order: list[int]) -> None:
    async def run() -> int:
        workers = Workers(4)
        held = [Lease(Counter("c", kind, limit)) for _ in range(4)]
        return sum([await workers.take(worker, held[worker]) for worker in order])

    assert asyncio.run(run()) == min(limit, 80)


def test_what_another_has_been_lent_and_does_not_spend_is_not_lost() -> None:
    async def run() -> None:
        workers = Workers(2)
        held = [Lease(Counter("c", Kind.RATE, 20)) for _ in range(2)]
        await workers.lend(held[0])
        assert [await workers.take(1, held[1]) for _ in range(16)] == [True] * 15 + [False]

    asyncio.run(run())


def test_tasks_that_ask_at_the_same_time_leave_nothing_behind() -> None:
    async def run() -> None:
        workers = Workers(2)
        held = [Lease(Counter("c", Kind.LEVEL, 200)) for _ in range(2)]
        await workers.lend(held[0])
        assert all(await asyncio.gather(*(workers.take(0, held[0]) for _ in range(20))))
        workers.leases[0].close()
        assert await workers.take(1, held[1], 175)

    asyncio.run(run())


def test_what_is_spent_late_counts_a_whole_minute_from_then_on() -> None:
    async def run() -> None:
        workers = Workers(2)
        held = [Lease(Counter("c", Kind.RATE, 20)) for _ in range(2)]
        await workers.lend(held[0])
        workers.clock.now += SLOT_S - 0.01
        last = workers.clock.now
        while held[0].free:
            assert await workers.take(0, held[0])
        while await workers.take(1, held[1]):
            pass
        workers.clock.now = last + WINDOW_S - 0.01
        assert not await workers.take(0, held[0])

    asyncio.run(run())


async def _many(workers: Workers, lease: Lease, count: int, after_s: float) -> int:
    for _ in range(count):
        assert await workers.take(0, lease)
        await workers.sleep(after_s)
    return workers.stores[0].asked


def test_few_requests_of_a_busy_worker_ask() -> None:
    workers = Workers(1)
    lease = Lease(Counter("c", Kind.RATE, 1_000_000))
    assert asyncio.run(_many(workers, lease, 20_000, 0.0005)) < 0.05 * 20_000


def test_the_last_slot_is_for_whoever_asks_next_as_soon_as_it_is_free() -> None:
    async def run() -> None:
        workers = Workers(2)
        held = [Lease(Counter("c", Kind.LEVEL, 1)) for _ in range(2)]
        for turn in range(10):
            worker = turn % 2
            assert await workers.take(worker, held[worker])
            assert not await workers.take(1 - worker, held[1 - worker])
            workers.leases[worker].release(held[worker], 1)

    asyncio.run(run())


def test_nothing_is_kept_of_what_could_not_be_taken_whole() -> None:
    async def run() -> None:
        workers = Workers(1)
        leases, store = workers.leases[0], workers.stores[0]
        wide, narrow = Lease(Counter("wide", Kind.LEVEL, 3)), Lease(Counter("narrow", Kind.LEVEL, 0))
        for _ in range(9):
            refused = await leases.take([wide, narrow], [1, 1])
            assert isinstance(refused, Refusal)
            assert refused.index == 1
        store.away = True
        for _ in range(9):
            try:
                await leases.take([wide], [1])
            except StoreUnavailable:
                continue
            raise AssertionError("the store is away")
        store.away = False
        roomy = Lease(Counter("roomy", Kind.LEVEL, 100))
        await workers.lend(roomy)
        free = roomy.free
        assert isinstance(await leases.take([roomy, narrow], [1, 1]), Refusal)
        assert roomy.free == free
        assert [await workers.take(0, wide) for _ in range(4)] == [True, True, True, False]
        leases.close()

    asyncio.run(run())


def test_a_worker_that_closes_gives_back_what_it_has_not_spent() -> None:
    async def run() -> None:
        workers = Workers(2)
        held = [Lease(Counter("c", Kind.LEVEL, 100)) for _ in range(2)]
        await workers.lend(held[0])
        workers.leases[0].close()
        assert await workers.take(1, held[1], 95)

    asyncio.run(run())


def test_what_is_given_back_counts_for_the_lease_it_came_from() -> None:
    """A refusal comes after another task has had a new lease: what the refused one had taken was of the old one."""

    async def run() -> None:
        workers = Workers(2)
        leases, store = workers.leases[0], workers.stores[0]
        busy, full = Lease(Counter("busy", Kind.RATE, 1000)), Lease(Counter("full", Kind.LEVEL, 0))
        await workers.lend(busy)
        store.gate = gate = asyncio.Event()
        refused = asyncio.create_task(leases.take([busy, full], [1, 1]))
        await asyncio.sleep(0)  # it waits for the store
        store.gate, old = None, busy.slot
        workers.clock.now += SLOT_S
        assert await leases.take([busy], [1]) == [busy.slot]
        assert busy.slot != old
        free = busy.free
        gate.set()
        assert isinstance(await refused, Refusal)
        assert busy.free == free

    asyncio.run(run())


def test_what_was_taken_and_is_not_needed_is_spent_by_the_next_without_asking() -> None:
    async def run() -> None:
        workers = Workers(1)
        leases, store = workers.leases[0], workers.stores[0]
        lease = Lease(Counter("c", Kind.RATE, 1000))
        (slot,) = await taken(leases, lease, 100)
        leases.release(lease, 100, 40, slot)
        assert leases.spend([lease], [60])
        assert store.asked == 1
        leases.release(lease, 60, 100, slot)  # it was more than thought
        assert isinstance(await leases.take([lease], [861]), Refusal)
        assert await leases.take([lease], [860])

    asyncio.run(run())


def test_what_others_keep_of_a_level_without_using_it_is_waited_for() -> None:
    async def run() -> None:
        workers = Workers(2)
        held = [Lease(Counter("c", Kind.LEVEL, 10)) for _ in range(2)]
        slots = await taken(workers.leases[0], held[0], 5)
        workers.leases[0].release(held[0], 5, 0, slots[0])  # to the lease, which runs a while
        assert isinstance(await workers.stores[1].take([Ask(held[1].counters[0], 10, 10)]), Refusal)
        assert await workers.take(1, held[1], 10)

    asyncio.run(run())


async def taken(leases: Leases, lease: Lease, amount: int) -> list[int]:
    slots = await leases.take([lease], [amount])
    assert not isinstance(slots, Refusal)
    return slots


@given(
    st.integers(1, 500),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60), st.floats(0, 1), st.sampled_from([0.0, 0.05, 0.3]))),
)
def test_never_more_of_a_sum_is_spent_or_held_than_there_is(
    limit: int, steps: list[tuple[int, int, float, float]]
) -> None:
    async def run() -> None:
        workers = Workers(3)
        held = [Lease(Counter("c", Kind.SUM, limit)) for _ in range(3)]
        spent = 0
        waiting: list[tuple[int, int, int]] = []
        for worker, amount, share, after_s in steps:
            if await workers.take(worker, held[worker], amount):
                waiting.append((worker, amount, int(amount * share)))
            assert spent + sum(amount for _, amount, _ in waiting) <= limit
            if len(waiting) > 2:
                worker, amount, cost = waiting.pop(0)
                workers.leases[worker].settle(held[worker], amount, cost)
                spent += cost
            await workers.sleep(after_s)
        for worker, amount, cost in waiting:
            workers.leases[worker].settle(held[worker], amount, cost)
            spent += cost
        await workers.sleep(1)
        assert await workers.take(0, held[0], limit - spent), "nothing has leaked"
        assert not await workers.take(1, held[1], 1)

    asyncio.run(run())


_TOGETHER = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 60), st.floats(0, 1), st.sampled_from([0.0, 0.05, 0.3])), max_size=60
)


def _shares(limits: list[int], kind: Kind) -> list[Lease]:
    """A lease for each of three workers, of two or three of the same three counters."""
    one, two, three = (Counter(f"c{number}", kind, limit) for number, limit in enumerate(limits))
    return [Lease(one, two), Lease(two, three), Lease(three, one, two)]


@given(st.lists(st.integers(1, 300), min_size=3, max_size=3), st.sampled_from([Kind.LEVEL, Kind.SUM]), _TOGETHER)
def test_what_is_spent_together_keeps_to_each_limit_and_none_of_it_is_lost(
    limits: list[int], kind: Kind, steps: list[tuple[int, int, float, float]]
) -> None:
    async def run() -> None:
        workers, held = Workers(3), _shares(limits, kind)
        out: dict[Counter, int] = dict.fromkeys(held[2].counters, 0)
        waiting: list[tuple[int, int, int]] = []

        def end() -> None:
            worker, amount, cost = waiting.pop(0)
            if kind is Kind.SUM:
                workers.leases[worker].settle(held[worker], amount, cost)
            else:
                cost = 0
                workers.leases[worker].release(held[worker], amount)
            for counter in held[worker].counters:
                out[counter] -= amount - cost

        for worker, amount, share, after_s in steps:
            fits = all(out[counter] + amount <= counter.limit for counter in held[worker].counters)
            assert await workers.take(worker, held[worker], amount) == fits
            if fits:
                waiting.append((worker, amount, int(amount * share)))
                for counter in held[worker].counters:
                    out[counter] += amount
            if len(waiting) > 2:
                end()
            await workers.sleep(after_s)
        while waiting:
            end()
        await workers.sleep(1)
        for counter, spent in out.items():
            assert await workers.take(0, Lease(counter), counter.limit - spent)
            assert not await workers.take(1, Lease(counter), 1)

    asyncio.run(run())


@given(st.lists(st.integers(1, 300), min_size=3, max_size=3), _TOGETHER)
def test_of_rates_that_are_spent_together_none_is_overrun_however_much_one_needs(
    limits: list[int], steps: list[tuple[int, int, float, float]]
) -> None:
    async def run() -> None:
        workers, held = Workers(3), _shares(limits, Kind.RATE)
        used: list[tuple[float, Lease, int]] = []
        for worker, amount, share, after_s in steps:
            lease = held[worker]
            if await workers.take(worker, lease, amount * 8):  # some need more than there ever is
                least = min(counter.limit for counter in lease.counters)
                used.append((workers.clock.now, lease, int(min(amount * 8, least) * share)))
                workers.leases[worker].release(lease, amount * 8, used[-1][2], lease.slot)
            await workers.sleep(after_s)
        for counter in held[2].counters:
            mine = [(at, amount) for at, lease, amount in used if counter in lease.counters]
            for began, _ in mine:
                assert sum(amount for at, amount in mine if began <= at < began + WINDOW_S) <= counter.limit
        await workers.sleep(1)
        for counter in held[2].counters:
            now = workers.clock.now
            left = counter.limit - sum(
                amount for at, lease, amount in used if counter in lease.counters and at > now - WINDOW_S - 1
            )
            assert left <= 0 or await workers.take(0, Lease(counter), left), "what was not used is there again"

    asyncio.run(run())


def test_a_refusal_tells_which_of_all_counters_it_was() -> None:
    async def run() -> None:
        leases = Workers(1).leases[0]
        rates = Lease(Counter("a", Kind.RATE, 9), Counter("b", Kind.RATE, 9))
        levels = Lease(Counter("c", Kind.LEVEL, 9), Counter("d", Kind.LEVEL, 1))
        assert await leases.take([rates, levels], [1, 1])
        for _ in range(2):
            refused = await leases.take([rates, levels], [1, 1])
            assert isinstance(refused, Refusal)
            assert refused.index == 3

    asyncio.run(run())


def test_what_is_left_is_told_of_the_counter_nearest_to_its_end() -> None:
    async def run() -> None:
        workers = Workers(2)
        wide, narrow = Counter("wide", Kind.RATE, 2000), Counter("narrow", Kind.RATE, 1500)
        lease, other = Lease(wide, narrow), Lease(wide)
        assert (lease.nearest, lease.remaining) == (1, 1500)
        for spent in range(1, 51):
            assert await workers.take(0, lease)
            assert (lease.nearest, lease.remaining + lease.free) == (1, 1500 - spent)
        assert await workers.take(1, other, 1000)
        await workers.sleep(1)
        assert await workers.take(0, lease)
        assert (lease.nearest, lease.remaining + lease.free) == (0, 2000 - 1000 - 51)

    asyncio.run(run())


def test_of_many_tasks_that_find_a_lease_ended_one_asks() -> None:
    async def run() -> None:
        workers = Workers(1)
        leases, store = workers.leases[0], workers.stores[0]
        lease = Lease(Counter("c", Kind.RATE, 1_000_000))
        for _ in range(200):
            assert await workers.take(0, lease)
        await workers.sleep(SLOT_S)
        asked = store.asked
        found = await asyncio.gather(*(leases.take([lease], [1]) for _ in range(60)))
        assert all(isinstance(slots, list) for slots in found)
        assert store.asked == asked + 1
        await workers.sleep(SLOT_S)
        store.away = True
        failed = await asyncio.gather(*(leases.take([lease], [1]) for _ in range(9)), return_exceptions=True)
        assert all(isinstance(each, StoreUnavailable) for each in failed)
        first = asyncio.create_task(leases.take([lease], [1]))
        store.away, store.gate = False, asyncio.Event()
        second = asyncio.create_task(leases.take([lease], [1]))
        await asyncio.sleep(0)
        first.cancel()
        store.gate.set()
        assert await second == [lease.slot], "nobody waits for one who has left"

    asyncio.run(run())


def test_who_has_waited_for_another_in_vain_asks_without_waiting_again() -> None:
    async def run() -> None:
        workers = Workers(2)
        leases, store = workers.leases[0], workers.stores[0]
        mine, theirs = (Lease(Counter("c", Kind.RATE, 1000)) for _ in range(2))
        assert await workers.take(0, mine)
        assert mine.granted
        await workers.sleep(1)
        assert await workers.take(1, theirs, 999)
        store.gate = asyncio.Event()
        tasks = [asyncio.create_task(leases.take([mine], [1])) for _ in range(20)]
        await asyncio.sleep(0)
        assert store.asked == 2, "one asks, and the others wait for it"
        store.gate.set()
        assert all(isinstance(found, Refusal) for found in await asyncio.gather(*tasks))
        assert store.asked == 21
        store.gate = asyncio.Event()
        tasks = [asyncio.create_task(leases.take([mine], [1])) for _ in range(20)]
        await asyncio.sleep(0)
        assert store.asked == 41, "after a refusal nobody waits for another"
        store.gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(run())


@given(st.integers(3, 300), st.integers(1, 1000), st.sampled_from([Kind.RATE, Kind.SUM, Kind.LEVEL]))
def test_a_crowd_that_finds_little_is_asked_for_by_one_of_it(crowd: int, amount: int, kind: Kind) -> None:
    """A lease is as large as what was needed before; many at once need more, and must not all ask."""

    async def run() -> None:
        workers = Workers(1)
        (store,), (leases,) = workers.stores, workers.leases
        mine = Lease(Counter("all", kind, 10**12))
        assert await workers.take(0, mine, amount)
        assert await workers.take(0, mine, amount), "so that there is a measure"
        before = store.asked
        tasks = [asyncio.create_task(leases.take([mine], [amount])) for _ in range(crowd)]
        found = await asyncio.gather(*tasks)
        assert not any(isinstance(each, Refusal) for each in found)
        assert store.asked - before <= 3

    asyncio.run(run())
