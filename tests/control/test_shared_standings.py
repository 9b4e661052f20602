"""The sums in a real Redis are those of the ledger, whatever happens in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.auth.secrets import SecretRef
from penstock.control.fold import Fold
from penstock.control.shared_standings import SharedBookkeeper
from penstock.counters.redis import PREFIX
from penstock.journal.host import writer_name
from penstock.journal.segment import Writer, segments
from penstock.node.courier import Courier
from penstock.pricing.period import Period
from penstock.records import usage
from penstock.records.database import Database
from penstock.records.usage import Selection
from penstock.snapshot.config import Budget, Config, GatewaySettings, Model, Outage
from tests.records.exchanges import AT, settled
from tests.servers import RedisServer

DAY_NS = 86_400 * 10**9
HERE, EU = "00000000c0de", "0123456789ab"


def budget(period: Period, *per: str, models: tuple[str, ...] = ("chat",)) -> Budget:
    return Budget(f"p {'+'.join(per)} {period}", "p", per, period, models, 10**9, Outage.DENY)


KEYS, TENANTS = budget(Period.TOTAL, "key"), budget(Period.TOTAL, "tenant")
REDIS = GatewaySettings(counters=SecretRef(env="REDIS_URL"))


def config(*budgets: Budget, gateway: GatewaySettings = REDIS) -> Config:
    return Config(1, {}, {"chat": Model("chat", (), (), 1.0, 1.0, 1, (), budgets)}, gateway)


class World:
    """Control with its journal, database and Redis."""

    def __init__(self, home: Path, database: Database, redis: RedisServer) -> None:
        self.journal, self.database, self.redis = home / "journal", database, redis
        self.begin()

    def begin(self) -> None:
        """Start control, as if for the first time."""
        environ = {"REDIS_URL": self.redis.url}
        self.books = SharedBookkeeper(self.database, environ, lambda: AT / 10**9, lambda: 10.0**9)
        self.fold = Fold(self.journal, self.database, self.books)

    async def step(self, wanted: Config | None = None) -> None:
        await self.books.step(self.fold, wanted or config(KEYS, TENANTS))

    def sums(self) -> dict[str, int]:
        """Return what Redis has, by the names of the sums without the days."""
        with self.redis.client() as client:
            found = {}
            for key in client.keys(f"{PREFIX}:s:*"):
                budget, _, whom = key.removeprefix(f"{PREFIX}:s:").rsplit(" ", 2)
                found[f"{budget} {whom}"] = int(client.hget(key, "spent") or 0)
            return found

    def known(self) -> set[str]:
        with self.redis.client() as client:
            return {name for name in client.hkeys(f"{PREFIX}:open") if name.startswith("budget ")}


Case = Callable[[World], Awaitable[None]]


def run(home: Path, redis: RedisServer, case: Case) -> None:
    async def whole() -> None:
        (home / "journal").mkdir(parents=True)
        database = await Database.open(home / "p.db")
        world = World(home, database, redis)
        try:
            await case(world)
        finally:
            await world.books.aclose()
            await database.close()

    asyncio.run(whole())


def test_what_is_folded_is_posted_once_and_a_later_control_begins_with_the_ledger(
    tmp_path: Path, redis: RedisServer
) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "gateway-0")
        writer.append(settled(1))
        await world.fold.step()
        await world.step()
        assert world.sums() == {"p key total key1": 300, "p tenant total acme": 300}
        writer.append(settled(2, key="key2", cost_nano=7))
        writer.append(settled(3, model="other"))
        writer.append(settled(4, cost_nano=0))
        writer.append(settled(5, tenant="x", cost_nano=1))
        await world.fold.step()
        await world.step()
        await world.step()
        found = {"p key total key1": 301, "p key total key2": 7, "p tenant total acme": 307, "p tenant total x": 1}
        assert world.sums() == found
        await world.books.aclose()
        world.begin()
        writer.append(settled(6, cost_nano=10))
        await world.fold.step()
        await world.step()
        assert world.sums()["p key total key1"] == 311
        writer.close()

    run(tmp_path, redis, case)


def test_each_period_has_a_sum_of_its_own_that_redis_forgets_when_it_is_over(
    tmp_path: Path, redis: RedisServer
) -> None:
    async def case(world: World) -> None:
        now = time.time_ns()
        days = budget(Period.DAY, "key")
        world.books._now = lambda: now / 10**9
        writer = Writer(world.journal, "gateway-0")
        await world.fold.step()
        await world.step(config(days))
        for number, days_ago in enumerate((0, 1, 3, 0), 1):
            writer.append(settled(number, at_ns=now - days_ago * DAY_NS, cost_nano=number))
        await world.fold.step()
        await world.step(config(days))
        today = now // DAY_NS
        with world.redis.client() as client:
            kept = {key: client.hget(key, "spent") for key in client.keys(f"{PREFIX}:s:*")}
            first = f"{PREFIX}:s:{days.id} {today} key1"
            assert kept == {first: "5", f"{PREFIX}:s:{days.id} {today - 1} key1": "2"}
            assert client.expiretime(first) == (today + 2) * 86_400
        writer.close()

    run(tmp_path, redis, case)


def test_budgets_come_and_go(tmp_path: Path, redis: RedisServer) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "gateway-0")
        writer.append(settled(1))
        await world.fold.step()
        await world.step(config(KEYS))
        assert world.known() == {"budget p key total"}
        writer.append(settled(2, cost_nano=1))
        await world.fold.step()
        await world.step(config(KEYS, TENANTS))
        assert world.sums() == {"p key total key1": 301, "p tenant total acme": 301}
        await world.step(config(TENANTS))
        assert world.known() == {"budget p tenant total"}
        writer.append(settled(3, cost_nano=1))
        await world.fold.step()
        await world.step(config(KEYS, TENANTS))
        assert world.sums() == {"p key total key1": 302, "p tenant total acme": 302}
        await world.step(config(KEYS, TENANTS, gateway=GatewaySettings()))
        writer.append(settled(4, cost_nano=1))
        await world.fold.step()
        await world.step(config(KEYS, TENANTS))
        assert world.sums() == {"p key total key1": 303, "p tenant total acme": 303}
        writer.close()

    run(tmp_path, redis, case)


def test_a_batch_that_is_lost_or_there_twice_is_made_good(tmp_path: Path, redis: RedisServer) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "gateway-0")
        writer.append(settled(1))
        await world.fold.step()
        await world.step()
        writer.append(settled(2, cost_nano=1))
        await world.fold.step()
        world.books._postings.clear()
        writer.append(settled(3, cost_nano=1))
        await world.fold.step()
        await world.step()
        assert world.sums() == {"p key total key1": 302, "p tenant total acme": 302}
        writer.append(settled(3, cost_nano=1))  # as after a journal that was brought back
        await world.fold.step()
        await world.step()
        assert world.sums() == {"p key total key1": 302, "p tenant total acme": 302}
        writer.close()

    run(tmp_path, redis, case)


def test_a_change_that_is_cut_off_is_made_good(tmp_path: Path, redis: RedisServer) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "gateway-0")
        await world.step(config(KEYS))

        async def cut(_budgets: object) -> None:
            raise ConnectionResetError

        assert world.books._sums is not None
        cast("Any", world.books._sums).remove = cut
        with pytest.raises(ConnectionResetError):
            await world.step()
        world.books._disconnect()
        writer.append(settled(1))
        await world.fold.step()
        await world.step()
        assert world.sums() == {"p key total key1": 300, "p tenant total acme": 300}
        writer.close()

    run(tmp_path, redis, case)


def test_a_batch_whose_commit_failed_and_happened_is_posted(tmp_path: Path, redis: RedisServer) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "gateway-0")
        await world.step()
        writer.append(settled(1))
        writer.close()
        deaf = Fold(world.journal, world.database)  # nobody hears of this batch
        cast("Any", deaf)._finish = _nothing
        await deaf.step()
        await world.fold.step()
        await world.step()
        await world.step()
        assert world.sums() == {"p key total key1": 300, "p tenant total acme": 300}

    run(tmp_path, redis, case)


async def _nothing(*_: object) -> None:
    """Leave the segment."""


def test_what_is_folded_while_control_speaks_with_redis_ends_nothing(tmp_path: Path, redis: RedisServer) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "gateway-0")
        await world.step()
        writer.append(settled(1))
        await world.fold.step()
        sums: Any = world.books._sums
        post = sums.post

        async def meanwhile(*arguments: Any) -> bool:
            segment = next(iter(segments(world.journal)))
            world.books.folded(segment.path.name, 0, 1, [], anew=True)
            return bool(await post(*arguments))

        sums.post = meanwhile
        await world.step()
        sums.post = post
        await world.step()
        assert world.sums() == {"p key total key1": 300, "p tenant total acme": 300}
        writer.close()

    run(tmp_path, redis, case)


def test_what_a_worker_held_that_has_ended_is_free_once_its_journal_is_in_the_ledger(
    tmp_path: Path, redis: RedisServer
) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "gateway-0")
        await world.fold.step()
        await world.step()
        with world.redis.client() as client:
            client.sadd(f"{PREFIX}:writers", writer.name, "somebody")
            client.hset(f"{PREFIX}:sums:{writer.name}", "b 0 x", 70)
            client.hset(f"{PREFIX}:s:b 0 x", "held", 70)
            client.zadd(f"{PREFIX}:beats", dict.fromkeys((writer.name, "somebody"), time.time() * 1e6))
            await world.step()
            assert client.hget(f"{PREFIX}:s:b 0 x", "held") == "70"
            writer.append(settled(1))
            writer.close()
            await world.fold.step()
            await world.step()
            assert client.hget(f"{PREFIX}:s:b 0 x", "held") == "0"
            assert world.sums()["p key total key1"] == 300
            assert client.smembers(f"{PREFIX}:writers") == {"somebody"}, "who may be on another host"
            assert not client.keys(f"{PREFIX}:folded:*")

    run(tmp_path, redis, case)


class Elsewhere:
    """
    A host that reports to the control of a world, and a clock for that.

    Attributes:
        now: seconds, as control has it.
    """

    def __init__(self, world: World, directory: Path) -> None:
        self.world = world
        self.now = 1000.0
        self._journal = directory / "elsewhere"
        self._journal.mkdir()
        self.courier = Courier(self._journal, EU)
        self.begin()

    def begin(self) -> None:
        """Start control, as if for the first time."""
        self.world.books._disconnect()
        self.world.begin()
        self.world.fold = Fold(self.world.journal, self.world.database, self.world.books, HERE, clock=lambda: self.now)

    def writer(self, worker: str = "gateway-0") -> Writer:
        return Writer(self._journal, writer_name(EU, worker))

    async def report(self) -> None:
        self.courier.received(await self.world.fold.receive(EU, self.courier.pieces()))

    def holds(self, writer: Writer, *, silent_s: float) -> None:
        """Let a worker hold 70 of a sum in Redis, which it has told so long ago."""
        with self.world.redis.client() as client:
            client.sadd(f"{PREFIX}:writers", writer.name)
            client.hset(f"{PREFIX}:sums:{writer.name}", "b 0 x", 70)
            client.hset(f"{PREFIX}:s:b 0 x", "held", 70)
            client.zadd(f"{PREFIX}:beats", {writer.name: (time.time() - silent_s) * 1e6})

    def held(self) -> int:
        with self.world.redis.client() as client:
            return int(client.hget(f"{PREFIX}:s:b 0 x", "held") or 0)

    def awaited(self) -> set[str]:
        """The workers that have to say what they hold before anybody can tell what is left."""
        with self.world.redis.client() as client:
            return set(client.smembers(f"{PREFIX}:awaited"))


def test_a_host_that_is_silent_when_control_begins_is_waited_for_five_seconds(
    tmp_path: Path, redis: RedisServer
) -> None:
    """As after a power cut that one host does not come back from."""

    async def case(world: World) -> None:
        host = Elsewhere(world, tmp_path)
        writer = host.writer()
        writer.append(settled(1))
        await host.report()
        await world.step()
        assert host.awaited() == {writer.name}
        host.begin()
        for seconds in (0.0, 4.9):
            host.now += seconds
            await world.step()
            assert host.awaited() == {writer.name}
        host.now += 0.2
        await world.step()
        assert host.awaited() == set()
        world.books._disconnect()
        with redis.client() as client:
            client.flushall()  # and Redis begins again too
        await world.step()
        assert host.awaited() == set(), "nor from then on"
        await host.report()
        with redis.client() as client:
            client.flushall()
        await world.step()
        assert host.awaited() == {writer.name}, "until it is heard again"
        writer.close()

    run(tmp_path, redis, case)


def test_a_host_that_goes_silent_is_waited_for_five_seconds_and_no_other_is_excused(
    tmp_path: Path, redis: RedisServer
) -> None:
    async def case(world: World) -> None:
        host = Elsewhere(world, tmp_path)
        here = Writer(world.journal, writer_name(HERE, "gateway-0"))
        writer = host.writer()
        await host.report()
        await world.step()
        assert host.awaited() == {here.name, writer.name}
        for _ in range(3):
            host.now += 4.9
            await host.report()
            await world.step()
            assert host.awaited() == {here.name, writer.name}
        host.now += 5.0
        await world.step()
        assert host.awaited() == {here.name}
        here.close()
        writer.close()

    run(tmp_path, redis, case)


def test_what_a_silent_host_held_is_free_after_ten_minutes_unless_its_worker_counts_on(
    tmp_path: Path, redis: RedisServer
) -> None:
    async def case(world: World) -> None:
        host = Elsewhere(world, tmp_path)
        writer = host.writer()
        writer.append(settled(1))
        await host.report()
        await world.step()
        host.holds(writer, silent_s=900)
        host.now += 599.0
        await world.step()
        assert host.held() == 70
        host.holds(writer, silent_s=0)  # cut off from control alone
        host.now += 2.0
        await world.step()
        assert host.held() == 70
        host.holds(writer, silent_s=900)
        await world.step()
        assert host.held() == 0
        writer.append(settled(2))
        await host.report()  # it comes again
        await world.step()
        await world.step()
        assert world.sums()["p key total key1"] == 600
        writer.close()

    run(tmp_path, redis, case)


def test_what_a_worker_elsewhere_held_is_free_once_its_journal_is_in_the_ledger(
    tmp_path: Path, redis: RedisServer
) -> None:
    async def case(world: World) -> None:
        host = Elsewhere(world, tmp_path)
        writer, going_on = host.writer(), host.writer("gateway-1")
        await host.report()
        await world.step()
        for each in (writer, going_on):
            host.holds(each, silent_s=0)
        writer.append(settled(1))
        writer.close()
        await world.step()
        assert host.held() == 70, "control does not know of it"
        await host.report()
        await world.step()
        assert host.held() == 0
        with redis.client() as client:
            assert client.smembers(f"{PREFIX}:writers") == {going_on.name}
        assert world.sums()["p key total key1"] == 300
        going_on.close()

    run(tmp_path, redis, case)


def test_what_a_worker_holds_that_began_since_its_host_was_heard_is_not_free(
    tmp_path: Path, redis: RedisServer
) -> None:
    async def case(world: World) -> None:
        host = Elsewhere(world, tmp_path)
        first = host.writer()
        await host.report()
        await world.step()
        second = host.writer("gateway-1")  # the host is cut off now
        second.append(settled(1))
        host.holds(second, silent_s=60)
        host.now += 60.0
        await world.step()
        assert host.held() == 70, "what it has spent may be in a journal that is not sent yet"
        await host.report()
        await world.step()
        assert host.held() == 70
        second.close()
        await host.report()
        await world.step()
        assert host.held() == 0
        assert world.sums()["p key total key1"] == 300
        first.close()

    run(tmp_path, redis, case)


def test_what_workers_of_a_forgotten_host_held_is_free(tmp_path: Path, redis: RedisServer) -> None:
    async def case(world: World) -> None:
        host = Elsewhere(world, tmp_path)
        known, unknown = host.writer(), host.writer("gateway-1")
        known.append(settled(1))
        await world.fold.receive(
            EU, [piece for piece in host.courier.pieces() if "gateway-0" in piece.segment], None, 1
        )
        await world.step()
        for writer in (known, unknown):
            host.holds(writer, silent_s=60)
            await world.step()
            assert host.held() == 70
        await world.fold.give_up(EU)
        await world.step()
        assert host.held() <= 0
        with redis.client() as client:
            assert client.smembers(f"{PREFIX}:writers") == set()
        assert host.awaited() == set()
        assert world.sums()["p key total key1"] == 300
        known.close()
        unknown.close()

    run(tmp_path, redis, case)


@pytest.mark.parametrize("freeze", [False, True])
def test_a_redis_that_is_away_stops_nothing_and_is_told_everything_later(tmp_path: Path, *, freeze: bool) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "gateway-0")
        following = asyncio.create_task(world.books.run(world.fold, lambda: config(KEYS, TENANTS)))
        await world.books.told.wait()
        if freeze:
            world.redis.freeze()
        else:
            world.redis.kill()
        writer.append(settled(1))
        assert await world.fold.step()
        writer.append(settled(2))
        assert await world.fold.step()
        if freeze:
            world.redis.thaw()
        else:
            world.redis.start()
        while world.sums() != {"p key total key1": 600, "p tenant total acme": 600}:  # noqa: ASYNC110  # until it is told
            await asyncio.sleep(0.01)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        writer.close()

    with RedisServer() as own:
        run(tmp_path, own, case)


ACTION = st.sampled_from(["settle", "fold", "step", "rotate", "control dies", "redis forgets"])


@given(actions=st.lists(ACTION, max_size=40))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_after_whatever_has_happened_the_sums_are_those_of_the_ledger(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, actions: list[str]
) -> None:
    async def case(world: World) -> None:
        writer, number = Writer(world.journal, "gateway-0"), 0
        for action in [*actions, "fold", "step"]:
            if action == "settle":
                number += 1
                writer.append(settled(number, key=f"key{number % 2}", cost_nano=2**number))
            elif action == "fold":
                await world.fold.step()
            elif action == "step":
                await world.step()
            elif action == "rotate":
                writer.close()
                writer = Writer(world.journal, "gateway-0")
            elif action == "control dies":
                world.books._disconnect()
                world.begin()
            else:
                with world.redis.client() as client:
                    client.flushall()
        writer.close()
        async with world.database.read() as connection:
            tallies = await usage.tallies(connection, Selection(), ("key",))
        expected = {f"p key total {tally.key}": tally.cost_nano for tally in tallies}
        assert {name: spent for name, spent in world.sums().items() if " key " in name} == expected

    with redis_server.client() as client:
        client.flushall()
    run(tmp_path_factory.mktemp("world"), redis_server, case)
