"""
A worker's end of the seats: what it has, what it waits for, and what it does while nobody answers.

A seat that falls idle is kept and used again without asking. It goes back after a quarter of a second, or at once when
somebody waits for one anywhere on the host.

Who keeps the seats answers at once, if only that one has to wait. When he does not, the worker goes on with its even
share of the seats, those included that it has, and a line of its own, until he answers again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping

from penstock.counters.seats.house import House
from penstock.counters.seats.seat import Displaced, Expired, Full, NoSeat, Seat, Size
from penstock.counters.seats.wire import Answered, Asked, Leave, Mood, Ping, Rename, Rise, Sit, Sizes, Told, Verdict
from penstock.types.priority import Priority

TIMEOUT_S = 0.05
_AWAY_S = 1.0  # how long nobody asks after a time-out, unless an answer comes late
_LATE_S = 0.001  # a loop that was late itself reads first what has come meanwhile
_KEPT = 3  # sweeps, which are 0.1 s apart: how long an idle seat is kept
_MOST_SAID = 1000  # tenants in one message

Send = Callable[[Asked], None]


class _Away(Exception):
    """Nobody answers."""


class _Row:
    """
    One deployment's seats at this worker.

    Attributes:
        idle: taken and not used, the last used behind.
        busy: used.
        crowded: somebody waits for one, so none is kept.
        alone: some may be waiting for this worker's own share, which what is used diminishes.
    """

    __slots__ = ("alone", "busy", "crowded", "idle", "name", "size")

    def __init__(self, name: str) -> None:
        self.name = name
        self.size = Size(0, 0)
        self.idle: list[Seat] = []
        self.busy: set[Seat] = set()
        self.crowded = False
        self.alone = False


class _Asking:
    """
    One question, until its last answer.

    Attributes:
        began, until: clock times between which it has patience.
        waiting: it is in the line.
        timer: what happens when nothing else does.
    """

    __slots__ = ("ahead", "began", "future", "late", "row", "tenant", "timer", "until", "waiting")

    def __init__(self, row: _Row, tenant: str, future: asyncio.Future[Seat], began: float, patience_s: float) -> None:
        self.row = row
        self.tenant = tenant
        self.future = future
        self.began = began
        self.until = began + patience_s
        self.ahead = 0
        self.late = False
        self.waiting = False
        self.timer: asyncio.TimerHandle | None = None


class Usher:
    """
    Seats the exchanges of one worker. Used by its tasks from one event loop.

    Args:
        send: says something to whoever keeps the seats.
        clock: seconds, monotonic.
    """

    def __init__(self, send: Send, clock: Callable[[], float], timeout_s: float = TIMEOUT_S) -> None:
        self._send = send
        self._clock = clock
        self.timeout_s = timeout_s
        self._rows: dict[str, _Row] = {}
        self._asking: dict[int, _Asking] = {}
        self._number = 0
        self._sweeps = 0
        self._pinged = False
        self._away_until = 0.0  # clock time up to which nobody asks; 0 while answers come
        self._workers = 1
        self._share: Usher | None = None

    def resize(self, sizes: Mapping[str, Size], workers: int) -> None:
        """
        Say what deployments take from now on; those that are not named take what they took.

        Args:
            workers: among which the seats are shared out while nobody can be asked.
        """
        self._workers = workers
        changed = {}
        for name, size in sizes.items():
            row = self._rows.get(name)
            if row is None:
                row = self._rows[name] = _Row(name)
            if row.size != size:
                row.size = changed[name] = size
                self._tend(row)
        if changed:
            self._send(Sizes(changed))

    def spare(self, deployment: str, tenant: str) -> Seat | None:
        """Return a seat that lies idle here, if one does."""
        row = self._rows.get(deployment)
        if row is None or not row.idle:
            return None
        seat = row.idle.pop()
        seat.tenant = tenant
        row.busy.add(seat)
        return seat

    async def take(
        self, deployment: str, tenant: str, priority: Priority, patience_s: float, *, waits: bool = True
    ) -> Seat:
        """
        Ask for a seat, and wait for it if need be.

        Args:
            waits: otherwise only for other workers to give back what lies idle, which takes a message. Then nobody is
                asked where this worker uses all seats.
        Raises:
            Full: there is no room in the line, or no seat for one that would not wait.
            Displaced: it waited and had to make room.
            Expired: it waited for `patience_s` seconds.
        """
        row = self._rows.get(deployment)
        if row is None:
            raise Full
        if not waits and len(row.busy) >= row.size.seats:
            raise Full
        began = self._clock()
        try:
            return await self._ask(row, tenant, priority, began, patience_s, waits)
        except _Away:
            return await self._take_share(row, tenant, priority, began + patience_s - self._clock(), waits)

    def used(self, deployment: str) -> float:
        """
        Return the share of a deployment's seats that are used, as far as this worker knows without asking anybody: by
        itself, or all of them while somebody waits for one, anywhere on the host.
        """
        row = self._rows.get(deployment)
        if row is None or not row.size.seats:
            return 0.0
        return 1.0 if row.crowded else min(1.0, len(row.busy) / row.size.seats)

    def waiting(self) -> dict[str, int]:
        """Return how many wait here, by deployment; those for whom nobody does are not in it."""
        found = self._share.waiting() if self._share is not None else {}
        for asking in self._asking.values():
            if asking.waiting and not asking.future.done():
                found[asking.row.name] = found.get(asking.row.name, 0) + 1
        return found

    def sweep(self) -> None:
        """Give back what lay idle for a while, and see whether anybody is there. Called every 0.1 s by the worker."""
        self._sweeps += 1
        for row in self._rows.values():
            old = 0
            while old < len(row.idle) and self._sweeps - row.idle[old].since >= _KEPT:
                old += 1
            if old:
                self._give_back(row, old)
            if row.crowded and not row.busy:
                # Whoever keeps the seats has no clock of his own, and is to see whether anybody waits yet.
                self._send(Rise(row.name, []))
        if self._share is not None:
            self._share.sweep()
        if self._pinged:
            self._turn_away()
        elif any(asking.waiting for asking in self._asking.values()):
            self._pinged = True
            self._send(Ping())

    def heard(self, message: Answered) -> None:
        """Take in what whoever keeps the seats says."""
        self._pinged = False
        self._away_until = 0.0
        match message:
            case Told(number, verdict, ahead):
                self._told(number, verdict, ahead)
            case Mood(deployment, crowded):
                self._mood(deployment, crowded)

    def lost(self) -> None:
        """Ask nobody any more."""
        self._turn_away()
        self._away_until = math.inf

    async def _ask(
        self, row: _Row, tenant: str, priority: Priority, now: float, patience_s: float, waits: bool
    ) -> Seat:
        if now < self._away_until:
            raise _Away
        if self._away_until:  # this one finds out for all
            self._away_until = now + _AWAY_S
        loop = asyncio.get_running_loop()
        self._number = number = self._number + 1
        asking = self._asking[number] = _Asking(row, tenant, loop.create_future(), now, patience_s)
        asking.timer = loop.call_later(min(self.timeout_s, patience_s), self._due, number, asking)
        self._send(Sit(number, row.name, tenant, priority, waits))
        try:
            return await asking.future
        except asyncio.CancelledError:
            self._given_up(number, asking)
            raise
        finally:
            asking.timer.cancel()

    def _told(self, number: int, verdict: Verdict, ahead: int) -> None:
        asking = self._asking.get(number)
        if asking is None:
            return
        if verdict is not Verdict.WAITING:
            del self._asking[number]
        future, row = asking.future, asking.row
        if verdict is Verdict.WAITING:
            asking.waiting, asking.ahead = True, ahead
            if future.done():
                self._send(Leave(number))
            elif asking.timer is not None:
                asking.timer.cancel()
                left = max(0.0, asking.until - self._clock())
                asking.timer = asyncio.get_running_loop().call_later(left, self._due, number, asking)
        elif verdict is Verdict.SEATED:
            if future.done():
                self._send(Rise(row.name, [asking.tenant]))
                return
            seat = Seat(self._release, row.name, asking.tenant)
            if asking.waiting:
                seat.ahead, seat.waited_s = asking.ahead, self._clock() - asking.began
            row.busy.add(seat)
            future.set_result(seat)
        elif verdict is not Verdict.LEFT and not future.done():
            future.set_exception(Displaced() if verdict is Verdict.DISPLACED else Full())

    def _due(self, number: int, asking: _Asking) -> None:
        """Nothing has happened in time: there was no seat, or nobody is there."""
        if asking.future.done():
            return
        if self._clock() >= asking.until:
            self._fail(number, asking, Expired())
        elif not asking.waiting and not asking.late:
            asking.late = True
            asking.timer = asyncio.get_running_loop().call_later(_LATE_S, self._due, number, asking)
        elif not asking.waiting:
            self._turn_away()
        else:  # the loop's clock is a little ahead of ours
            asking.timer = asyncio.get_running_loop().call_later(_LATE_S, self._due, number, asking)

    def _turn_away(self) -> None:
        """Go on without whoever keeps the seats, those who wait for him included."""
        self._away_until = max(self._away_until, self._clock() + _AWAY_S)
        self._pinged = False
        for number, asking in list(self._asking.items()):
            if not asking.future.done():
                self._fail(number, asking, _Away())

    def _fail(self, number: int, asking: _Asking, error: NoSeat | _Away) -> None:
        asking.future.set_exception(error)
        if asking.waiting:
            self._send(Leave(number))

    def _given_up(self, number: int, asking: _Asking) -> None:
        """The one who asked has gone; what is granted to him from now on, or was just now, goes back."""
        future = asking.future
        if future.cancelled() or not future.done():
            future.cancel()
            if asking.waiting and number in self._asking:
                self._send(Leave(number))
        elif future.exception() is None:
            self._release(future.result())

    def _release(self, seat: Seat) -> None:
        row = self._rows[seat.deployment]
        row.busy.discard(seat)
        if row.crowded or row.alone:
            self._send(Rise(row.name, [seat.known]))
            self._tend(row)
        else:
            seat.since = self._sweeps
            seat.waited_s = 0.0
            row.idle.append(seat)

    def _mood(self, deployment: str, crowded: bool) -> None:
        row = self._rows.get(deployment)
        if row is not None:
            row.crowded = crowded
        if not crowded:
            return
        if row is not None:
            used = [seat for seat in row.busy if seat.known != seat.tenant]
            for start in range(0, len(used), _MOST_SAID):
                some = used[start : start + _MOST_SAID]
                self._send(Rename(deployment, [(seat.known, seat.tenant) for seat in some]))
            for seat in used:
                seat.known = seat.tenant
            self._give_back(row, len(row.idle))
        self._send(Rise(deployment, [], answer=True))

    def _give_back(self, row: _Row, count: int) -> None:
        """Give back so many of the seats that lie idle, those that have done so for longest."""
        for start in range(0, count, _MOST_SAID):
            some = row.idle[start : min(count, start + _MOST_SAID)]
            self._send(Rise(row.name, [seat.known for seat in some]))
        del row.idle[:count]

    async def _take_share(self, row: _Row, tenant: str, priority: Priority, patience_s: float, waits: bool) -> Seat:
        """Take one of the worker's own even share."""
        if self._share is None:
            self._share = local(House(self._clock), self._clock)
        if not row.alone:
            row.alone = True
            self._give_back(row, len(row.idle))
            self._tend(row)
        seat = self._share.spare(row.name, tenant)
        if seat is None:
            seat = await self._share.take(row.name, tenant, priority, patience_s, waits=waits)
        seat.share = True
        return seat

    def _tend(self, row: _Row) -> None:
        """Fit what the worker's own share has free to what is used of it already."""
        if not row.alone or self._share is None:
            return
        part = max(1, row.size.seats // self._workers) if row.size.seats else 0
        room = -(-(row.size.most - row.size.seats) // self._workers)
        free = max(0, part - len(row.busy))
        self._share.resize({row.name: Size(free, free + room)}, 1)
        if not self._away_until and row.name not in self._share.waiting():
            row.alone = False


def local(house: House, clock: Callable[[], float]) -> Usher:
    """Return a worker's end of seats that are kept in its own process."""
    usher = Usher(lambda message: house.heard(number, message), clock)
    number = house.enter(usher.heard)
    return usher
