"""Deciding while the store of the counters is away."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from penstock.counters.counter import Counter
from penstock.counters.local import Local
from penstock.counters.tally import Tally
from penstock.gateway.admission.admission import Admission
from penstock.gateway.admission.decisions import Decisions
from penstock.gateway.admission.hold import Hold
from penstock.gateway.admission.purse import Purse
from penstock.gateway.admission.rules import Rules
from penstock.gateway.dialects import errors
from penstock.pricing.period import Period
from penstock.snapshot.config import Measure, Outage
from penstock.types.errors import BudgetHeld, BudgetSpent, CountersUnavailable, LimitReached
from penstock.types.usage import Usage
from tests.gateway.admission.test_admission import ANN, BOB, Host, call, limit
from tests.gateway.admission.test_purse import AT, DAY_NS, budget, refusal


async def _without_store(rules: Rules, workers: int = 4) -> tuple[int, Host]:
    host = Host(workers)
    for store in host.stores:
        store.away = True
    return sum([await host.count(rules, worker) for worker in range(workers)]), host


@pytest.mark.parametrize("measure", [Measure.REQUESTS, Measure.CONCURRENCY])
def test_without_the_store_each_worker_lets_in_its_share(measure: Measure) -> None:
    admitted, host = asyncio.run(_without_store(Rules("m", [limit(measure, 42)])))
    assert admitted == 40
    assert host.metric("penstock_counters_outages_total", action="local_share") == 100


def test_a_share_is_never_nothing() -> None:
    assert asyncio.run(_without_store(Rules("m", [limit(Measure.REQUESTS, 1)])))[0] == 4


def test_without_the_store_what_is_to_be_allowed_is() -> None:
    admitted, host = asyncio.run(_without_store(Rules("m", [limit(Measure.REQUESTS, 1, outage=Outage.ALLOW)]), 1))
    assert admitted == 100
    assert host.metric("penstock_counters_outages_total", action="allow") == 100


def test_without_the_store_one_limit_that_denies_is_enough() -> None:
    async def main() -> None:
        host = Host()
        host.stores[0].away = True
        rules = Rules(
            "m", [limit(Measure.REQUESTS, 9, outage=Outage.ALLOW), limit(Measure.TOKENS, 9, outage=Outage.DENY)]
        )
        with pytest.raises(CountersUnavailable):
            await host.workers[0].admit(rules, ANN, call(), "")
        assert host.metric("penstock_counters_outages_total", action="deny") == 1
        host.stores[0].away = False
        await host.workers[0].admit(rules, ANN, call(), "")

    asyncio.run(main())


def test_what_was_let_in_without_the_store_says_so_and_goes_back_to_where_it_came_from() -> None:
    async def main() -> None:
        host = Host()
        store, worker = host.stores[0], host.workers[0]
        rules = Rules("m", [limit(Measure.CONCURRENCY, 2), limit(Measure.REQUESTS, 9, outage=Outage.ALLOW)])
        store.away = True
        holds: list[Hold] = [await worker.admit(rules, ANN, call(), "") for _ in range(2)]
        assert holds[0].outage is Outage.LOCAL_SHARE
        assert holds[0].explained == ("admission", "the counters are away: local_share")
        store.away = False
        held = [await worker.admit(rules, ANN, call(), "") for _ in range(2)]
        for hold in holds:
            hold.release(Usage())
        with pytest.raises(LimitReached):
            await worker.admit(rules, ANN, call(), "")
        for hold in held:
            hold.release(Usage())
        await worker.admit(rules, ANN, call(), "")

    asyncio.run(main())


class _Unknown:
    def spent(self, _counter: Counter) -> int | None:
        return None

    def telling(self, _counter: Counter) -> int:
        return 0


@pytest.mark.parametrize("outage", [Outage.DENY, Outage.ALLOW])
def test_what_nobody_knows_is_decided_by_the_strictest(outage: Outage) -> None:
    async def main() -> None:
        host = Host()
        store = Local(Tally(host.clock, opening=_Unknown()))
        worker = Admission(store, Decisions(CollectorRegistry()), host.clock, host.sleep)
        purse = Purse("m", [budget(10, outage=Outage.ALLOW), budget(10, "tenant", outage=outage)])
        if outage is Outage.DENY:
            with pytest.raises(CountersUnavailable):
                await worker.reserve(purse, ANN, 1, AT)
            return
        held = await worker.reserve(purse, ANN, 1, AT)
        assert held.explained == ("budget", "the counters are away: allow")
        assert held.lines() == b""
        held.settle(1)

    asyncio.run(main())


SHARED = Outage.LOCAL_SHARE


def _away(host: Host, away: bool = True) -> None:
    for store in host.stores:
        store.away = away


def test_without_the_store_each_worker_spends_its_share_of_what_was_left() -> None:
    async def main() -> None:
        host = Host(4)
        purse = Purse("m", [budget(1000, outage=SHARED), budget(5000, "tenant", outage=SHARED)])
        (await host.workers[0].reserve(purse, ANN, 400, AT)).settle(200)
        await host.sleep(1)
        (await host.workers[0].reserve(purse, ANN, 1, AT)).settle(1)
        _away(host)
        await host.sleep(1)
        first = await host.workers[0].reserve(purse, ANN, 150, AT)
        assert first.explained == ("budget", "the counters are away: local_share")
        error = await refusal(host.workers[0], purse, 50)
        assert isinstance(error, BudgetHeld)
        assert "0.000000049 USD are left" in str(error), "of a quarter of 799, and not of the tenant's"
        first.settle(100)
        await host.workers[0].reserve(purse, ANN, 99, AT)
        await refusal(host.workers[0], purse, 1)
        await host.workers[1].reserve(purse, ANN, 250, AT)  # which has not heard of what was spent
        await host.workers[0].reserve(purse, BOB, 250, AT)
        assert host.metric("penstock_counters_outages_total", action="local_share") == 5
        assert host.metric("penstock_limits_reached_total", policy="p", per="key", measure="usd") == 2

    asyncio.run(main())


@given(st.sampled_from([SHARED, Outage.ALLOW]), st.lists(st.integers(0, 300), max_size=8))
def test_what_was_spent_without_the_store_counts_when_it_is_back(outage: Outage, costs: list[int]) -> None:
    async def main() -> None:
        host = Host()
        worker, purse = host.workers[0], Purse("m", [budget(10_000, outage=outage)])
        (await worker.reserve(purse, ANN, 300, AT)).settle(300)
        await host.sleep(1)
        _away(host)
        held = [await worker.reserve(purse, ANN, 300, AT) for _ in costs]
        for reservation, cost in zip(held, costs, strict=True):
            assert reservation.outage is outage
            reservation.settle(cost)
        _away(host, False)
        left = 10_000 - 300 - sum(costs)
        assert f"0.{left:09d} USD left" in str(await refusal(worker, purse, left + 1))
        (await worker.reserve(purse, ANN, left, AT)).settle(left)
        await refusal(worker, purse, 1)

    asyncio.run(main())


def test_a_share_is_divided_anew_once_the_store_has_told_what_is_left() -> None:
    async def main() -> None:
        host = Host(2)
        worker, purse = host.workers[0], Purse("m", [budget(1000, outage=SHARED)])
        for spent in (0, 300):
            (await worker.reserve(purse, ANN, 1000 - spent, AT)).settle(0)
            await host.sleep(1)
            (await worker.reserve(purse, ANN, 1, AT)).settle(0)
            await host.sleep(1)
            _away(host)
            (await worker.reserve(purse, ANN, 300, AT)).settle(300)
            _away(host, False)
        await host.sleep(1)
        (await worker.reserve(purse, ANN, 400, AT)).settle(400)

    asyncio.run(main())


def test_of_several_budgets_the_share_is_of_those_that_say_so() -> None:
    async def main() -> None:
        host = Host()
        purse = Purse("m", [budget(10, outage=Outage.ALLOW), budget(500, "tenant", outage=SHARED)])
        _away(host)
        await host.workers[0].reserve(purse, ANN, 500, AT)
        await refusal(host.workers[0], purse, 1)

    asyncio.run(main())


def test_a_share_is_of_the_budget_whichever_key_model_or_view_it_is_spent_through() -> None:
    async def main() -> None:
        host, spent = Host(), 0
        _away(host)
        for number in range(12):
            purse = Purse(f"m{number % 3}", [budget(100, "tenant", period=Period.MONTH, outage=SHARED)])
            try:
                at_ns = AT + number % 2 * DAY_NS
                (await host.workers[0].reserve(purse, (ANN, BOB)[number % 2], 30, at_ns)).settle(30)
                spent += 30
            except BudgetHeld:
                continue
        assert spent == 90

    asyncio.run(main())


def test_of_a_budget_that_is_known_to_be_used_up_there_is_no_share() -> None:
    async def main() -> None:
        host = Host()
        purse = Purse("m", [budget(100, outage=SHARED)])
        (await host.workers[0].reserve(purse, ANN, 100, AT)).settle(100)
        for _ in range(3):
            assert isinstance(await refusal(host.workers[0], purse, 1), BudgetSpent)
            _away(host)
            assert isinstance(await refusal(host.workers[0], purse, 1), BudgetHeld)
            _away(host, False)

    asyncio.run(main())


@pytest.mark.parametrize("outage", [SHARED, Outage.ALLOW])
def test_what_was_let_in_without_the_store_is_held_there_when_it_is_back(outage: Outage) -> None:
    """Of a budget, too, that nobody had ever asked for."""

    async def main() -> None:
        host = Host()
        worker, purse = host.workers[0], Purse("m", [budget(100, outage=outage)])
        _away(host)
        stream = await worker.reserve(purse, ANN, 60, AT)
        _away(host, False)
        assert isinstance(await refusal(worker, purse, 41), BudgetHeld)
        stream.settle(50)
        assert isinstance(await refusal(worker, purse, 51), BudgetSpent)
        await worker.reserve(purse, ANN, 50, AT)

    asyncio.run(main())


def test_who_is_refused_by_a_share_hears_of_it() -> None:
    async def main() -> None:
        host = Host()
        _away(host)
        rules = Rules("m", [limit(Measure.REQUESTS, 1)])
        await host.workers[0].admit(rules, ANN, call(), "")
        with pytest.raises(LimitReached) as limited:
            await host.workers[0].admit(rules, ANN, call(), "")
        broke = await refusal(host.workers[0], Purse("m", [budget(0, outage=SHARED)]), 1)
        for error in (limited.value, broke):
            assert b"x-penstock-counters: local_share\r\n" in errors.refusal(error).headers

    asyncio.run(main())
