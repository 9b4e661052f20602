"""What is counted, and what a store of counts answers."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

WINDOW_S = 60.0
SLOT_S = 0.25
"""Amounts of a rate are kept together for this long, and so is a lease."""
KEPT_S = WINDOW_S + 2 * SLOT_S
"""
How long an amount counts against a rate from the beginning of the slot in which it was taken. It is taken at most one
slot after that beginning and spent at most one lease later, so whoever spends stays within the limit in any `WINDOW_S`.
"""


class Kind(StrEnum):
    """How a counter counts."""

    RATE = "rate"  # amounts of the last minute
    LEVEL = "level"  # amounts held now
    SUM = "sum"  # amounts held now, and those that were spent, for good


class Counter(msgspec.Struct, frozen=True, array_like=True):
    """
    One thing that is limited.

    Attributes:
        name: of the limit and whom it counts for; one name has one kind.
        limit: the most that may be counted.
        budget, subject: of a sum: what it is a part of, and whom it is for, as `Opening` knows them.
        begins: of a sum: first day of its period, days since the epoch.
        ends: of a sum: seconds since the epoch after which nobody asks for it; 0 for never.
    """

    name: str
    kind: Kind
    limit: int
    budget: str = ""
    subject: str = ""
    begins: int = 0
    ends: int = 0


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """
    Attributes:
        need: without which there is no use in any of it; 0 or more.
        want: as much as would be welcome, as a lease; `need` or more.
    """

    counter: Counter
    need: int
    want: int


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """
    What was granted for one ask.

    Attributes:
        amount: between `need` and `want`.
        remaining: what is left for everybody after it.
        slot: number of the slot it was taken in, for giving it back.
        tight: so little is left that what is given back is to be given back at once, and to the store.
    """

    amount: int
    remaining: int
    slot: int
    tight: bool


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """
    Nothing was taken.

    Attributes:
        index: of the ask that could not be met; the one with the longest wait.
        remaining: what is left of it.
        after_s: seconds after which there is room if nobody else takes it; 0 where that is up to who holds it, infinite
            where it never is, as when it is spent.
        lent: others have leases they may not need; asking again after a lease's time tells for certain.
    """

    index: int
    remaining: int
    after_s: float
    lent: bool


class Return(msgspec.Struct, frozen=True, array_like=True):
    """
    What is given back, or, where the amount is negative, counted on top without asking.

    Attributes:
        slot: of the grant; only rates look at it.
    """

    counter: Counter
    amount: int
    slot: int


class StoreUnavailable(Exception):
    """The store cannot be reached or does not answer in time; nobody knows whether anything was taken."""


class Opening(Protocol):
    """What was spent before anybody counted."""

    def spent(self, counter: Counter) -> int | None:
        """Return what a sum begins with, or None when that is not known, so that nothing may be granted of it."""

    def telling(self, counter: Counter) -> int:
        """Return a number that is another one when a budget has been out of force, so that its sums begin anew."""


class Store(Protocol):
    """Where amounts are counted. All of one call's asks are granted, or nothing is taken."""

    async def take(self, asks: Sequence[Ask]) -> Sequence[Grant] | Refusal:
        """
        Take amounts.

        Raises:
            StoreUnavailable: see there.
        """

    def give(self, returns: Sequence[Return]) -> None:
        """Give amounts back. Never waits; what cannot be delivered is lost, which makes limits stricter, not wider."""

    def settle(self, sums: Sequence[Counter], spent: int, back: int) -> None:
        """
        Say that so much of what is held of each of these sums is used up, and give so much of each back. Never waits.

        Args:
            back: negative where more was spent than was held.
        """
