"""The cache as exchanges meet it, in process: tenants, in any order of events, and what is kept of what was sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from penstock.auth.secrets import SecretRef
from penstock.gateway.cache.exact import ExactCache
from penstock.gateway.cache.host.pilot import Pilot
from penstock.gateway.cache.recorder import Recorder
from penstock.gateway.cache.redis import Redis
from penstock.gateway.cache.rule import Rule
from penstock.gateway.cache.shelf import Shelf
from penstock.gateway.dialects import openai
from penstock.gateway.dialects.call import Call
from penstock.gateway.dialects.spoken import BY_PATH
from penstock.gateway.exchange import Exchange
from penstock.gateway.identity.caller import Caller, Callers
from penstock.gateway.metering.account import Account, Books
from penstock.gateway.metering.metrics import Metrics
from penstock.gateway.view import View
from penstock.http.responder import Responder
from penstock.journal.records import Outcome, Settled
from penstock.journal.segment import Writer
from penstock.snapshot.config import GatewaySettings
from penstock.types.dialect import Dialect
from tests.counters.test_tally import Clock
from tests.gateway.cache.host.field import Field
from tests.gateway.cache.test_store import until
from tests.processes import PATIENCE_S, model
from tests.servers import RedisServer

RULE = Rule(60.0, 1024, "f", frozenset({"lab"}))
VIEW = View({}, {}, Callers({}), GatewaySettings(commit_after_s=1000.0))


class Wire:
    """A client's connection that takes everything."""

    paused = gone = False

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    async def writable(self) -> None:
        return

    def closing_lines(self) -> bytes:
        return b""

    def cut(self, reset: bool) -> None:
        raise AssertionError("nothing is cut here")

    def take_over(self) -> asyncio.Transport:
        raise AssertionError("nothing is taken over here")


class Journal:
    def __init__(self) -> None:
        self.records: list[Any] = []

    def append(self, record: object) -> None:
        self.records.append(record)


class Asked:
    """One request on its way through the cache: what it is answered, from there or by an upstream of its own."""

    def __init__(self, cache: ExactCache, tenant: str, body: bytes, control: bytes | None = None) -> None:
        self.wire = Wire()
        self.tenant = tenant
        self.go = asyncio.Event()
        self.fails = False
        self.called = False
        self.journal = Journal()
        self.control = {} if control is None else {b"cache-control": control}
        self.task = asyncio.create_task(self._serve(cache, openai.parse(Dialect.CHAT, body)))

    async def _serve(self, cache: ExactCache, call: Call) -> None:
        books = Books(cast("Writer", self.journal), Metrics(), time.monotonic)
        with Account(books, "r", Caller("k", self.tenant), call, time.monotonic(), []) as account:
            responder: Responder | Recorder = Responder(self.wire, False, True)
            chat = model("chat", "lab")
            exchange = Exchange(
                BY_PATH["/v1/chat/completions"], b"", b"", VIEW, call, chat, account, responder, b"", 1e12
            )
            if await cache.answer(exchange, RULE, self.control):
                return
            self.called = True
            await self.go.wait()
            if self.fails:
                raise ConnectionError
            account.deployment = "lab"
            answer, responder = self.answer, exchange.responder
            if call.stream:
                responder.start(200, b"")
                await responder.write(answer)
                account.settle(Outcome.ANSWERED, 200)
                await responder.end()
            else:
                account.settle(Outcome.ANSWERED, 200)
                await responder.send(200, exchange.headers(), answer)

    @property
    def answer(self) -> bytes:
        """What an upstream would tell this tenant, and nobody else."""
        return b"for <%b>" % self.tenant.encode()


def cache(clock: Clock, shelf: Shelf | None = None, pilot: Pilot | None = None) -> ExactCache:
    shelf = shelf or Shelf(no_redis, clock)
    found = ExactCache(shelf, CollectorRegistry(), b"p" * 32, time.monotonic, clock, pilot)
    shelf.follow(GatewaySettings())
    return found


def host(clock: Clock, workers: int = 3) -> list[ExactCache]:
    """Return the caches of the workers of one host."""
    field = Field(workers, clock=time.monotonic)
    return [cache(clock, pilot=worker.pilot) for worker in field.workers]


def no_redis(_: SecretRef) -> Redis:
    raise AssertionError("no Redis is configured")


