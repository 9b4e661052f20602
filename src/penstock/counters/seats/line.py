"""
Who gets the next seat of one deployment, and who goes when too many wait. No clock, no I/O.

First the highest priority that anybody waits with. Among its tenants the one that has the fewest seats, those of all
priorities together; among equals the one that was given a seat longest ago. A tenant's own wait in the order in which
they came. So a tenant that asks for much waits behind its own exchanges and not in front of everybody else's.

When too many wait, one goes from the lowest priority that waits: the newest of the tenant that has most seats and
waiting exchanges together; among equals the newest of all. So whoever has more than others makes room for them, and
two that have as much do not drive each other out in turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from penstock.counters.seats.seat import Size
from penstock.types.priority import Priority

_MOST_SERVED = 10_000  # tenants of which it is known when they were served; of the others it was longer ago


class Waiter:
    """
    One exchange in the line.

    Attributes:
        holder: the worker it is at.
        number: the worker's own for it.
        order: of its arrival; set by the line.
        extra: when it came there was no room for it.
        stays: it waits until it is seated, and not only until it is known that nothing is free.
    """

    __slots__ = ("extra", "holder", "number", "order", "priority", "stays", "tenant")

    def __init__(self, holder: int, number: int, tenant: str, priority: Priority, *, stays: bool = True) -> None:
        self.holder = holder
        self.number = number
        self.tenant = tenant
        self.priority = priority
        self.order = 0
        self.extra = True
        self.stays = stays


class Line:
    """
    The seats of one deployment and the line before them.

    Attributes:
        size: may be set to another at any time; seats that are taken stay so until they are given back.
        taken: seats that are taken, idle ones that workers keep included.
        waiting: how many wait.
    """

    def __init__(self) -> None:
        self.size = Size(0, 0)
        self.taken = 0
        self.waiting = 0
        self._classes: dict[Priority, dict[str, deque[Waiter]]] = {priority: {} for priority in Priority}
        self._taken_for: dict[str, int] = {}  # by tenant; none of them 0
        self._taken_at: dict[int, dict[str, int]] = {}  # by holder and tenant
        self._served: dict[str, int] = {}  # the number of the last seat it was given; longest ago first
        self._order = 0
        self._brief: dict[Waiter, None] = {}  # those that do not stay, in the order in which they came

    @property
    def extra(self) -> int:
        """How many more wait than there is room for; less than 0 while there is some."""
        return self.waiting - len(self._brief) - max(0, self.size.most - self.size.seats)

    def join(self, waiter: Waiter) -> None:
        """Let somebody wait; `advance` and `trim` say what becomes of it."""
        self._order += 1
        waiter.order = self._order
        self._classes[waiter.priority].setdefault(waiter.tenant, deque()).append(waiter)
        self.waiting += 1
        if not waiter.stays:
            self._brief[waiter] = None

    def leave(self, waiter: Waiter) -> None:
        """Take somebody who waits out of the line."""
        tenants = self._classes[waiter.priority]
        own = tenants[waiter.tenant]
        if own[0] is waiter:
            own.popleft()
        elif own[-1] is waiter:
            own.pop()
        else:
            own.remove(waiter)
        if not own:
            del tenants[waiter.tenant]
        self.waiting -= 1
        self._brief.pop(waiter, None)

    def advance(self) -> list[Waiter]:
        """Seat those whose turn it is, as far as there are seats, and return them."""
        seated = []
        while self.waiting and self.taken < self.size.seats:
            waiter = self._next()
            self.leave(waiter)
            self._take(waiter.holder, waiter.tenant)
            self._order += 1
            self._served.pop(waiter.tenant, None)
            self._served[waiter.tenant] = self._order
            if len(self._served) > _MOST_SERVED:
                del self._served[next(iter(self._served))]
            seated.append(waiter)
        return seated

    def trim(self) -> list[Waiter]:
        """Take those out of the line that do not stay or for whom there is no room to wait, and return them."""
        gone = list(self._brief)
        for waiter in gone:
            self.leave(waiter)
        while self.extra > 0:
            waiter = self._last()
            self.leave(waiter)
            gone.append(waiter)
        return gone

    def give(self, holder: int, tenant: str) -> None:
        """Take a seat back; one that nobody has is none."""
        held = self._taken_at.get(holder, {})
        if held.get(tenant):
            self.taken -= 1
            _less(held, tenant)
            _less(self._taken_for, tenant)
            if not held:
                del self._taken_at[holder]

    def rename(self, holder: int, was: str, now: str) -> None:
        """Note that a seat is used for another tenant than the one it was taken for."""
        if self._taken_at.get(holder, {}).get(was):
            self.give(holder, was)
            self._take(holder, now)

    def gone(self, holder: int) -> None:
        """Take back all that a worker had, and those who waited there out of the line."""
        for tenant, count in list(self._taken_at.get(holder, {}).items()):
            for _ in range(count):
                self.give(holder, tenant)
        for waiter in [waiter for waiter in self._all() if waiter.holder == holder]:
            self.leave(waiter)

    def ahead(self, waiter: Waiter) -> int:
        """
        Return how many would be served before this one, the last of its tenant, if nobody came or gave a seat back.

        Where some wait with a higher priority, what these will have by then is not looked at.
        """
        before = sum(len(own) for priority in Priority for own in self._own_of(priority) if priority < waiter.priority)
        tenants = self._classes[waiter.priority]
        mine = tenants[waiter.tenant]
        now = self._taken_for.get(waiter.tenant, 0)
        then = now + len(mine) - 1  # seats that its tenant has when it is its turn
        for tenant, own in tenants.items():
            if own is not mine:
                others = self._taken_for.get(tenant, 0)
                first = others > now or (others == now and self._since(own) < self._since(mine))
                before += min(len(own), max(0, then - others + first))
        return before + len(mine) - 1

    def _own_of(self, priority: Priority) -> Iterable[deque[Waiter]]:
        return self._classes[priority].values()

    def _since(self, own: deque[Waiter]) -> tuple[int, int]:
        """Return what is less for a tenant that was served longer ago, or never and came earlier."""
        return self._served.get(own[0].tenant, 0), own[0].order

    def _next(self) -> Waiter:
        tenants = next(tenants for tenants in self._classes.values() if tenants)
        if len(tenants) == 1:
            return next(iter(tenants.values()))[0]
        return min(tenants.values(), key=lambda own: (self._taken_for.get(own[0].tenant, 0), self._since(own)))[0]

    def _last(self) -> Waiter:
        tenants = next(tenants for tenants in reversed(self._classes.values()) if tenants)
        return max(tenants.values(), key=lambda own: (self._standing(own[0].tenant), own[-1].order))[-1]

    def _standing(self, tenant: str) -> int:
        """Return how many seats and waiting exchanges a tenant has."""
        waiting = sum(len(tenants[tenant]) for tenants in self._classes.values() if tenant in tenants)
        return waiting + self._taken_for.get(tenant, 0)

    def _all(self) -> list[Waiter]:
        return [waiter for tenants in self._classes.values() for own in tenants.values() for waiter in own]

    def _take(self, holder: int, tenant: str) -> None:
        held = self._taken_at.setdefault(holder, {})
        held[tenant] = held.get(tenant, 0) + 1
        self._taken_for[tenant] = self._taken_for.get(tenant, 0) + 1
        self.taken += 1


def _less(counts: dict[str, int], name: str) -> None:
    counts[name] -= 1
    if not counts[name]:
        del counts[name]
