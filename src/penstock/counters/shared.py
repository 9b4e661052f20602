"""The store that the workers of several hosts share: Redis, asked by each of them over a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Sequence
from enum import IntEnum

import msgspec

from penstock.auth.secrets import SecretMissing
from penstock.counters.counter import Ask, Counter, Grant, Refusal, Return, StoreUnavailable
from penstock.counters.held import Held, Position
from penstock.counters.redis import GONE, Connection
from penstock.counters.waiting import TIMEOUT_S, Answer, Waiting

BEAT_S = 1.0
_TICK_S = 0.1
_PATIENCE_S = 2.0  # then the connection is given up, and what is held is told anew over the next one
_RETRY_S = 0.25
_GOODBYE_S = 1.0
_AT_ONCE = 500  # orders in one call, as nobody else is served meanwhile
_EXACT = 2**53  # numbers are doubles there

_log = logging.getLogger(__name__)


class _Order(IntEnum):
    TAKE = 1
    GIVE = 2
    HOLD = 3
    BEAT = 4
    LEAVE = 5


_Granted = tuple[int, int, int, bool]
_Told = list[int | bool | _Granted]
_decode = msgspec.msgpack.Decoder(tuple[list[_Told], list[tuple[str, int]]]).decode
_encode = msgspec.msgpack.Encoder().encode


class Shared:
    """
    Made by `begin`. All orders that come while the last batch is under way go in one call.

    Redis knows what each worker holds, and is told anew over each new connection. It knows what is spent from control,
    which posts what is new in the ledger; until that has been done, it is held.
    """

    def __init__(
        self,
        url: Callable[[], str],
        writer: str,
        position: Callable[[], Position],
        clock: Callable[[], float],
        timeout_s: float,
        patience_s: float,
        now: Callable[[], float] | None,
    ) -> None:
        self._url = url
        self._writer = writer
        self._position = position
        self._clock = clock
        self._patience_s = patience_s
        self._now = now
        self._waiting = Waiting(clock, timeout_s, self.give)
        self._held = Held()
        self._orders: list[tuple[int, list[object]]] = []  # each with the number of its question, or 0
        self._asks: dict[int, Sequence[Ask]] = {}
        self._connected = False
        self._wake = asyncio.Event()
        self._beat_due = self._mark_due = 0.0
        self._closing = self._missed = False
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def begin(
        cls,
        url: Callable[[], str],
        writer: str,
        position: Callable[[], Position],
        clock: Callable[[], float],
        timeout_s: float = TIMEOUT_S,
        patience_s: float = _PATIENCE_S,
        now: Callable[[], float] | None = None,
    ) -> Shared:
        """
        Begin to connect; until that is done, the store is away.

        Args:
            url: looked up for each connection; a ValueError says that there is none now.
            writer: the worker's journal, unique among all there ever were.
            position: where that journal is, what is written included.
            clock: seconds, monotonic.
            now: the seconds by which all workers count, the same for all; None for Redis's own.
        """
        store = cls(url, writer, position, clock, timeout_s, patience_s, now)
        store._task = asyncio.create_task(store._run(), name="counters")
        return store

    async def take(self, asks: Sequence[Ask]) -> Sequence[Grant] | Refusal:
        """Ask, and wait for the answer. What is granted to somebody who does not wait any more is given back."""
        if not self._connected:
            raise StoreUnavailable

        def send(number: int) -> None:
            self._asks[number] = asks
            self._order(number, _Order.TAKE, [_asked(ask) for ask in asks])

        return await self._waiting.ask(asks, send)

    def give(self, returns: Sequence[Return]) -> None:
        """Give back. While Redis is away, what is held is less by it, and rates are not told."""
        given = []
        for each in returns:
            amount = _exact(each.amount)
            self._held.take(each.counter, -amount)
            self._held.spend(each.counter, _exact(each.spent))
            if amount:
                given.append((each.counter.name, each.counter.kind, amount, each.slot))
        if given and self._connected:
            self._order(0, _Order.GIVE, given)

    async def aclose(self) -> None:
        """Deliver what is not delivered yet, say goodbye, and close; Redis may be away."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_GOODBYE_S)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _order(self, number: int, kind: _Order, parts: Sequence[object] = ()) -> None:
        self._orders.append((number, [kind, *parts]))
        self._wake.set()

    async def _run(self) -> None:
        while not self._closing:
            try:
                await self._serve()
            except GONE as error:
                if not self._missed:
                    reason = str(error) if isinstance(error, SecretMissing) else type(error).__name__
                    _log.warning("Redis is away; trying again", extra={"fields": {"error": reason}})
                self._missed = True
            if not self._closing:
                await asyncio.sleep(_RETRY_S)

    async def _serve(self) -> None:
        """Serve over one connection, until it is closed."""
        connection = await Connection.open(self._url(), self._patience_s)
        try:
            if self._missed:
                _log.warning("Redis is back")
            self._missed = False
            held = [
                (counter.name, counter.kind, amount, counter.ends) for counter, amount in self._held.amounts.items()
            ]
            self._orders, self._beat_due = [], 0.0
            self._order(0, _Order.HOLD, held)
            self._connected = True
            while not self._closing:
                await self._turn(connection)
                if not self._orders:
                    await self._rest()
            await self._leave(connection)
        finally:
            self._connected = False
            self._orders, self._asks = [], {}
            self._waiting.lost()
            await connection.close()

    async def _rest(self) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TICK_S):
                await self._wake.wait()

    async def _leave(self, connection: Connection) -> None:
        self._order(0, _Order.LEAVE)
        while self._orders:
            await self._turn(connection)

    async def _turn(self, connection: Connection) -> None:
        """Send what there is, and take in the answers."""
        now, tell = self._clock(), False
        if now >= self._beat_due:
            self._beat_due = now + BEAT_S
            self._order(0, _Order.BEAT)
        if now >= self._mark_due:
            self._mark_due = now + _TICK_S
            self._held.mark(self._position())  # nobody is between settling an exchange and recording it now
            tell = self._held.waiting
        if not (self._orders or tell):
            return
        orders, self._orders = self._orders[:_AT_ONCE], self._orders[_AT_ONCE:]
        at = 0 if self._now is None else int(self._now() * 1e6)
        message = _encode((connection.run, self._writer, at, tell, [order for _, order in orders]))
        reply = await connection.call("count", message)
        answers, folded = _decode(reply if isinstance(reply, bytes) else b"")
        numbers = [number for number, _ in orders if number]
        for number, answer in zip(numbers, answers, strict=True):
            self._answered(number, answer)
        if tell and (returns := self._held.folded(dict(folded))):
            self.give(returns)

    def _answered(self, number: int, told: _Told) -> None:
        asks = self._asks.pop(number)
        match told:
            case [1, *granted]:
                grants = [Grant(*each) for each in granted if isinstance(each, tuple)]
                for ask, grant in zip(asks, grants, strict=True):
                    self._held.take(ask.counter, grant.amount)
                answer = Answer(number, grants)
            case [2, int(index), int(remaining), int(after), bool(lent)]:
                after_s = math.inf if after < 0 else after / 1e6
                answer = Answer(number, [], Refusal(index, remaining, after_s, lent))
            case _:
                answer = Answer(number, [], known=False)
        self._waiting.answered(answer)


def _asked(ask: Ask) -> tuple[object, ...]:
    counter: Counter = ask.counter
    need, want, limit = _exact(ask.need), _exact(ask.want), _exact(counter.limit)
    return counter.name, counter.kind, limit, counter.budget, counter.begins, counter.ends, need, want


def _exact(amount: int) -> int:
    return max(-_EXACT, min(amount, _EXACT))
