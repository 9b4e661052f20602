"""Letting an exchange in under its model's limits, or refusing it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from penstock.counters.counter import Refusal, Store, StoreUnavailable
from penstock.counters.leases import Lease, Leases
from penstock.gateway.admission.alone import Alone
from penstock.gateway.admission.decisions import Decisions
from penstock.gateway.admission.hold import Hold
from penstock.gateway.admission.known import Known
from penstock.gateway.admission.purse import ADVICE, Purse, Reservation, described
from penstock.gateway.admission.rules import Rules, reached
from penstock.gateway.dialects.call import Call
from penstock.gateway.identity.caller import Caller
from penstock.pricing.period import DAY_S
from penstock.pricing.price import usd
from penstock.types.errors import BudgetHeld, BudgetSpent

_LONG_S = 3600.0  # a budget that never begins anew is looked at again after so long


class Admission:
    """
    The limits of one worker. Used by its tasks from one event loop.

    Args:
        clock: seconds, monotonic.
        sleep: replaced by tests.
    """

    def __init__(
        self,
        store: Store,
        decisions: Decisions,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._leases = self._former = Leases(store, clock, sleep)
        self._alone = Alone(decisions, clock, sleep)
        self._known: Known[tuple[Rules, str, str], tuple[Lease, ...]] = Known()
        self._purses: Known[tuple[Purse, str, int], Lease] = Known()
        self._decisions = decisions

    def divide(self, workers: int) -> None:
        """Say how many workers share the limits."""
        self._alone.workers = workers

    def use(self, store: Store) -> None:
        """Count there from now on. What is held of the store before goes back to that one, and is not counted here."""
        self._leases.close()
        self._former = self._leases
        self._leases = Leases(store, self._clock, self._sleep)
        self._known.clear()
        self._purses.clear()

    async def admit(self, rules: Rules, caller: Caller, call: Call, address: str) -> Hold:
        """
        Take what the exchange needs of every limit.

        Raises:
            LimitReached: one has no room; nothing is taken.
            CountersUnavailable: nobody can tell, and a limit is to refuse then.
        """
        name = (rules, caller.key, address if rules.by_address else "")
        leases = self._known.get(name) or self._known.keep(name, rules.leases(caller, address))
        owner = self._leases
        amounts = rules.amounts(call)
        if owner.spend(leases, amounts):
            self._decisions.held += 1
            return Hold(owner, rules, leases, amounts, 0 if rules.tokens is None else leases[rules.tokens].slot)
        try:
            taken = await owner.take(leases, amounts)
            self._decisions.asked += 1
        except StoreUnavailable:
            return await self._alone.admit(rules, caller, call, address)
        if isinstance(taken, Refusal):
            limit = rules.limits[taken.index]
            self._decisions.refused(limit)
            raise reached(limit, taken)
        return Hold(owner, rules, leases, amounts, 0 if rules.tokens is None else taken[rules.tokens])

    async def reserve(self, purse: Purse, caller: Caller, nano: int, at_ns: int) -> Reservation:
        """
        Hold money for an exchange, of every budget or of none.

        Args:
            nano: the most that it can cost, nano-dollars. One that is free needs a budget that is not used up, too.
            at_ns: when it came in, nanoseconds since the epoch.
        Raises:
            BudgetSpent: one has not so much left.
            BudgetHeld: one would have, were it not for what others hold.
            CountersUnavailable: nobody can tell, and a budget is to refuse then.
        """
        day, need = at_ns // (DAY_S * 10**9), max(1, nano)
        name = (purse, caller.key, day)
        owner, lease = self._leases, self._purses.get(name) or self._purses.keep(name, purse.lease(caller, day))
        if owner.spend((lease,), (need,)):
            self._decisions.held += 1
            return Reservation(owner, lease, need)
        try:
            taken = await owner.take((lease,), (need,))
        except StoreUnavailable:
            return self._alone.reserve(purse, owner, lease, need)
        self._decisions.asked += 1
        if isinstance(taken, Refusal):
            budget, counter = purse.budgets[taken.index], lease.counters[taken.index]
            self._alone.heard(counter, taken.remaining)
            self._decisions.refused(budget)
            text = f"The budget of {described(budget)} has {usd(taken.remaining)} USD left"
            if not math.isinf(taken.after_s):
                raise BudgetHeld(
                    f"{text} while other requests are in progress, and this one may cost {usd(nano)} USD{ADVICE}",
                    retry_after=1,
                )
            until_s = counter.ends - at_ns / 10**9 if counter.ends else _LONG_S
            raise BudgetSpent(f"{text}, and this request may cost {usd(nano)} USD{ADVICE}", retry_after=until_s)
        for counter, left in zip(lease.counters, lease.left, strict=True):
            self._alone.heard(counter, left)
        return Reservation(owner, lease, need)

    def sweep(self) -> None:
        """Give back what has not been needed. Called every `SWEEP_S`."""
        self._leases.sweep()
        self._former.sweep()
        self._alone.sweep()

    def close(self) -> None:
        """Give back everything that is not in use."""
        self._leases.close()