def connect(url: str, name: str, _: SecretRef) -> Redis:
    return Redis.begin(lambda: url, PATIENCE_S, host=name)


async def settled() -> None:
    for _ in range(40):
        await asyncio.sleep(0)


def chat(**fields: object) -> bytes:
    return json.dumps({"model": "chat", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


NAMES = st.sampled_from(["a", "b", "a/b", "a/", "", "tenant", "ä"])
BODIES = st.sampled_from([chat(), chat(stream=True), chat(user="a"), chat(user="b"), chat(seed=1)]) | st.builds(
    lambda fields: chat(**{f"x{name}": value for name, value in fields.items()}),
    st.dictionaries(st.text('a/b\\"', max_size=3), st.text(max_size=3) | st.integers(), max_size=2),
)
CONTROLS = st.sampled_from([None, None, None, b"no-cache", b"no-store", b"max-age=1", b"only-if-cached"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), NAMES, BODIES, CONTROLS),
        st.tuples(st.sampled_from(["answer", "fail", "leave"]), st.integers(0, 20)),
        st.tuples(st.just("wait"), st.integers(0, 70)),
    ),
    max_size=30,
)


async def follow(steps: list[Any], workers: list[ExactCache], clock: Clock) -> list[Asked]:
    """Do what the steps say, and let everything end; return all that was asked."""
    asked: list[Asked] = []
    for number, (what, *rest) in enumerate(steps):
        under_way = [each for each in asked if not each.task.done()]
        match what:
            case "ask":
                tenant, body, control = rest
                asked.append(Asked(workers[number % len(workers)], tenant, body, control))
            case "wait":
                clock.now += rest[0]
            case _ if under_way:
                one = under_way[rest[0] % len(under_way)]
                one.fails = what == "fail"
                if what == "leave":
                    one.task.cancel()
                else:
                    one.go.set()
        await settled()
    for each in asked:
        each.go.set()
    for each in asked:
        with suppress(Exception, asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(each.task), PATIENCE_S)
    return asked


def check(asked: list[Asked]) -> None:
    for each in asked:
        assert each.task.done()
        told = {other.answer for other in asked if other.answer in each.wire.data}
        assert told <= {each.answer}, f"{each.tenant} was told {told}"
        settled_ones = [record for record in each.journal.records if isinstance(record, Settled)]
        assert len(settled_ones) == 1
        if settled_ones[0].outcome is Outcome.ANSWERED:
            assert told == {each.answer}


@settings(suppress_health_check=[HealthCheck.too_slow])  # each example runs an event loop of its own
@given(STEPS)
def test_whatever_happens_no_tenant_gets_the_answer_of_another(steps: list[Any]) -> None:
    async def test() -> None:
        clock = Clock()
        check(await follow(steps, [cache(clock)], clock))

    asyncio.run(test())


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(STEPS)
def test_nor_does_one_of_another_worker(steps: list[Any]) -> None:
    async def test() -> None:
        clock = Clock()
        workers = host(clock)
        check(await follow(steps, workers, clock))
        assert all(worker.shelf.room.used == 0 for worker in workers)

    asyncio.run(test())


