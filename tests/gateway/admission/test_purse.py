"""Budgets: held before the call, counted after it, never overrun."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.admission.admission import Admission
from penstock.gateway.admission.purse import Purse
from penstock.gateway.identity.caller import Caller
from penstock.pricing.period import Period
from penstock.snapshot.config import Budget, Outage
from penstock.types.errors import BudgetHeld, BudgetSpent
from tests.gateway.admission.test_admission import ANN, BOB, Host

DAY_NS = 86_400 * 10**9
AT = 20_000 * DAY_NS + DAY_NS // 2


def budget(
    nano: int, *per: str, period: Period = Period.DAY, outage: Outage = Outage.DENY, policy: str = "p"
) -> Budget:
    names = per or ("key",)
    return Budget(f"{policy} {'+'.join(names)} {period} x", policy, names, period, ("m",), nano, outage)


async def refusal(
    worker: Admission, purse: Purse, nano: int, caller: Caller = ANN, at_ns: int = AT
) -> BudgetSpent | BudgetHeld:
    with pytest.raises((BudgetSpent, BudgetHeld)) as caught:
        await worker.reserve(purse, caller, nano, at_ns)
    assert isinstance(caught.value, BudgetSpent | BudgetHeld)
    return caught.value


@given(st.integers(1, 20), st.integers(1, 10**9), st.integers(1, 4))
def test_a_budget_of_so_many_estimates_lets_in_so_many(count: int, nano: int, workers: int) -> None:
    async def main() -> int:
        host, admitted = Host(workers), 0
        purse = Purse("m", [budget(count * nano, "tenant")])
        for turn in range(count + 8):
            try:
                await host.workers[turn % workers].reserve(purse, (ANN, BOB)[turn % 2], nano, AT)
                admitted += 1
            except (BudgetSpent, BudgetHeld):
                continue
        return admitted

    assert asyncio.run(main()) == count


def test_a_budget_per_user_counts_all_keys_of_one_together() -> None:
    async def main() -> None:
        host = Host(1)
        purse = Purse("m", [budget(10, "user")])
        laptop = Caller("k1", "acme", user="acme/ann")
        await host.workers[0].reserve(purse, laptop, 10, AT)
        await refusal(host.workers[0], purse, 1, Caller("k2", "acme", user="acme/ann"))
        await host.workers[0].reserve(purse, Caller("k3", "acme", user="acme/bob"), 10, AT)
        await host.workers[0].reserve(purse, Caller("k4", "other", user="other/ann"), 10, AT)

    asyncio.run(main())


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 900), st.floats(0, 1), st.booleans()), max_size=60))
def test_a_budget_is_never_overrun_and_nothing_of_it_is_lost(steps: list[tuple[int, int, float, bool]]) -> None:
    async def main() -> None:
        host = Host(3)
        purse, spent = Purse("m", [budget(5000), budget(9000, "tenant", period=Period.TOTAL)]), 0
        waiting = []
        for worker, nano, share, now in steps:
            try:
                waiting.append((await host.workers[worker].reserve(purse, ANN, nano, AT), int(nano * share)))
            except (BudgetSpent, BudgetHeld):
                assert spent + sum(cost for _, cost in waiting) <= 5000
            if now and waiting:
                reservation, cost = waiting.pop(0)
                reservation.settle(cost)
                spent += cost
        for reservation, cost in waiting:
            reservation.settle(cost)
            spent += cost
        assert spent <= 5000
        await host.sleep(1)
        if spent < 5000:
            await host.workers[0].reserve(purse, ANN, 5000 - spent, AT)
        await refusal(host.workers[1], purse, 1)

    asyncio.run(main())


def test_what_is_refused_says_how_much_is_left_and_until_when() -> None:
    async def main() -> None:
        host = Host()
        purse = Purse("m", [budget(10**9, "tenant", "model"), budget(2 * 10**9, period=Period.MONTH)])
        held = await host.workers[0].reserve(purse, ANN, 600_000_000, AT)
        assert held.lines() == b"x-penstock-budget-remaining-usd: 0.400000000\r\n"
        assert held.explained == ("budget", "up to 0.600000000 USD held of 2 budgets")
        error = await refusal(host.workers[0], purse, 500_000_000)
        assert isinstance(error, BudgetHeld)
        assert error.retry_after == 1
        assert "has 0.400000000 USD left while other requests are in progress, and this one may" in str(error)
        held.settle(600_000_000)
        error = await refusal(host.workers[0], purse, 500_000_000)
        assert isinstance(error, BudgetSpent)
        assert str(error) == (
            "The budget of 1.000000000 USD a day for this tenant and this model (policy p) has 0.400000000 USD left, "
            "and this request may cost 0.500000000 USD by its max_tokens (4096 without one)."
        )
        assert error.retry_after == 86_400 / 2
        (await host.workers[0].reserve(purse, ANN, 400_000_000, AT)).settle(400_000_000)
        assert isinstance(await refusal(host.workers[0], purse, 0), BudgetSpent)
        assert host.metric("penstock_limits_reached_total", policy="p", per="tenant+model", measure="usd") == 3

    asyncio.run(main())


def test_a_budget_of_nothing_lets_nothing_in_however_cheap() -> None:
    async def main() -> None:
        await refusal(Host().workers[0], Purse("m", [budget(0, period=Period.TOTAL)]), 0)

    asyncio.run(main())


def test_a_new_period_begins_anew_and_all_time_does_not() -> None:
    async def main() -> None:
        host = Host()
        days, ever = Purse("m", [budget(10)]), Purse("m", [budget(10, period=Period.TOTAL)])
        for purse in (days, ever):
            (await host.workers[0].reserve(purse, ANN, 10, AT)).settle(10)
            await refusal(host.workers[0], purse, 1)
        await host.workers[0].reserve(days, ANN, 10, AT + DAY_NS)
        await refusal(host.workers[0], ever, 1, at_ns=AT + DAY_NS)

    asyncio.run(main())


def test_callers_have_their_own_budgets() -> None:
    async def main() -> None:
        host, purse = Host(), Purse("m", [budget(10)])
        await host.workers[0].reserve(purse, ANN, 10, AT)
        await host.workers[0].reserve(purse, BOB, 10, AT)
        await refusal(host.workers[0], purse, 10)

    asyncio.run(main())


def test_what_costs_more_than_was_held_is_counted() -> None:
    async def main() -> None:
        host, purse = Host(), Purse("m", [budget(100)])
        (await host.workers[0].reserve(purse, ANN, 10, AT)).settle(95)
        assert "0.000000005 USD left" in str(await refusal(host.workers[0], purse, 6))

    asyncio.run(main())
