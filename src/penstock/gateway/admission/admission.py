"""Letting an exchange in under its model's limits, or refusing it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from penstock.counters.counter import Refusal, Store, StoreUnavailable
from penstock.counters.leases import Lease, Leases
from penstock.counters.local import Local
from penstock.counters.tally import Tally
from penstock.gateway.admission.decisions import Decisions
from penstock.gateway.admission.hold import Hold
from penstock.gateway.admission.purse import Purse, Reservation
from penstock.gateway.admission.purse import described as described_budget
from penstock.gateway.admission.rules import Rules, described
from penstock.gateway.dialects.operation import OUTPUT_BOUND, Call
from penstock.gateway.identity.caller import Caller
from penstock.pricing.period import DAY_S
from penstock.pricing.price import usd
from penstock.snapshot.config import Measure, Outage
from penstock.types.errors import BudgetHeld, BudgetSpent, CountersUnavailable, LimitReached, TokenLimitReached

_LONG_S = 3600.0  # a budget that never begins anew is looked at again after so long
_ADVICE = f" by its max_tokens ({OUTPUT_BOUND} without one)."
_MOST_KNOWN = 20_000  # callers of models whose leases are kept; the rest are made anew

K = TypeVar("K", bound=Hashable)
L = TypeVar("L", bound=tuple[Lease, ...])


class Admission:
    """
    The limits of one worker. Used by its tasks from one event loop.

    Args:
        clock: seconds, monotonic.
        sleep: replaced by tests.

    Attributes:
        workers: that share the limits.
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
        self._alone = Leases(Local(Tally(clock)), clock, sleep)  # while the store is away
        self._known: dict[tuple[Rules, str, str], tuple[Lease, ...]] = {}
        self._purses: dict[tuple[Purse, str, int], tuple[Lease]] = {}
        self._shares: dict[tuple[Rules, str, str], tuple[Lease, ...]] = {}
        self._decisions = decisions
        self.workers = 1

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
        leases = self._known.get(name)
        if leases is None:
            leases = _keep(self._known, name, rules.leases(caller, address))
        owner = self._leases
        amounts = rules.amounts(call)
        if owner.spend(leases, amounts):
            self._decisions.held += 1
            return Hold(owner, rules, leases, amounts, 0 if rules.tokens is None else leases[rules.tokens].slot)
        try:
            taken = await owner.take(leases, amounts)
            self._decisions.asked += 1
        except StoreUnavailable:
            return await self._admit_alone(rules, caller, call, address)
        if isinstance(taken, Refusal):
            raise self._refused(rules, taken)
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
        leases = self._purses.get(name)
        if leases is None:
            leases = _keep(self._purses, name, (purse.lease(caller, day),))
        owner, lease = self._leases, leases[0]
        if owner.spend(leases, (need,)):
            self._decisions.held += 1
            return Reservation(owner, lease, need)
        try:
            taken = await owner.take(leases, (need,))
            self._decisions.asked += 1
        except StoreUnavailable:
            self._decisions.outage(purse.outage)
            if purse.outage is Outage.DENY:
                raise CountersUnavailable("What is left of a budget cannot be told now.", retry_after=1) from None
            return Reservation(owner, None, 0, purse.outage)
        if isinstance(taken, Refusal):
            budget, counter = purse.budgets[taken.index], lease.counters[taken.index]
            self._decisions.refused(budget)
            text = f"The budget of {described_budget(budget)} has {usd(taken.remaining)} USD left"
            if not math.isinf(taken.after_s):
                raise BudgetHeld(
                    f"{text} while other requests are in progress, and this one may cost {usd(nano)} USD{_ADVICE}",
                    retry_after=1,
                )
            until_s = counter.ends - at_ns / 10**9 if counter.ends else _LONG_S
            raise BudgetSpent(f"{text}, and this request may cost {usd(nano)} USD{_ADVICE}", retry_after=until_s)
        return Reservation(owner, lease, need)

    def sweep(self) -> None:
        """Give back what has not been needed. Called every `SWEEP_S`."""
        self._leases.sweep()
        self._former.sweep()
        self._alone.sweep()

    def close(self) -> None:
        """Give back everything that is not in use."""
        self._leases.close()

    async def _admit_alone(self, rules: Rules, caller: Caller, call: Call, address: str) -> Hold:
        """Do what the limits say for when nobody can be asked: the strictest decides."""
        outage = min((limit.on_outage for limit in rules.limits), key=list(Outage).index)
        self._decisions.outage(outage)
        if outage is Outage.DENY:
            policies = ", ".join(dict.fromkeys(limit.policy for limit in rules.limits if limit.on_outage is outage))
            raise CountersUnavailable(f"The limits of policy {policies} cannot be counted now.", retry_after=1)
        shared = rules.shared
        name = (shared, caller.key, address if shared.by_address else "")
        leases = self._shares.get(name)
        if leases is None:
            leases = _keep(self._shares, name, shared.leases(caller, address, self.workers))
        amounts = shared.amounts(call)
        taken = await self._alone.take(leases, amounts)
        if isinstance(taken, Refusal):
            raise self._refused(shared, taken)
        slot = 0 if shared.tokens is None else taken[shared.tokens]
        return Hold(self._alone, shared, leases, amounts, slot, outage)

    def _refused(self, rules: Rules, refusal: Refusal) -> LimitReached:
        limit = rules.limits[refusal.index]
        self._decisions.refused(limit)
        kind = TokenLimitReached if limit.measure is Measure.TOKENS else LimitReached
        return kind(
            f"The limit of {described(limit)} is reached.",
            limit=None if limit.measure is Measure.CONCURRENCY else limit.most,
            remaining=refusal.remaining,
            retry_after=refusal.after_s,
        )


def _keep(known: dict[K, L], name: K, leases: L) -> L:
    """Keep the leases of a caller; where there are too many, those of whoever was first seen longest ago go."""
    if len(known) >= _MOST_KNOWN:
        del known[next(iter(known))]
    known[name] = leases
    return leases
