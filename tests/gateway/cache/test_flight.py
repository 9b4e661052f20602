"""Equal requests under way: who asks, who waits, and what becomes of both."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.cache.flight import Flights, Lead
from penstock.gateway.cache.store import Entry
from penstock.types.errors import UpstreamRejected, UpstreamTimeout
from penstock.types.priority import Priority
from tests.counters.test_tally import Clock

ANSWER = Entry(1.0, b"an answer")
Joined = asyncio.Task[Entry | Lead | None]


async def settled() -> None:
    """Let every task go as far as it gets."""
    for _ in range(5):
        await asyncio.sleep(0)


def first(flights: Flights, key: bytes = b"k") -> Lead:
    lead = flights.lead(key)
    assert lead is not None
    return lead


async def joined(flights: Flights, count: int, patience_s: float = 1000.0, deadline: float = 10_000.0) -> list[Joined]:
    tasks = [asyncio.create_task(flights.join(b"k", patience_s, deadline)) for _ in range(count)]
    await settled()
    assert not any(task.done() for task in tasks)
    return tasks


def led(task: Joined) -> Lead:
    lead = task.result()
    assert isinstance(lead, Lead)
    return lead


def test_one_leads_and_all_get_its_answer() -> None:
    async def test() -> None:
        flights = Flights(Clock())
        lead = first(flights)
        assert flights.lead(b"k") is None
        assert flights.lead(b"other") is not None
        tasks = await joined(flights, 3)
        lead.land(ANSWER)
        assert await asyncio.gather(*tasks) == [ANSWER] * 3
        lead.release()
        assert flights.lead(b"k") is not None, "the next request is one of its own"

    asyncio.run(test())


def test_a_higher_priority_does_not_wait_behind_a_lower_one() -> None:
    async def test() -> None:
        flights = Flights(Clock())
        low = flights.lead(b"k", Priority.LOW)
        assert low is not None
        assert flights.lead(b"k", Priority.LOW) is None
        tasks = await joined(flights, 1)
        high = flights.lead(b"k", Priority.NORMAL)
        assert high is not None
        assert flights.lead(b"k", Priority.NORMAL) is None
        high.release()
        low.release()
        await settled()
        led(tasks[0]).land(ANSWER)
        assert len(flights) == 0

    asyncio.run(test())


def test_a_request_that_is_refused_is_refused_to_all_and_one_that_failed_is_not() -> None:
    async def test() -> None:
        flights = Flights(Clock())
        lead = first(flights)
        tasks = await joined(flights, 2)
        refused = UpstreamRejected("no", status=400, body=b"{}", code="c")
        lead.release(refused)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [(type(error), str(error), vars(error)) for error in found if isinstance(error, BaseException)] == [
            (UpstreamRejected, "no", vars(refused))
        ] * 2
        assert found[0] is not found[1], "each has a traceback of its own"
        assert len(flights) == 0
        lead = first(flights)
        tasks = await joined(flights, 2)
        lead.release(UpstreamRejected("later", status=503))
        await settled()
        assert [task.done() for task in tasks] == [True, False]
        led(tasks[0]).land(ANSWER)
        assert await tasks[1] == ANSWER

    asyncio.run(test())


def test_when_it_fails_the_next_in_line_leads_and_the_others_wait_on() -> None:
    async def test() -> None:
        flights = Flights(Clock())
        lead = first(flights)
        tasks = await joined(flights, 3)
        for number in range(3):
            lead.release()
            lead.release()
            await settled()
            assert [task.done() for task in tasks] == [True] * (number + 1) + [False] * (2 - number)
            lead = led(tasks[number])
        lead.release()
        assert len(flights) == 0

    asyncio.run(test())


def test_an_answer_that_cannot_be_shared_sends_all_on_their_way() -> None:
    async def test() -> None:
        flights = Flights(Clock())
        lead = first(flights)
        tasks = await joined(flights, 3)
        lead.land(None)
        assert await asyncio.gather(*tasks) == [None] * 3
        assert len(flights) == 0

    asyncio.run(test())


def test_who_leaves_while_waiting_is_not_in_the_line() -> None:
    async def test() -> None:
        flights = Flights(Clock())
        lead = first(flights)
        tasks = await joined(flights, 3)
        tasks[0].cancel()
        await settled()
        lead.release()
        await settled()
        led(tasks[1]).land(ANSWER)
        assert await tasks[2] == ANSWER

    asyncio.run(test())


def test_who_leaves_in_the_moment_in_which_it_is_to_lead_passes_that_on() -> None:
    async def test() -> None:
        flights = Flights(Clock())
        lead = first(flights)
        tasks = await joined(flights, 2)
        lead.release()
        tasks[0].cancel()
        await settled()
        assert tasks[0].cancelled()
        led(tasks[1]).release()
        assert len(flights) == 0

    asyncio.run(test())


def test_a_leader_that_is_slow_gets_one_more_beside_it_each_time() -> None:
    async def test() -> None:
        clock = Clock()
        flights = Flights(clock)
        slow = first(flights)
        waiting = await joined(flights, 2)
        clock.now += 999
        early = await joined(flights, 1)
        clock.now += 1
        second = await flights.join(b"k", 1000.0, 10_000.0)
        assert isinstance(second, Lead)
        third = await joined(flights, 1)
        second.release()
        await settled()
        assert not any(task.done() for task in (*waiting, *early, *third)), "the slow one may still answer"
        slow.land(ANSWER)
        assert await asyncio.gather(*waiting, *early, *third) == [ANSWER] * 4
        assert len(flights) == 0

    asyncio.run(test())


def test_time_that_is_over_wakes_one_of_those_that_wait() -> None:
    async def test() -> None:
        clock = asyncio.get_running_loop().time
        flights = Flights(clock)
        slow = first(flights)
        tasks = [asyncio.create_task(flights.join(b"k", 0.05, clock() + 1000)) for _ in range(5)]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done = [task for task in tasks if task.done()]
        assert len(done) == 1
        led(done[0]).land(ANSWER)
        slow.land(Entry(2.0, b"a later one"))
        assert [task.result() for task in tasks if task is not done[0] and await task] == [ANSWER] * 4
        assert len(flights) == 0

    asyncio.run(test())


def test_nobody_waits_beyond_the_deadline() -> None:
    async def test() -> None:
        clock = asyncio.get_running_loop().time
        flights = Flights(clock)
        lead = first(flights)
        for deadline in (clock(), clock() + 0.02):
            with pytest.raises(UpstreamTimeout):
                await flights.join(b"k", 1000.0, deadline)
        lead.release()
        assert len(flights) == 0

    asyncio.run(test())


STEPS = st.lists(
    st.tuples(st.sampled_from(["join", "land", "refuse", "fail", "leave"]), st.integers(0, 9), st.booleans())
)


class Crowd:
    """Those that ask the same, as far as they have come."""

    def __init__(self) -> None:
        self.flights = Flights(Clock())
        self.waiting: list[Joined] = []
        self.leads: list[Lead] = []

    def step(self, what: str, number: int) -> None:
        match what:
            case "join":
                if (lead := self.flights.lead(b"k")) is not None:
                    self.leads.append(lead)
                else:
                    self.waiting.append(asyncio.create_task(self.flights.join(b"k", 1000.0, 10_000.0)))
            case "leave" if self.waiting:
                self.waiting[number % len(self.waiting)].cancel()
            case "fail" if self.leads:
                self.leads.pop().release()
            case "land" | "refuse" if self.leads:
                self.leads.pop().land(ANSWER if what == "land" else None)

    async def look(self) -> None:
        """Let all go as far as they get; whoever waits then, waits for one that leads."""
        await settled()
        for task in [task for task in self.waiting if task.done()]:
            self.waiting.remove(task)
            if not task.cancelled() and isinstance(task.result(), Lead):
                self.leads.append(led(task))
        assert len(self.leads) == 1 or not (self.leads or self.waiting)


@given(STEPS)
def test_one_leads_for_as_long_as_anybody_waits_and_nothing_is_left_behind(steps: list[tuple[str, int, bool]]) -> None:
    async def test() -> None:
        crowd = Crowd()
        for what, number, at_once in steps:
            crowd.step(what, number)
            if not at_once:  # else the next step comes before anybody has noticed this one
                await crowd.look()
        await crowd.look()
        while crowd.leads:
            crowd.step("fail", 0)
            await crowd.look()
        assert not crowd.waiting
        assert len(crowd.flights) == 0

    asyncio.run(test())
