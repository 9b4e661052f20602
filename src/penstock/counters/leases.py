"""
What one worker holds of shared counters, so that it need not ask for every request.

Amounts are taken from leases that still run; only what they lack is asked of the store. A lease that has ended is given
back, and the next one is asked to be as large as what the last one was needed for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from penstock.counters.counter import SLOT_S, Ask, Counter, Grant, Kind, Refusal, Return, Store

SWEEP_S = 0.1
"""How often `Leases.sweep` is called, at least."""
_ROUNDS = 2
"""
How often a task waits for what others ask for: once for who asks for as much as was spent before, which is too little
for a crowd, and once for the first of the crowd, who asks for all of it.
"""
_ASK_AGAIN_S = SLOT_S + 1.5 * SWEEP_S  # by then whatever others have been lent and do not use is back


class Lease:
    """
    What is held of counters that are only ever spent together, the same amount of each; so one number says it for all.

    An amount of a rate that is more than the limit of one of them is all there is of that one.

    Args:
        counters: different ones of the same kind, at least one.

    Attributes:
        granted: all of the last grant; 0 where so little was left that it is no measure of what is needed.
        free: may be spent, before `until`.
        slot: of the grant.
        left: what was left of each counter after the grant, for everybody.
        remaining, nearest: the least of that, and whose it is.
    """

    __slots__ = ("counters", "free", "granted", "kind", "left", "nearest", "remaining", "slot", "until")

    def __init__(self, *counters: Counter) -> None:
        self.counters = counters
        self.kind = counters[0].kind
        self.granted = self.free = self.slot = 0
        self.left = [counter.limit for counter in counters]
        self.remaining, self.nearest = _least(self.left)
        self.until = 0.0

    def need(self, counter: Counter, amount: int) -> int:
        """Return what an amount is of one of the counters."""
        return min(amount, max(1, counter.limit)) if self.kind is Kind.RATE else amount

    def asks(self, amount: int, now: float, crowd: int = 0) -> list[Ask]:
        """
        Ask for what is needed, and for as much as was spent of the last grant: twice that if it ran out early.

        Args:
            crowd: how many others need some of it now, about as much each.
        """
        early = now < self.until
        spent = max(0, self.granted - self.free)
        recent = max(spent * 2 if early else spent if now < self.until + SLOT_S else 0, amount * crowd)
        needs = [(counter, self.need(counter, amount)) for counter in self.counters]
        return [Ask(counter, need, need + recent) for counter, need in needs]

    def begin(self, amount: int, grants: Sequence[Grant], now: float) -> list[Return]:
        """
        Begin anew with what was granted, `amount` of it spent already.

        Returns:
            What was granted of some of the counters only, and so is of no use.
        """
        free = [grant.amount - self.need(each, amount) for each, grant in zip(self.counters, grants, strict=True)]
        self.free, tight = min(free), any(grant.tight for grant in grants)
        self.left = [grant.remaining + more - self.free for grant, more in zip(grants, free, strict=True)]
        self.remaining, self.nearest = _least(self.left)
        self.granted, self.until = (0, now) if tight else (amount + self.free, now + SLOT_S)
        self.slot = grants[0].slot
        return [
            Return(counter, more - self.free, self.slot)
            for counter, more in zip(self.counters, free, strict=True)
            if more > self.free
        ]

    def end(self) -> list[Return]:
        """Return what is free, all of it, to be given back."""
        free, self.free = self.free, 0
        self.granted = max(0, self.granted - free)
        return [Return(counter, free, self.slot) for counter in self.counters] if free else []


class _Round:
    """One task's question. `waiting` is how many others wait for the answer, to spend of it too."""

    __slots__ = ("answered", "waiting")

    def __init__(self) -> None:
        self.answered = asyncio.Event()
        self.waiting = 0


