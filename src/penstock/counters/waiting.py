"""Questions that are under way to a store elsewhere, and how long anybody waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from penstock.counters.counter import Ask, Grant, Refusal, Return, StoreUnavailable

TIMEOUT_S = 0.05
_AWAY_S = 1.0  # how long nobody asks after a time-out, unless an answer comes late
_LATE_S = 0.001
_MOST = 10_000


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """The answer to the question of this number: a grant for each ask, a refusal, or neither when nobody knows."""

    number: int
    grants: list[Grant]
    refusal: Refusal | None = None
    known: bool = True


class Waiting:
    """
    A question costs at most `timeout_s`; after one that was not answered in time the store is away for a second, or
    until an answer comes: nobody waits for it meanwhile.

    Args:
        clock: seconds, monotonic.
        give: gives back what was granted to somebody who does not wait any more.

    Attributes:
        away_until: clock time up to which nobody asks; 0 while answers come.
    """

    def __init__(self, clock: Callable[[], float], timeout_s: float, give: Callable[[Sequence[Return]], None]) -> None:
        self._clock = clock
        self.timeout_s = timeout_s
        self._give = give
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self._waiting: dict[int, tuple[asyncio.Future[Answer], Sequence[Ask]]] = {}
        self.away_until = 0.0

    def __len__(self) -> int:
        """Return how many questions are under way, those included that nobody waits for any more."""
        return len(self._waiting)

    async def ask(
        self, asks: Sequence[Ask], send: Callable[[int], None], timeout_s: float | None = None
    ) -> Sequence[Grant] | Refusal:
        """
        Ask, and wait for the answer.

        Args:
            send: sends the question, with this number.
            timeout_s: less than usual.
        Raises:
            StoreUnavailable: there was none in time, or nobody knows it.
        """
        now = self._clock()
        if now < self.away_until or len(self._waiting) >= _MOST:
            raise StoreUnavailable
        if self.away_until:  # this one finds out for all
            self.away_until = now + self.timeout_s
        self._number = number = self._number + 1
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[number] = future, asks
        timer = self._loop.call_later(self.timeout_s if timeout_s is None else timeout_s, self._due, future)
        try:
            send(number)
        except BaseException:
            del self._waiting[number]
            timer.cancel()
            raise
        try:
            answer = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:  # it came at the same moment
                self._give_back(asks, future.result())
            raise
        finally:
            timer.cancel()
        if not answer.known:
            raise StoreUnavailable
        return answer.grants if answer.refusal is None else answer.refusal

    def answered(self, answer: Answer) -> None:
        """Take in an answer."""
        self.away_until = 0.0
        future, asks = self._waiting.pop(answer.number, (None, ()))
        if future is not None and not future.done():
            future.set_result(answer)
        else:
            self._give_back(asks, answer)

    def lost(self) -> None:
        """No question that is under way will be answered."""
        waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            if not future.done():
                future.set_exception(StoreUnavailable())

    def _give_back(self, asks: Sequence[Ask], answer: Answer) -> None:
        """Give back what was granted to somebody who does not wait any more."""
        if answer.grants:
            pairs = zip(asks, answer.grants, strict=True)
            self._give([Return(ask.counter, grant.amount, grant.slot) for ask, grant in pairs])

    def _due(self, future: asyncio.Future[Answer]) -> None:
        """The time is up; but a loop that was late itself reads first what has come meanwhile."""
        self._loop.call_later(_LATE_S, self._too_late, future)

    def _too_late(self, future: asyncio.Future[Answer]) -> None:
        if not future.done():
            self.away_until = self._clock() + _AWAY_S
            future.set_exception(StoreUnavailable())
