"""Equal requests of several workers: who leads, who waits, and which bytes travel."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.cache.host.question import HostLead, Taken
from penstock.gateway.cache.host.tower import FETCH_S, Door, Tower
from penstock.gateway.cache.host.wire import PART, Answers, Ask, Fetch, Part, Questions, Told, Word
from penstock.gateway.cache.store import Entry
from penstock.types.errors import UpstreamRejected, UpstreamTimeout
from penstock.types.priority import Priority
from tests.gateway.cache.host.field import KEY, Field, Joined, Worker, led, settled, taken, waiting

ANSWER = Entry(1.0, b"an answer", b"x-penstock-degraded: fallback\r\n")
Test = Callable[[Field], Coroutine[Any, Any, None]]


def over(test: Test, **fields: Any) -> None:
    """Run a test with three workers; nothing is left behind by it."""

    async def whole() -> None:
        field = Field(**fields)
        await test(field)
        await settled()
        assert field.empty

    asyncio.run(whole())


def test_one_worker_leads_and_the_others_get_its_answer() -> None:
    async def test(field: Field) -> None:
        one, two, three = field.workers
        lead = await led(one.ask())
        others = [two.ask(), three.ask(), three.ask()]
        await waiting(*others)
        lead.land(ANSWER, kept=True)
        assert [await taken(each) for each in others] == [Taken(ANSWER, kept=True)] * 3
        lead.release(None)

    over(test)


def test_an_answer_that_nobody_else_waits_for_does_not_travel() -> None:
    async def test(field: Field) -> None:
        one, two, _ = field.workers
        lead = await led(one.ask())
        other = await led(two.ask(key=b"t/other"))
        lead.land(ANSWER, kept=True)
        other.land(ANSWER, kept=False)
        await settled()
        assert not any(isinstance(message, Part) for worker in field.workers for message in worker.said)

    over(test)


@pytest.mark.parametrize("why", ["evicted", "failed"])
def test_nor_does_one_that_nobody_waits_for_any_more(why: str) -> None:
    async def test(field: Field) -> None:
        one, two, three = field.workers
        lead = await led(one.ask())
        if why == "evicted":
            lead.land(ANSWER, kept=True)
            await settled()
            lead = await led(two.ask())
        else:
            other = two.ask()
            await waiting(other)
            lead.release(ConnectionError())
            lead = await led(other)
        lead.land(ANSWER, kept=True)
        await settled()
        assert not any(isinstance(message, Part) for message in two.said)
        two.kept[KEY] = ANSWER
        assert await taken(three.ask()) == Taken(ANSWER, kept=True)

    over(test)


@pytest.mark.parametrize("size", [0, 1, PART, 3 * PART + 1])
def test_answers_of_any_size_come_whole(size: int) -> None:
    async def test(field: Field) -> None:
        one, two, _ = field.workers
        lead = await led(one.ask())
        other = two.ask()
        await waiting(other)
        entry = Entry(1.0, bytes(range(256)) * (size // 256) + b"x" * (size % 256))
        lead.land(entry, kept=False)
        assert await taken(other) == Taken(entry, kept=False)
        assert two.pilot.room.used == 0

    over(test)


def test_who_comes_just_after_the_answer_gets_it_from_who_keeps_it() -> None:
    async def test(field: Field) -> None:
        one, two, three = field.workers
        one.kept[KEY] = ANSWER
        (await led(one.ask())).land(ANSWER, kept=True)
        late = [two.ask(since=ANSWER.at), three.ask()]
        assert [await taken(each) for each in late] == [Taken(ANSWER, kept=True)] * 2

    over(test)


def test_who_comes_while_it_lands_gets_it_too() -> None:
    """The question and the answer are on their way at the same time, so nobody knew that it would be wanted."""

    async def test(field: Field) -> None:
        one, two, _ = field.workers
        one.kept[KEY] = ANSWER
        lead = await led(one.ask())
        other = two.ask()
        await asyncio.sleep(0)
        lead.land(ANSWER, kept=True)
        assert await taken(other) == Taken(ANSWER, kept=True)

    over(test)


def test_when_what_lands_so_is_kept_nowhere_the_next_one_leads() -> None:
    async def test(field: Field) -> None:
        one, two, three = field.workers
        lead = await led(one.ask())
        other = two.ask()
        await asyncio.sleep(0)
        lead.land(ANSWER, kept=False)
        next_one = await led(other)
        third = three.ask()
        await waiting(third)
        next_one.land(ANSWER, kept=False)
        assert await taken(third) == Taken(ANSWER, kept=False)

    over(test)


@pytest.mark.parametrize("why", ["evicted", "too old", "dead", "its own"])
def test_what_cannot_be_fetched_is_asked_for_by_one(why: str) -> None:
    async def test(field: Field) -> None:
        one, two, three = field.workers
        (await led(one.ask())).land(ANSWER, kept=True)
        await settled()
        if why != "evicted":
            one.kept[KEY] = ANSWER
        if why == "dead":
            one.die()
        first = (one if why == "its own" else two).ask(since=ANSWER.at + (why == "too old"))
        lead = await led(first)
        other = three.ask()
        await waiting(other)
        lead.release(None)
        (await led(other)).release(None)

    over(test)


def test_a_worker_that_is_too_busy_to_bring_what_it_keeps_is_not_waited_for() -> None:
    async def test(field: Field) -> None:
        one, two, three = field.workers
        (await led(one.ask())).land(ANSWER, kept=True)
        await settled()
        one.alive = False  # it hears nothing
        asked = two.ask()
        await waiting(asked)
        field.clock.now += FETCH_S
        lead = await led(three.ask())
        lead.land(ANSWER, kept=True)
        assert await taken(asked) == Taken(ANSWER, kept=True)
        one.alive = True
        one.die()

    over(test)


@pytest.mark.parametrize("brings", [False, True])
def test_who_does_not_bring_what_it_keeps_in_time_holds_up_nobody(brings: bool) -> None:
    async def test(field: Field) -> None:
        one, two, three = field.workers
        one.kept[KEY] = ANSWER
        (await led(one.ask())).land(ANSWER, kept=True)
        await settled()
        one.alive = False  # it hears nothing
        first, second = two.ask(), three.ask()
        await waiting(first, second)
        field.clock.now += FETCH_S
        lead = await led(two.ask())
        one.alive = True
        if brings:
            one.pilot.heard(Answers([Fetch(-1, KEY, 0.0)]))
            assert [await taken(each) for each in (first, second)] == [Taken(ANSWER, kept=True)] * 2
            lead.release(ConnectionError())
        else:
            lead.release(ConnectionError())
            (await led(first)).release(ConnectionError())
            (await led(second)).release(ConnectionError())
            (await led(three.ask())).release(None)
            one.pilot.heard(Answers([Fetch(-1, b"t/forgotten", 0.0)]))

    over(test)


def test_when_it_fails_the_next_worker_leads_and_the_others_wait_on() -> None:
    async def test(field: Field) -> None:
        lead = await led(field.workers[0].ask())
        others = [worker.ask() for worker in field.workers]
        for number, other in enumerate(others):
            await waiting(*others[number:])
            lead.release(ConnectionError())
            lead.release(None)
            lead = await led(other)
        lead.release(None)

    over(test)


def test_a_request_that_is_refused_is_refused_everywhere_and_one_that_failed_is_not() -> None:
    async def test(field: Field) -> None:
        one, two, three = field.workers
        lead = await led(one.ask())
        others = [two.ask(), three.ask()]
        await waiting(*others)
        refused = UpstreamRejected("no", status=400, body=b"{}", retry_after=1.5, code="c")
        lead.release(refused)
        found = await asyncio.gather(*others, return_exceptions=True)
        assert [(type(error), str(error), vars(error)) for error in found if isinstance(error, BaseException)] == [
            (UpstreamRejected, "no", vars(refused))
        ] * 2
        lead = await led(one.ask())
        other = two.ask()
        await waiting(other)
        lead.release(UpstreamRejected("later", status=503))
        (await led(other)).release(None)

    over(test)


def test_an_answer_that_cannot_be_shared_sends_all_on_their_way() -> None:
    async def test(field: Field) -> None:
        one, two, three = field.workers
        lead = await led(one.ask())
        others = [two.ask(), three.ask()]
        await waiting(*others)
        lead.land(None, kept=False)
        assert [await taken(each) for each in others] == [Taken(None)] * 2

    over(test)


def test_what_is_larger_than_who_waits_may_take_or_has_room_for_cannot_be_shared() -> None:
    async def test(field: Field) -> None:
        one, two, three = field.workers
        lead = await led(one.ask())
        three.pilot.room.most = 2 * PART
        others = [two.ask(most=PART), three.ask()]
        await waiting(*others)
        lead.land(Entry(1.0, b"x" * 3 * PART), kept=False)
        assert [await taken(each) for each in others] == [Taken(None)] * 2
        assert three.pilot.room.used == 0

    over(test)


def test_a_worker_that_does_not_read_what_it_waits_for_is_sent_no_more() -> None:
    async def test(field: Field) -> None:
        one, two, three = field.workers
        lead = await led(one.ask())
        others = [two.ask(), three.ask()]
        await waiting(*others)
        two.down.unsent = 1 << 30
        lead.land(ANSWER, kept=False)
        assert [await taken(each) for each in others] == [Taken(None), Taken(ANSWER)]

    over(test)


def test_a_node_that_does_not_read_is_sent_no_answers() -> None:
    async def test(field: Field) -> None:
        one, two, _ = field.workers
        lead = await led(one.ask())
        other = two.ask()
        await waiting(other)
        one.up.unsent = 1 << 30
        lead.land(ANSWER, kept=False)
        (await led(other)).release(None)
        assert not any(isinstance(message, Part) for message in one.said)

    over(test)


@pytest.mark.parametrize("landing", [False, True])
def test_what_a_dead_worker_led_is_handed_on(landing: bool) -> None:
    async def test(field: Field) -> None:
        one, two, three = field.workers
        lead = await led(one.ask())
        others = [one.ask(), two.ask(), three.ask()]
        await waiting(*others)
        if landing:  # in the middle of what it has to bring
            one.up.most = one.up.frames + 3
            lead.land(Entry(1.0, b"x" * 10 * PART), kept=True)
            await waiting(*others)
            assert any(isinstance(message, Part) for message in two.heard)
        one.die()
        next_one = await led(others[1])
        await waiting(others[2])
        next_one.land(ANSWER, kept=True)
        assert await taken(others[2]) == Taken(ANSWER, kept=True)
        others[0].cancel()

    over(test)


def test_a_higher_priority_does_not_wait_behind_a_lower_one() -> None:
    async def test(field: Field) -> None:
        one, two, three = field.workers
        low = await led(one.ask(priority=Priority.LOW))
        other = two.ask(priority=Priority.LOW)
        await waiting(other)
        high = await led(three.ask(priority=Priority.NORMAL))
        same = one.ask(priority=Priority.NORMAL)
        await waiting(other, same)
        high.release(None)
        await waiting(other, same)
        low.land(ANSWER, kept=False)
        assert [await taken(each) for each in (other, same)] == [Taken(ANSWER)] * 2

    over(test)


def test_a_leader_that_is_slow_gets_one_more_beside_it_each_time() -> None:
    async def test(field: Field) -> None:
        one, two, three = field.workers
        slow = await led(one.ask())
        asked = two.ask(patience_s=10.0)
        await waiting(asked)
        field.clock.now += 9.9
        early = three.ask(patience_s=10.0)
        await waiting(asked, early)
        field.clock.now += 0.1
        second = await led(one.ask(patience_s=10.0))
        late = three.ask(patience_s=10.0)
        await waiting(asked, early, late)
        second.release(None)
        await waiting(asked, early, late)
        slow.land(ANSWER, kept=False)
        assert [await taken(each) for each in (asked, early, late)] == [Taken(ANSWER)] * 3

    over(test)


def test_who_waits_asks_again_when_the_time_is_over() -> None:
    async def test() -> None:
        field = Field(clock=asyncio.get_running_loop().time)
        one, two, _ = field.workers
        slow = await led(one.ask())
        second = await two.ask(patience_s=0.05)
        assert isinstance(second, HostLead)
        second.release(None)
        slow.release(None)
        await settled()
        assert field.empty

    asyncio.run(test())


@pytest.mark.parametrize("after", range(8))
def test_who_asks_again_while_the_answer_comes_leads_nothing_then(after: int) -> None:
    """However far the answer has come when the time of the leader is over."""

    async def test(field: Field) -> None:
        one, two, three = field.workers
        lead = await led(one.ask())
        other = two.ask(patience_s=10.0)
        await waiting(other)
        field.clock.now += 10.0
        lead.land(ANSWER, kept=False)
        for _ in range(after):
            await asyncio.sleep(0)
        for number, question in list(two.pilot._asked.items()):
            two.pilot._due(number, question)
        await settled()
        found = other.result()
        if isinstance(found, HostLead):
            found.release(None)
        else:
            assert found == Taken(ANSWER)
        (await led(three.ask())).release(None)

    over(test)


def test_who_asks_twice_does_not_wait_for_itself() -> None:
    async def test(field: Field) -> None:
        _, two, three = field.workers
        asked = two.ask()
        await asyncio.sleep(0)
        two.pilot._put(1, two.pilot._asked[1])
        (await led(asked)).release(None)
        (await led(three.ask())).release(None)

    over(test)


def test_nobody_waits_beyond_the_deadline() -> None:
    async def test(field: Field) -> None:
        one, two, _ = field.workers
        lead = await led(one.ask())
        asked = two.ask(deadline=field.clock.now + 0.01)
        await waiting(asked)
        field.clock.now += 0.01
        with pytest.raises(UpstreamTimeout):
            await asked
        lead.release(None)

    over(test)


@pytest.mark.parametrize("after", range(12))
def test_who_leaves_is_not_in_the_line_and_does_not_lead(after: int) -> None:
    """However far the question, or the word that it is to lead, has come."""

    async def test(field: Field) -> None:
        one, two, three = field.workers
        lead = await led(one.ask())
        leaver, other = two.ask(), three.ask()
        await waiting(leaver, other)
        lead.release(None)
        for _ in range(after):
            await asyncio.sleep(0)
        leaver.cancel()
        with suppress(asyncio.CancelledError):
            found = await leaver
            assert isinstance(found, HostLead)
            found.release(None)
        (await led(other)).release(None)

    over(test)


def test_there_are_only_so_many_flights_and_who_finds_no_room_leads_for_itself() -> None:
    async def test(field: Field) -> None:
        one, two, three = field.workers
        leads = [await led(one.ask(key=b"t/%d" % number)) for number in range(2)]
        alone = [await led(worker.ask(key=b"t/more")) for worker in (two, three)]
        assert len(field.tower) == 2
        for lead in (*alone, *leads):
            lead.land(ANSWER, kept=True)
        await settled()
        assert len(field.tower._keepers) == 2

    over(test, most=2)


class Crowd:
    """Those that ask the same at several workers, as far as they have come."""

    def __init__(self) -> None:
        self.field = Field(3)
        self.waiting: list[tuple[Worker, Joined]] = []
        self.leads: list[tuple[Worker, HostLead]] = []
        self.calls = 0

    def step(self, what: str, number: int) -> None:
        alive = [worker for worker in self.field.workers if worker.alive]
        worker = alive[number % len(alive)]
        match what:
            case "join":
                self.waiting.append((worker, worker.ask()))
            case "leave" if self.waiting:
                self.waiting[number % len(self.waiting)][1].cancel()
            case "fail" if self.leads:
                self.leads.pop()[1].release(None)
            case "land" | "refuse" if self.leads:
                worker, lead = self.leads.pop()
                if what == "land" and number % 2:
                    worker.kept[KEY] = ANSWER
                lead.land(ANSWER if what == "land" else None, kept=bool(number % 2))
            case "forget":
                worker.kept.clear()
            case "die" if len(alive) > 1:
                worker.die()
                for asked, task in self.waiting:
                    if asked is worker:
                        task.cancel()
                self.leads = [(led_by, lead) for led_by, lead in self.leads if led_by is not worker]

    async def look(self) -> None:
        """Let all go as far as they get; whoever waits then, waits for one that leads."""
        await settled()
        for asked in [asked for asked in self.waiting if asked[1].done()]:
            self.waiting.remove(asked)
            worker, task = asked
            if not task.cancelled() and worker.alive:
                found = task.result()
                assert found is not None, "the node is there"
                if isinstance(found, HostLead):
                    self.leads.append((worker, found))
                else:
                    assert found.entry in (ANSWER, None)
        assert len(self.leads) == 1 or not (self.leads or self.waiting)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["join", "join", "join", "land", "refuse", "fail", "leave", "forget", "die"]),
        st.integers(0, 9),
        st.booleans(),
    ),
    max_size=25,
)


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
        assert crowd.field.empty
        assert all(worker.pilot.room.used == 0 for worker in crowd.field.workers)

    asyncio.run(test())


def test_a_thousand_equal_requests_of_all_workers_are_one_call() -> None:
    async def test(field: Field) -> None:
        asked = [field.workers[number % 3].ask() for number in range(1000)]
        await settled()
        (lead,) = [task.result() for task in asked if task.done()]
        assert isinstance(lead, HostLead)
        lead.land(ANSWER, kept=False)
        await settled()
        assert Counter(type(task.result()) for task in asked) == {Taken: 999, HostLead: 1}

    over(test)


def test_waits_have_a_bound_beyond_which_everybody_asks_an_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.gateway.cache.host.tower._MOST_WAITS", 3)
    told: list[object] = []
    tower = Tower(lambda: 0.0)
    door = SimpleNamespace(unsent=0, send=lambda answers: told.extend(answers.messages))
    holder = tower.enter(cast("Door", door))
    tower.heard(holder, Questions([Ask(number, b"key", Priority.NORMAL, 9.0, 0.0) for number in range(6)]))
    words = {each.number: each.word for each in told if isinstance(each, Told)}
    assert [number for number, word in words.items() if word is Word.LEAD] == [0, 4, 5]
    tower.heard(holder, Questions([Ask(1, b"key", Priority.NORMAL, 9.0, 0.0)]))
    assert isinstance(told[-1], Told)
    assert told[-1].word is Word.WAIT, "who waits already goes on waiting"
