"""Deciding while nobody can be asked: what limits and budgets say is to be done then; the strictest decides."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from penstock.counters.counter import Counter, Refusal
from penstock.counters.leases import Lease, Leases
from penstock.counters.local import Local
from penstock.counters.tally import Tally
from penstock.gateway.admission.decisions import Decisions
from penstock.gateway.admission.hold import Hold
from penstock.gateway.admission.known import Known
from penstock.gateway.admission.purse import ADVICE, Purse, Reservation, Share, described
from penstock.gateway.admission.rules import Rules, reached
from penstock.gateway.dialects.call import Call
from penstock.gateway.identity.caller import Caller
from penstock.pricing.price import usd
from penstock.snapshot.config import Outage
from penstock.types.errors import BudgetHeld, CountersUnavailable


class Alone:
    """
    What one worker does without the store of its counters. Used by its tasks from one event loop.

    Args:
        clock: seconds, monotonic.

    Attributes:
        workers: among which limits, and what was left of budgets, are divided.
    """

    def __init__(
        self,
        decisions: Decisions,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._decisions = decisions
        self._leases = Leases(Local(Tally(clock)), clock, sleep)
        self._known: Known[tuple[Rules, str, str], tuple[Lease, ...]] = Known()
        self._left: Known[str, int] = Known()  # of a budget's counter, when the store last told
        self._shares: Known[str, Share] = Known()
        self.workers = 1

    async def admit(self, rules: Rules, caller: Caller, call: Call, address: str) -> Hold:
        """
        Let an exchange in under this worker's share of the limits.

        Raises:
            LimitReached: of one the share has no room.
            CountersUnavailable: a limit is to refuse now.
        """
        outage = Outage.strictest(limit.on_outage for limit in rules.limits)
        self._decisions.outage(outage)
        if outage is Outage.DENY:
            policies = ", ".join(dict.fromkeys(limit.policy for limit in rules.limits if limit.on_outage is outage))
            raise CountersUnavailable(f"The limits of policy {policies} cannot be counted now.", retry_after=1)
        shared = rules.shared
        name = (shared, caller.key, address if shared.by_address else "")
        leases = self._known.get(name)
        if leases is None:
            leases = self._known.keep(name, shared.leases(caller, address, self.workers))
        amounts = shared.amounts(call)
        taken = await self._leases.take(leases, amounts)
        if isinstance(taken, Refusal):
            limit = shared.limits[taken.index]
            self._decisions.refused(limit)
            error = reached(limit, taken)
            error.counters = outage
            raise error
        slot = 0 if shared.tokens is None else taken[shared.tokens]
        return Hold(self._leases, shared, leases, amounts, slot, outage)

    def reserve(self, purse: Purse, owner: Leases, lease: Lease, nano: int) -> Reservation:
        """
        Hold money of this worker's share of what was left of each budget when it last heard of it.

        Args:
            lease: of the budgets, from `owner`.
        Raises:
            BudgetHeld: a share is used up.
            CountersUnavailable: a budget is to refuse now.
        """
        self._decisions.outage(purse.outage)
        if purse.outage is Outage.DENY:
            raise CountersUnavailable("What is left of a budget cannot be told now.", retry_after=1)
        shares = []
        for budget, counter in zip(purse.budgets, lease.counters, strict=True):
            if budget.on_outage is not Outage.LOCAL_SHARE:
                continue
            share = self._shares.get(counter.name)
            if share is None:
                left = self._left.get(counter.name, counter.limit)
                share = self._shares.keep(counter.name, Share(max(0, left) // self.workers))
            if share.left < nano:
                self._decisions.refused(budget)
                error = BudgetHeld(
                    f"What is left of the budget of {described(budget)} cannot be told now, of the share that may"
                    f" be spent meanwhile {usd(share.left)} USD are left, and this request may cost {usd(nano)}"
                    f" USD{ADVICE}",
                    retry_after=1,
                )
                error.counters = purse.outage
                raise error
            shares.append(share)
        for share in shares:
            share.left -= nano
        owner.hold(lease, nano)
        return Reservation(owner, lease, nano, purse.outage, shares)

    def heard(self, counter: Counter, left: int) -> None:
        """Take in how much is left of a budget, now that the store has told."""
        self._left.keep(counter.name, left)
        self._shares.forget(counter.name)

    def sweep(self) -> None:
        """Give back what has not been needed."""
        self._leases.sweep()