class Leases:
    """
    The leases of one worker, used by its tasks from one event loop.

    Args:
        clock: seconds, monotonic.
        sleep: waits for others' leases to end.
    """

    def __init__(self, store: Store, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._running: dict[Lease, None] = {}  # those with something that may have to be given back
        self._asking: dict[Lease, _Round] = {}  # those for which a task asks, until it has its answer

    def spend(self, leases: Sequence[Lease], amounts: Sequence[int]) -> bool:
        """Take all amounts from what is held; False, and nothing is taken, where that is not enough."""
        now, taken = self._clock(), 0
        for lease, amount in zip(leases, amounts):  # noqa: B905  # the keyword costs as much as a lease
            if lease.free < amount or lease.until <= now:
                break
            lease.free -= amount
            taken += 1
        else:
            return True
        for lease, amount in zip(leases[:taken], amounts[:taken], strict=True):
            lease.free += amount
        return False

    async def take(self, leases: Sequence[Lease], amounts: Sequence[int]) -> list[int] | Refusal:
        """
        Take all amounts, or none. The index of a refusal counts the counters of all the leases.

        Args:
            leases: of different counters.
        Returns:
            The slot that each amount was taken in, for giving it back.
        Raises:
            StoreUnavailable: nothing is taken here, whatever the store may have counted.
        """
        crowd = 0
        for _ in range(_ROUNDS):
            others = await self._others(leases)
            if others is None:
                break
            if self.spend(leases, amounts):
                return [lease.slot for lease in leases]
            crowd = others
        for again in (True, False):
            answer = await self._take(leases, amounts, crowd)
            if not (isinstance(answer, Refusal) and answer.lent and again):
                return answer
            await self._sleep(_ASK_AGAIN_S)
        raise AssertionError("the second answer is final")

    def release(self, lease: Lease, amount: int, used: int = 0, slot: int = 0) -> None:
        """
        Give back what was taken of a lease and not used; where more was used, count that on top.

        Args:
            amount: that was taken.
            slot: it was taken in. What is held now has none: the lease may have it, whichever grant it is of.
        """
        running = self._clock() < lease.until and (lease.slot == slot or lease.kind is not Kind.RATE)
        if running and used < amount <= lease.granted:
            lease.free += amount - used
            self._running[lease] = None
            return
        rests = [(counter, lease.need(counter, amount) - used) for counter in lease.counters]
        if returns := [Return(counter, rest, slot) for counter, rest in rests if rest]:
            self._store.give(returns)

    def hold(self, lease: Lease, amount: int) -> None:
        """Take an amount of each without asking; the store hears of it as soon as it hears."""
        self._store.give([Return(counter, -amount, 0) for counter in lease.counters])

    def settle(self, lease: Lease, amount: int, spent: int) -> None:
        """
        Count what has been spent of sums, and give back the rest. The store hears of it at once.

        Args:
            amount: that was taken of each.
            spent: of each; it may be more.
        """
        rest = amount - spent
        if rest > 0 and self._clock() < lease.until:
            lease.free += rest
            self._running[lease] = None
            rest = 0
        if spent or rest:
            self._store.settle(lease.counters, spent, rest)

    def sweep(self) -> None:
        """Give back what is left of leases that have ended."""
        now = self._clock()
        self._end([lease for lease in self._running if lease.until <= now])

    def close(self) -> None:
        """Give back everything that is free."""
        self._end(list(self._running))

    async def _others(self, leases: Sequence[Lease]) -> int | None:
        """
        Wait for what other tasks are asking for now. Of a lease that ends, all would ask else who come before its
        successor; only where little is left each has to ask for itself.

        Returns:
            How many go on waiting for the same; None, where nobody has asked.
        """
        asking = [self._asking[lease] for lease in leases if lease.granted and lease in self._asking]
        for each in asking:
            each.waiting += 1
            try:
                await each.answered.wait()
            finally:
                each.waiting -= 1
        return max((each.waiting for each in asking), default=None)

    async def _take(self, leases: Sequence[Lease], amounts: Sequence[int], crowd: int) -> list[int] | Refusal:
        now = self._clock()
        lacking: list[int] = []
        spent: list[tuple[Lease, int, int]] = []  # at once, so that nobody else takes it while the store is asked
        slots = [lease.slot for lease in leases]
        for index, (lease, amount) in enumerate(zip(leases, amounts, strict=True)):
            if lease.free >= amount and now < lease.until:
                lease.free -= amount
                spent.append((lease, amount, lease.slot))
            else:
                lacking.append(index)
        if not lacking:
            return slots
        asks = [leases[index].asks(amounts[index], now, crowd) for index in lacking]
        asking = _Round()
        self._asking |= {leases[index]: asking for index in lacking}
        try:
            answer = await self._store.take([ask for part in asks for ask in part])
            if isinstance(answer, Refusal):
                self._undo(spent)
                for index in lacking:
                    leases[index].granted = 0
                return msgspec.structs.replace(answer, index=_position(leases, lacking, answer.index))
            self._begin([leases[index] for index in lacking], [amounts[index] for index in lacking], answer, now)
        except BaseException:
            self._undo(spent)
            raise
        finally:
            asking.answered.set()
            for index in lacking:
                if self._asking.get(leases[index]) is asking:
                    del self._asking[leases[index]]
        for index in lacking:
            slots[index] = leases[index].slot
        return slots

    def _begin(self, leases: Sequence[Lease], amounts: Sequence[int], grants: Sequence[Grant], now: float) -> None:
        """Take over what was granted for each of the leases' counters."""
        returns: list[Return] = []
        granted = iter(grants)
        for lease, amount in zip(leases, amounts, strict=True):
            returns += lease.end()  # another task may have been granted one meanwhile
            returns += lease.begin(amount, [next(granted) for _ in lease.counters], now)
            if lease.free:
                self._running[lease] = None
            else:
                self._running.pop(lease, None)
        if returns:
            self._store.give(returns)

    def _undo(self, taken: Iterable[tuple[Lease, int, int]]) -> None:
        for lease, amount, slot in taken:
            self.release(lease, amount, 0, slot)

    def _end(self, leases: Iterable[Lease]) -> None:
        returns: list[Return] = []
        for lease in leases:
            returns += lease.end()
            self._running.pop(lease, None)
        if returns:
            self._store.give(returns)


def _least(amounts: Sequence[int]) -> tuple[int, int]:
    """Return the least amount and its index."""
    return min((amount, index) for index, amount in enumerate(amounts))


def _position(leases: Sequence[Lease], lacking: Sequence[int], index: int) -> int:
    """Return which of all counters it is that has an index among those that were asked for."""
    for lease in lacking:
        count = len(leases[lease].counters)
        if index < count:
            return sum(len(each.counters) for each in leases[:lease]) + index
        index -= count
    raise IndexError("the store refuses what it was not asked for")
