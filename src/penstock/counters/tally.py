"""Counting in memory: the truth for one host, kept by whoever all its workers can ask."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence

from penstock.counters.counter import (
    KEPT_S,
    SLOT_S,
    Ask,
    Counter,
    Grant,
    Kind,
    Opening,
    Refusal,
    Return,
    StoreUnavailable,
)

_LENT_UP_TO = 0.75
"""Share of a limit up to which leases are given; beyond it everyone asks for each amount, so that none lies idle."""
_MOST = 1_000_000
_LOOK_S = 60.0
_LATE_S = 86_400  # an exchange that came in before the end of its period may be settled so long after it


class _Rate:
    """Amounts of the last minute, by slot."""

    __slots__ = ("holders", "lent_until", "slots", "total")

    def __init__(self) -> None:
        self.slots: dict[int, int] = {}  # oldest first
        self.total = 0
        self.lent_until = 0.0
        self.holders: set[int] = set()

    def settle(self, now: float) -> None:
        """Forget what no longer counts."""
        while self.slots and (oldest := next(iter(self.slots))) * SLOT_S + KEPT_S <= now:
            self.total -= self.slots.pop(oldest)

    def add(self, holder: int, amount: int, slot: int) -> None:
        self.holders.add(holder)
        self.slots[slot] = self.slots.get(slot, 0) + amount
        self.total += amount

    def give(self, holder: int, amount: int, slot: int, now_slot: int) -> None:
        """Take an amount out of the slot it was taken in; a negative one is added to the slot of now."""
        if amount < 0:
            self.add(holder, -amount, now_slot)
            return
        part = min(amount, self.slots.get(slot, 0))
        if part:
            self.slots[slot] -= part
            self.total -= part

    def gone(self, holder: int) -> None:
        """A holder that has gone may have spent all it took."""
        self.holders.discard(holder)

    def room_after(self, need: int, limit: int, now: float) -> float:
        """Return in how many seconds `need` fits, should nobody take anything; infinite when it never does."""
        short = self.total + need - limit
        for slot, amount in self.slots.items():
            short -= amount
            if short <= 0:
                return max(0.0, slot * SLOT_S + KEPT_S - now)
        return math.inf


class _Level:
    """
    Amounts held now, by holder, on top of what is spent.

    Args:
        spent: what is spent already; 0 for levels.
    """

    __slots__ = ("held", "lent_until", "total")

    def __init__(self, spent: int = 0) -> None:
        self.held: dict[int, int] = {}
        self.total = spent
        self.lent_until = 0.0

    @property
    def holders(self) -> dict[int, int]:
        return self.held

    def settle(self, now: float) -> None:
        """Nothing passes with time."""

    def add(self, holder: int, amount: int, _slot: int) -> None:
        self.held[holder] = self.held.get(holder, 0) + amount
        self.total += amount

    def give(self, holder: int, amount: int, _slot: int, _now_slot: int) -> None:
        """Take back what is held, but no more."""
        self.spend(holder, 0, amount)

    def spend(self, holder: int, spent: int, amount: int) -> None:
        """Take back what is held; what is spent of it, and more than is held, stays counted."""
        held = self.held.get(holder, 0)
        part = min(amount, held)
        left = held - part - spent
        self.total -= part + min(0, left)
        if left > 0:
            self.held[holder] = left
        else:
            self.held.pop(holder, None)

    def gone(self, holder: int) -> None:
        """Free what a holder held."""
        self.total -= self.held.pop(holder, 0)

    def room_after(self, need: int, limit: int, _now: float) -> float:
        """Nobody knows when what is held comes back; what is spent never does."""
        spent = self.total - sum(self.held.values())
        return math.inf if spent + need > limit else 0.0


class NothingSpent:
    """An `Opening` for whoever counts from the very beginning."""

    def spent(self, _counter: Counter) -> int:
        """Return nothing."""
        return 0

    def telling(self, _counter: Counter) -> int:
        """There is one."""
        return 0


class Tally:
    """
    Counts for several holders. One per host; called from one thread.

    Args:
        clock: seconds, monotonic, the same for all holders.
        most: rates and levels that are kept. Those that count nothing go first; should there be more that do, those
            that were not asked for longest begin anew. Sums are kept until they end.
        opening: where sums begin.
        now: seconds since the epoch.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        most: int = _MOST,
        opening: Opening | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._most = most
        self._opening = opening or NothingSpent()
        self._now = now
        self._kept: dict[str, _Rate | _Level] = {}  # first those that were not asked for, or looked at, for longest
        self._sums: dict[str, tuple[_Level, int, int]] = {}  # with their ends, and which telling they begin with
        self._look_at = 0.0  # when to look for sums that have ended

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, holder: int, asks: Sequence[Ask]) -> list[Grant] | Refusal:
        """
        Grant all asks, or refuse for the one that takes longest to have room.

        Args:
            asks: of different counters.
        Raises:
            StoreUnavailable: nobody knows yet what is spent of a sum.
        """
        now = self._clock()
        self._forget(now, len(asks))
        found = [self._find(ask.counter, now) for ask in asks]
        refusal: Refusal | None = None
        for index, (ask, kept) in enumerate(zip(asks, found, strict=True)):
            if kept.total + ask.need > ask.counter.limit:
                after_s = kept.room_after(ask.need, ask.counter.limit, now)
                remaining = max(0, ask.counter.limit - kept.total)
                if refusal is None or after_s > refusal.after_s:
                    refusal = Refusal(index, remaining, after_s, now < kept.lent_until)
        if refusal is not None:
            return refusal
        return [self._grant(holder, ask, kept, now) for ask, kept in zip(asks, found, strict=True)]

    def give(self, holder: int, returns: Sequence[Return]) -> None:
        """Take back what a holder does not need."""
        now = self._clock()
        for each in returns:
            if each.counter.kind is Kind.SUM:
                self._settle(holder, each.counter, 0, each.amount, now)
            elif kept := self._kept.get(each.counter.name):
                kept.give(holder, each.amount, each.slot, int(now / SLOT_S))

    def settle(self, holder: int, sums: Sequence[Counter], spent: int, back: int) -> None:
        """Count what a holder has spent of what it holds of each of these sums, and take back some more."""
        now = self._clock()
        for counter in sums:
            self._settle(holder, counter, spent, back, now)

    def gone(self, holder: int) -> None:
        """Free what a holder that has ended held; what it took of a rate and spent of a sum stays counted."""
        for kept in self._kept.values():
            kept.gone(holder)
        for total, _, _ in self._sums.values():
            total.gone(holder)

    def _settle(self, holder: int, counter: Counter, spent: int, back: int, now: float) -> None:
        if spent or back < 0 or counter.name in self._sums:  # what nobody has asked for may be spent all the same
            with contextlib.suppress(StoreUnavailable):  # it is not in force, or not known yet
                self._sum(counter, now).spend(holder, spent, back)

    def _forget(self, now: float, coming: int) -> None:
        """Drop counters that count nothing, some more than come, and any that are too many."""
        for _ in range(min(coming + 1, len(self._kept))):
            name, oldest = next(iter(self._kept.items()))
            oldest.settle(now)
            del self._kept[name]
            if oldest.total and len(self._kept) + coming < self._most:
                self._kept[name] = oldest  # behind all others, so that it hides none of them

    def _find(self, counter: Counter, now: float) -> _Rate | _Level:
        """Return the amounts of a counter as of now."""
        if counter.kind is Kind.SUM:
            return self._sum(counter, now)
        kept = self._kept.pop(counter.name, None) or (_Rate() if counter.kind is Kind.RATE else _Level())
        self._kept[counter.name] = kept
        kept.settle(now)
        return kept

    def _sum(self, counter: Counter, now: float) -> _Level:
        if now >= self._look_at:
            self._look_at = now + _LOOK_S
            today = self._now()
            self._sums = {name: kept for name, kept in self._sums.items() if not 0 < kept[1] < today - _LATE_S}
        found, telling = self._sums.get(counter.name), self._opening.telling(counter)
        if found is None or found[2] != telling:
            spent = self._opening.spent(counter)
            if spent is None:
                raise StoreUnavailable
            level = _Level(spent)
            if found is not None:  # it was not in force for a while
                level.held = found[0].held
                level.total += sum(level.held.values())
            found = self._sums[counter.name] = level, counter.ends, telling
        return found[0]

    def _grant(self, holder: int, ask: Ask, kept: _Rate | _Level, now: float) -> Grant:
        limit, slot = ask.counter.limit, int(now / SLOT_S)
        kept.add(holder, ask.need, slot)
        lendable = int(limit * _LENT_UP_TO) - kept.total
        extra = max(0, min(ask.want - ask.need, lendable // (2 * len(kept.holders))))
        if extra:
            kept.add(holder, extra, slot)
        if lendable > 0:  # what is given back to the lease meanwhile is not seen here
            kept.lent_until = now + SLOT_S
        return Grant(ask.need + extra, limit - kept.total, slot, lendable <= 0)
