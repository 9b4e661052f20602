"""The store that the workers of several hosts share: Redis, asked by each of them over a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any

import msgspec

from penstock.auth.secrets import SecretMissing
from penstock.counters.counter import Ask, Counter, Grant, Kind, Refusal, Return, StoreUnavailable
from penstock.counters.held import Held, Position
from penstock.counters.redis import GONE, Connection, Unusable
from penstock.counters.waiting import TIMEOUT_S, Answer, Waiting

_TICK_S = 0.1
_BEATS = 10  # ticks from one to the next
_PATIENCE_S = 2.0  # then the connection is given up, and what is held is told anew over the next one
_RETRY_S = 0.25
_GOODBYE_S = 1.0
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
_decode = msgspec.msgpack.Decoder(tuple[list[_Told], list[tuple[str, int]], bool]).decode
_encode = msgspec.msgpack.Encoder().encode


class Shared:
    """
    Redis knows what each worker holds, and is told anew over each new connection. It knows what is spent from control,
    which posts what is new in the ledger; until that has been done, it is held. Made by `begin`.
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
        self._connection: Connection | None = None
        self._missed = False
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
        began = self._clock()
        answer = await self._take(asks, None)
        if isinstance(answer, Refusal) and not answer.lent and asks[answer.index].counter.kind is not Kind.RATE:
            # What another worker gave back before we asked may have been read after our question.
            left = self._waiting.timeout_s - (self._clock() - began)
            if left > 0:
                answer = await self._take(asks, left)
        return answer

    def give(self, returns: Sequence[Return]) -> None:
        """Give back, at once. While Redis is away, what is held is less by it, and rates are not told."""
        given = []
        for each in returns:
            amount = _exact(each.amount)
            self._held.take(each.counter, -amount)
            given.append((each.counter.name, each.counter.kind, amount, each.slot))
        connection = self._connection
        if given and connection is not None:
            with contextlib.suppress(ConnectionResetError):  # noticed by whoever serves it
                taken = self._send(connection, [_Order.GIVE, *given])
                taken.add_done_callback(lambda done: _done(connection, done))

    def settle(self, sums: Sequence[Counter], spent: int, back: int) -> None:
        """Keep what is spent until the ledger has it, and give back the rest."""
        for counter in sums:
            self._held.spend(counter, _exact(spent))
        if back:
            self.give([Return(counter, back, 0) for counter in sums])

    async def aclose(self) -> None:
        """Say goodbye, and close."""
        if self._connection is not None:
            with contextlib.suppress(*GONE):
                async with asyncio.timeout(_GOODBYE_S):
                    await self._send(self._connection, [_Order.LEAVE])
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _take(self, asks: Sequence[Ask], timeout_s: float | None) -> Sequence[Grant] | Refusal:
        connection = self._connection
        if connection is None:
            raise StoreUnavailable

        def send(number: int) -> None:
            try:
                answer = self._send(connection, [_Order.TAKE, *map(_asked, asks)])
            except ConnectionResetError as error:
                raise StoreUnavailable from error
            answer.add_done_callback(lambda done: self._answered(connection, number, asks, done))

        return await self._waiting.ask(asks, send, timeout_s)

    def _send(self, connection: Connection, *orders: list[object], tell: bool = False) -> asyncio.Future[Any]:
        at = 0 if self._now is None else int(self._now() * 1e6)
        message = _encode((connection.run, self._writer, at, tell, orders))
        (answer,) = connection.send(connection.script("count", message))
        return answer

    async def _run(self) -> None:
        while True:
            try:
                await self._serve()
            except GONE as error:
                if not self._missed:
                    reason = str(error) if isinstance(error, SecretMissing | Unusable) else type(error).__name__
                    _log.warning("Redis is away; trying again", extra={"fields": {"error": reason}})
                self._missed = True
            await asyncio.sleep(_RETRY_S)

    async def _serve(self) -> None:
        """Keep up one connection as long as it works."""
        connection = await Connection.open(self._url(), self._patience_s)
        try:
            if self._missed:
                _log.warning("Redis is back")
            self._missed = False
            held = [(each.name, each.kind, amount, each.ends) for each, amount in self._held.amounts.items()]
            self._connection = connection
            orders: list[list[object]] = [[_Order.HOLD, *held], [_Order.BEAT]]
            beat_in = _BEATS
            while not connection.closed:
                self._held.mark(self._position())  # nobody is between settling an exchange and recording it now
                if orders or self._held.waiting:
                    async with asyncio.timeout(self._patience_s):
                        told = await self._send(connection, *orders, tell=True)
                    if returns := self._held.folded(dict(_decoded(told)[1])):
                        self.give(returns)
                await asyncio.sleep(_TICK_S)
                beat_in -= 1
                orders = [] if beat_in else [[_Order.BEAT]]
                beat_in = beat_in or _BEATS
            raise ConnectionResetError
        finally:
            self._connection = None
            connection.close()
            self._waiting.lost()

    def _answered(self, connection: Connection, number: int, asks: Sequence[Ask], done: asyncio.Future[Any]) -> None:
        """Take in the answer to a question, or notice that there will be none."""
        if done.cancelled() or done.exception() is not None or connection is not self._connection:
            return  # and Redis is told over the next connection what is held
        try:
            ((told,), _) = _decoded(done.result())
            answer = _answer(number, told, asks)
        except GONE:
            connection.close()
            return
        for ask, grant in zip(asks, answer.grants, strict=False):
            self._held.take(ask.counter, grant.amount)
        self._waiting.answered(answer)


def _done(connection: Connection, answer: asyncio.Future[Any]) -> None:
    """Look whether an order was carried out; if not, what is held is told anew."""
    if answer.cancelled() or answer.exception() is not None:
        return
    try:
        _decoded(answer.result())
    except GONE:
        connection.close()


def _decoded(reply: object) -> tuple[list[_Told], list[tuple[str, int]]]:
    """
    Return answers and positions.

    Raises:
        GONE: it is an error, or no answer, or Redis does not know any more what this worker holds.
    """
    if isinstance(reply, Exception):
        raise reply
    answers, folded, known = _decode(reply if isinstance(reply, bytes) else b"")
    if not known:
        raise ConnectionResetError
    return answers, folded


def _answer(number: int, told: _Told, asks: Sequence[Ask]) -> Answer:
    match told:
        case [1, *granted] if len(granted) == len(asks):
            return Answer(number, [Grant(*each) for each in granted if isinstance(each, tuple)])
        case [2, int(index), int(remaining), int(after), bool(lent)]:
            after_s = math.inf if after < 0 else after / 1e6
            return Answer(number, [], Refusal(index, remaining, after_s, lent))
    return Answer(number, [], known=False)


def _asked(ask: Ask) -> tuple[object, ...]:
    counter: Counter = ask.counter
    need, want, limit = _exact(ask.need), _exact(ask.want), _exact(counter.limit)
    return counter.name, counter.kind, limit, counter.budget, counter.begins, counter.ends, need, want


def _exact(amount: int) -> int:
    return max(-_EXACT, min(amount, _EXACT))
