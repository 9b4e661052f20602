"""The budgets of a model, and what one exchange holds of them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.counters.counter import Counter, Kind
from penstock.counters.leases import Lease, Leases
from penstock.gateway.dialects.call import OUTPUT_BOUND
from penstock.gateway.identity.caller import Caller
from penstock.pricing.period import DAY_S, bounds
from penstock.pricing.price import NANO_PER_USD, usd
from penstock.snapshot.config import Budget, Outage
from penstock.snapshot.standings import subject, sum_name

ADVICE = f" by its max_tokens ({OUTPUT_BOUND} without one)."
"""What an error about money ends with, behind what the request may cost."""


class Purse:
    """
    The budgets of one model. Made once per view, compared by identity.

    Attributes:
        outage: what to do while nobody can tell what is left: the strictest of theirs.
    """

    __slots__ = ("budgets", "model", "outage")

    def __init__(self, model: str, budgets: Sequence[Budget]) -> None:
        self.model = model
        self.budgets = tuple(budgets)
        self.outage = Outage.strictest(budget.on_outage for budget in budgets)

    def lease(self, caller: Caller, day: int) -> Lease:
        """Return a new lease, with nothing in it, for what the budgets count of this caller in the period of a day."""
        who = {"key": caller.key, "user": caller.user, "tenant": caller.tenant, "model": self.model}
        return Lease(*(_counter(budget, who, day) for budget in self.budgets))


class Share(msgspec.Struct):
    """
    What one worker may spend of a budget while nobody can tell what is left.

    Attributes:
        left: nano-dollars.
    """

    left: int


class Reservation(msgspec.Struct):
    """
    Money that an exchange holds; settled once, when its cost is known.

    Attributes:
        owner: of the lease.
        lease: of the budgets.
        nano: how much is held of each.
        outage: what was done instead of asking, if nobody could be asked.
        shares: of which it is held as well, then.
    """

    owner: Leases
    lease: Lease
    nano: int
    outage: Outage | None = None
    shares: Sequence[Share] = ()

    @property
    def explained(self) -> tuple[str, str]:
        """For the explanation of the exchange."""
        if self.outage is not None:
            return "budget", f"the counters are away: {self.outage}"
        count = len(self.lease.counters)
        return "budget", f"up to {usd(self.nano)} USD held of {count} {'budget' if count == 1 else 'budgets'}"

    def settle(self, cost_nano: int) -> None:
        """Count what the exchange cost, and give back the rest."""
        self.owner.settle(self.lease, self.nano, cost_nano)
        for share in self.shares:
            share.left += self.nano - cost_nano

    def lines(self) -> bytes:
        """Return a header line: what is left of the budget nearest to its end."""
        if self.outage is not None:
            return b""
        left = self.lease.remaining + self.lease.free
        return b"x-penstock-budget-remaining-usd: %d.%09d\r\n" % divmod(left, NANO_PER_USD)


def described(budget: Budget) -> str:
    """Say what a budget is: `50.000000000 USD a month for this key (policy default)`."""
    whom = " and ".join(f"this {name}" for name in budget.per)
    period = "in all" if budget.period == "total" else f"a {budget.period}"
    return f"{usd(budget.most_nano)} USD {period} for {whom} (policy {budget.policy})"


def _counter(budget: Budget, who: dict[str, str], day: int) -> Counter:
    first, end = bounds(budget.period, day)
    whom = subject(tuple(who[name] for name in budget.per))
    name = sum_name(budget.id, first, whom)
    return Counter(name, Kind.SUM, budget.most_nano, budget.id, whom, first, end * DAY_S)
