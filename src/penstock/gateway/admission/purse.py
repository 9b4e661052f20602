"""The budgets of a model, and what one exchange holds of them."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.counters.counter import Counter, Kind
from penstock.counters.leases import Lease, Leases
from penstock.gateway.identity.caller import Caller
from penstock.pricing.period import DAY_S, bounds
from penstock.pricing.price import NANO_PER_USD, usd
from penstock.snapshot.config import Budget, Outage
from penstock.snapshot.standings import subject, sum_name


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
        self.outage = min((budget.on_outage for budget in budgets), key=list(Outage).index)

    def leases(self, caller: Caller, day: int) -> tuple[Lease, ...]:
        """Return a new lease, with nothing in it, for what each budget counts of this caller in the period of a day."""
        who = {"key": caller.key, "user": caller.user, "tenant": caller.tenant, "model": self.model}
        found = []
        for budget in self.budgets:
            first, end = bounds(budget.period, day)
            whom = subject(tuple(who[name] for name in budget.per))
            found.append(
                Lease(
                    Counter(
                        sum_name(budget.id, first, whom),
                        Kind.SUM,
                        budget.most_nano,
                        budget.id,
                        whom,
                        first,
                        end * DAY_S,
                    )
                )
            )
        return tuple(found)


class Reservation:
    """
    Money that an exchange holds; settled once, when its cost is known.

    Args:
        leases: of the budgets, in their order; empty where nobody could be asked.
        outage: what was done instead of asking, if nobody could be asked.
    """

    __slots__ = ("_leases", "_nano", "_owner", "outage")

    def __init__(self, owner: Leases, leases: Sequence[Lease], nano: int, outage: Outage | None = None) -> None:
        self._owner = owner
        self._leases = leases
        self._nano = nano
        self.outage = outage

    @property
    def explained(self) -> tuple[str, str]:
        """For the explanation of the exchange."""
        if self.outage is not None:
            return "budget", f"the counters are away: {self.outage.value}"
        noun = "budget" if len(self._leases) == 1 else "budgets"
        return "budget", f"up to {usd(self._nano)} USD held of {len(self._leases)} {noun}"

    def settle(self, cost_nano: int) -> None:
        """Count what the exchange cost, and give back the rest."""
        self._owner.settle(self._leases, self._nano, cost_nano)

    def lines(self) -> bytes:
        """Return a header line: what is left of the budget nearest to its end."""
        least = -1
        for lease in self._leases:
            left = lease.remaining + lease.free
            if left < least or least < 0:
                least = left
        return b"" if least < 0 else b"x-penstock-budget-remaining-usd: %d.%09d\r\n" % divmod(least, NANO_PER_USD)


def described(budget: Budget) -> str:
    """Say what a budget is: `50.000000000 USD a month for this key (policy default)`."""
    whom = " and ".join(f"this {name}" for name in budget.per)
    period = "in all" if budget.period == "total" else f"a {budget.period}"
    return f"{usd(budget.most_nano)} USD {period} for {whom} (policy {budget.policy})"
