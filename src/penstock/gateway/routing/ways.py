"""
How one of a deployment's replicas is chosen. Adding a way: a function in a module here, a line in `WAYS`, a test.

No I/O, no clock, no chance: what they need is passed in, what they choose is returned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from penstock.gateway.routing.affinity import prefix, session
from penstock.gateway.routing.balance import least_outstanding, peak_ewma, round_robin
from penstock.gateway.routing.candidate import Ask, C
from penstock.snapshot.config import Balance

Way = Callable[[Sequence[C], Ask], C]
"""Chooses one of several candidates, at least one, for an exchange."""

WAYS: Mapping[Balance, Way] = {  # type: ignore[type-arg]  # each works for whatever it is given
    Balance.LEAST_OUTSTANDING: least_outstanding,
    Balance.ROUND_ROBIN: round_robin,
    Balance.PEAK_EWMA: peak_ewma,
    Balance.PREFIX: prefix,
    Balance.SESSION: session,
}
