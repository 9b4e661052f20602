"""
What one worker holds of shared counters, so that it need not ask for every request.

Amounts are taken from leases that still run; only what they lack is asked of the store. A lease that has ended is given
back, and the next one is asked to be as large as what the last one was needed for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from penstock.counters.counter import SLOT_S, Ask, Counter, Kind, Refusal, Return, Store

SWEEP_S = 0.1
"""How often `Leases.sweep` is called, at least."""
_ASK_AGAIN_S = SLOT_S + 1.5 * SWEEP_S  # by then whatever others have been lent and do not use is back


class Lease:
    """
    What is held of one counter.

    Attributes:
        granted: all of the last grant.
        free: may be spent, before `until`.
        slot: of the grant.
        remaining: what was left for everybody after the grant.
    """

    __slots__ = ("counter", "free", "granted", "remaining", "slot", "until")

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self.free = self.granted = self.slot = 0
        self.remaining = counter.limit
        self.until = 0.0


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

    def spend(self, leases: Sequence[Lease], amounts: Sequence[int]) -> bool:
        """Take all amounts from what is held; False, and nothing is taken, where that is not enough."""
        now, taken = self._clock(), 0
        for lease, amount in zip(leases, amounts, strict=True):
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
        Take all amounts, or none. The index of a refusal is that of the lease.

        Args:
            leases: of different counters.
        Returns:
            The slot that each amount was taken in, for giving it back.
        Raises:
            StoreUnavailable: nothing is taken here, whatever the store may have counted.
        """
        for again in (True, False):
            answer = await self._take(leases, amounts)
            if not (isinstance(answer, Refusal) and answer.lent and again):
                return answer
            await self._sleep(_ASK_AGAIN_S)
        raise AssertionError("the second answer is final")

    def release(self, taken: Iterable[tuple[Lease, int, int]]) -> None:
        """
        Give back what was taken and is not needed any more, or, where it is negative, count more on top.

        Args:
            taken: lease, amount and slot of each. What is held now has no slot: any lease that runs may have it.
        """
        now, returns = self._clock(), []
        for lease, amount, slot in taken:
            if amount > 0 and now < lease.until and (lease.slot == slot or lease.counter.kind is Kind.LEVEL):
                lease.free += amount
                self._running[lease] = None
            elif amount:
                returns.append(Return(lease.counter, amount, slot))
        if returns:
            self._store.give(returns)

    def settle(self, leases: Iterable[Lease], amount: int, spent: int) -> None:
        """
        Count what has been spent of sums, and give back the rest. The store hears of it at once.

        Args:
            amount: that was taken of each.
            spent: of each; it may be more.
        """
        now, rest, returns = self._clock(), amount - spent, []
        for lease in leases:
            if rest > 0 and now < lease.until:
                lease.free += rest
                self._running[lease] = None
                if spent:
                    returns.append(Return(lease.counter, 0, 0, spent))
            elif amount or spent:
                returns.append(Return(lease.counter, rest, 0, spent))
        if returns:
            self._store.give(returns)

    def sweep(self) -> None:
        """Give back what is left of leases that have ended."""
        now = self._clock()
        ended = [lease for lease in self._running if lease.until <= now]
        self._give_back(ended)

    def close(self) -> None:
        """Give back everything that is free."""
        self._give_back(list(self._running))

    async def _take(self, leases: Sequence[Lease], amounts: Sequence[int]) -> list[int] | Refusal:
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
        asks = [self._ask(leases[index], amounts[index], now) for index in lacking]
        try:
            answer = await self._store.take(asks)
        except BaseException:
            self.release(spent)
            raise
        if isinstance(answer, Refusal):
            self.release(spent)
            return Refusal(lacking[answer.index], answer.remaining, answer.after_s, answer.lent)
        for index, grant in zip(lacking, answer, strict=True):
            lease = leases[index]
            self._give_back([lease])  # another task may have been granted one meanwhile
            lease.granted, lease.free = grant.amount, grant.amount - amounts[index]
            lease.slot, lease.remaining = grant.slot, grant.remaining
            lease.until = now if grant.tight else now + SLOT_S
            slots[index] = grant.slot
            if lease.free:
                self._running[lease] = None
        return slots

    def _ask(self, lease: Lease, amount: int, now: float) -> Ask:
        """Ask for what is needed, and for as much as was spent of the last lease: twice that if it ran out early."""
        early = now < lease.until
        spent = max(0, lease.granted - lease.free)
        recent = spent * 2 if early else spent if now < lease.until + SLOT_S else 0
        return Ask(lease.counter, amount, amount + recent)

    def _give_back(self, leases: Sequence[Lease]) -> None:
        returns = [Return(lease.counter, lease.free, lease.slot) for lease in leases if lease.free]
        for lease in leases:
            lease.granted -= lease.free
            lease.free = 0
            self._running.pop(lease, None)
        if returns:
            self._store.give(returns)