@given(STEPS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nor_does_one_over_redis(redis: RedisServer, steps: list[Any]) -> None:
    """Two hosts, each with a memory so small that nearly all comes from Redis."""

    async def test() -> None:
        with redis.client() as client:
            client.flushall()
        clock = Clock()
        shelves = [Shelf(partial(connect, redis.url, name), clock) for name in ("one", "two")]
        workers = [cache(clock, shelf) for shelf in shelves]
        for shelf in shelves:
            shelf.follow(GatewaySettings(cache=400, shared_cache=SecretRef(env="CACHE")))
            await until(lambda shelf=shelf: cast("Redis", shelf._redis).connected)  # type: ignore[misc]  # bound at once
        check(await follow(steps, workers, clock))
        for shelf in shelves:
            await shelf.aclose()

    asyncio.run(test())


@pytest.mark.parametrize("stream", [False, True])
def test_a_thousand_equal_requests_are_one_call_even_if_the_first_ones_fail(stream: bool) -> None:
    async def test() -> None:
        worker = cache(Clock())
        asked = [Asked(worker, "t", chat(stream=stream)) for _ in range(1000)]
        await settled()
        for number in range(3):
            assert [each.called for each in asked] == [True] * (number + 1) + [False] * (999 - number)
            asked[number].fails = True
            asked[number].go.set()
            await settled()
        asked[3].go.set()
        await asyncio.gather(*(each.task for each in asked), return_exceptions=True)
        assert sum(each.called for each in asked) == 4
        found = Counter(each.journal.records[-1].outcome for each in asked)
        assert found == {Outcome.ANSWERED: 997, Outcome.REFUSED: 3}

    asyncio.run(test())


@pytest.mark.parametrize("stream", [False, True])
def test_a_thousand_equal_requests_to_four_workers_are_one_call_even_if_the_first_ones_fail(stream: bool) -> None:
    async def test() -> None:
        workers = host(Clock(), 4)
        asked = [Asked(workers[number % 4], "t", chat(stream=stream)) for number in range(1000)]
        for _ in range(3):
            await settled()
            (leader,) = [each for each in asked if each.called and not each.task.done()]
            leader.fails = True
            leader.go.set()
        await settled()
        (leader,) = [each for each in asked if each.called and not each.task.done()]
        leader.go.set()
        await asyncio.gather(*(each.task for each in asked), return_exceptions=True)
        assert sum(each.called for each in asked) == 4
        found = Counter(each.journal.records[-1].outcome for each in asked)
        assert found == {Outcome.ANSWERED: 997, Outcome.REFUSED: 3}
        assert [worker.shelf.entries for worker in workers] == [1] * 4, "all keep it from now on"
        late = [Asked(worker, "t", chat(stream=stream)) for worker in workers]
        await asyncio.gather(*(each.task for each in late))
        assert not any(each.called for each in late)

    asyncio.run(test())


@pytest.mark.parametrize("fails", [False, True])
def test_equal_requests_to_hosts_that_share_a_redis_are_one_call(redis: RedisServer, fails: bool) -> None:
    async def test() -> None:
        clock = Clock()
        shelves = [Shelf(partial(connect, redis.url, name), clock) for name in ("one", "two", "three")]
        hosts = [cache(clock, shelf) for shelf in shelves]
        for shelf in shelves:
            shelf.follow(GatewaySettings(shared_cache=SecretRef(env="CACHE")))
            await until(lambda shelf=shelf: cast("Redis", shelf._redis).connected)  # type: ignore[misc]  # bound at once
        asked = [Asked(hosts[number % 3], "t", chat()) for number in range(30)]
        await until(lambda: any(each.called for each in asked))
        (leader,) = [each for each in asked if each.called]
        leader.fails = fails
        leader.go.set()
        if fails:
            await until(lambda: any(each.called for each in asked if each is not leader))
            (second,) = [each for each in asked if each.called and each is not leader]
            second.go.set()
        await asyncio.gather(*(each.task for each in asked), return_exceptions=True)
        assert sum(each.called for each in asked) == 1 + fails
        assert all(each.answer in each.wire.data for each in asked if not each.fails)
        with redis.client() as client:
            await until(lambda: client.dbsize() == 1)  # no lock is left behind
        for shelf in shelves:
            await shelf.aclose()

    asyncio.run(test())


@pytest.mark.parametrize("control", [b"max-age=5", b"max-age=0"])
def test_who_waits_for_one_that_finds_a_kept_answer_gets_none_that_is_too_old(control: bytes) -> None:
    async def test() -> None:
        clock = Clock()
        one, two, _ = host(clock)
        first = Asked(one, "t", chat())
        first.go.set()
        await first.task
        clock.now += 50
        leads, waits, picky = Asked(two, "t", chat()), Asked(two, "t", chat()), Asked(two, "t", chat(), control)
        picky.go.set()
        await asyncio.gather(leads.task, waits.task, picky.task)
        assert (leads.called, waits.called, picky.called) == (False, False, True)
        assert ("cache", "exact, 50 s old") in waits.journal.records[-1].explanation

    asyncio.run(test())


def test_what_is_answered_while_one_waits_is_new_enough_for_any_age() -> None:
    async def test() -> None:
        clock = Clock()
        one, two, _ = host(clock)
        leads, *others = [Asked(worker, "t", chat(), b"max-age=0") for worker in (one, one, two, two)]
        await settled()
        assert leads.called
        leads.go.set()
        await leads.task
        clock.now += 0.01  # until the others have it
        for each in others:
            each.go.set()
        await asyncio.gather(*(each.task for each in others))
        assert not any(each.called for each in others)

    asyncio.run(test())


def test_a_worker_that_never_waited_for_an_answer_gets_it_from_another_one() -> None:
    async def test() -> None:
        clock = Clock()
        one, two, three = host(clock)

        async def ask(worker: ExactCache, control: bytes | None = None) -> Asked:
            asked = Asked(worker, "t", chat(), control)
            asked.go.set()
            await asked.task
            return asked

        assert (await ask(one)).called
        clock.now += 7
        found = await ask(two)
        assert not found.called
        assert b"x-penstock-cache: exact\r\nage: 7\r\n" in found.wire.data
        assert ("cache", "exact, 7 s old") in found.journal.records[-1].explanation
        assert (await ask(three, b"max-age=6")).called
        clock.now += RULE.ttl_s - 8
        assert not (await ask(two)).called, "it is a second away from its end"
        clock.now += 1
        assert not (await ask(two)).called, "there is a newer one"
        clock.now += 7
        assert (await ask(two)).called

    asyncio.run(test())


def test_what_was_asked_for_anew_is_what_other_workers_get_from_then_on() -> None:
    async def test() -> None:
        clock = Clock()
        one, two, three = host(clock)
        for worker, control in ((one, None), (two, b"no-cache")):
            asked = Asked(worker, "t", chat(), control)
            asked.go.set()
            await asked.task
            assert asked.called
            clock.now += 7
        found = Asked(three, "t", chat())
        await found.task
        assert b"x-penstock-cache: exact\r\nage: 7\r\n" in found.wire.data

    asyncio.run(test())


@pytest.mark.parametrize("stream", [False, True])
def test_answers_under_way_have_only_so_much_room_and_pass_all_the_same(stream: bool) -> None:
    async def test() -> None:
        worker = cache(Clock())
        worker.shelf.room.most = 100
        asked = [Asked(worker, "t", chat(stream=stream, seed=number)) for number in range(3)]
        waits = Asked(worker, "t", chat(stream=stream, seed=0))
        await settled()
        held = worker.shelf.room.space()
        assert held.take(40)
        for each in (*asked, waits):
            each.go.set()
        await asyncio.gather(*(each.task for each in (*asked, waits)))
        assert all(each.called and each.answer in each.wire.data for each in (*asked, waits))
        told = [step for each in asked for step in each.journal.records[-1].explanation if step[0] == "cache"]
        assert told == [("cache", "miss"), ("cache", "not kept: no room for more answers under way")] * 3 or not stream
        assert worker.shelf.entries == 0
        page = generate_latest(worker._counts).decode()
        assert 'penstock_cache_unkept_total{gen_ai_request_model="chat",reason="no_room"} 4.0' in page
        held.free()
        again = Asked(worker, "t", chat(stream=stream))
        again.go.set()
        await again.task
        assert (worker.shelf.entries, worker.shelf.room.used) == (1, 0)

    asyncio.run(test())


def test_what_a_client_left_in_the_middle_of_is_not_kept() -> None:
    async def test() -> None:
        worker = cache(Clock())
        one, other = Asked(worker, "t", chat()), Asked(worker, "t", chat())
        await settled()
        one.task.cancel()
        await settled()
        assert other.called
        other.go.set()
        await other.task
        third = Asked(worker, "t", chat())
        await third.task
        assert not third.called

    asyncio.run(test())


def test_an_answer_grows_old_and_is_too_old_for_some_before_others() -> None:
    async def test() -> None:
        clock = Clock()
        worker = cache(clock)

        async def ask(control: bytes | None = None) -> Asked:
            asked = Asked(worker, "t", chat(), control)
            asked.go.set()
            await asyncio.gather(asked.task, return_exceptions=True)
            return asked

        assert (await ask()).called
        clock.now += 30
        assert b"x-penstock-cache: exact\r\nage: 30\r\n" in (await ask()).wire.data
        assert not (await ask(b"max-age=30")).called
        assert (await ask(b"no-store, max-age=29")).called
        clock.now += 29
        assert not (await ask(b"only-if-cached")).called
        clock.now += 1
        assert (await ask()).called

    asyncio.run(test())
