"""A token that expires: who fetches it, when, and what happens when nobody can."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from penstock.gateway.upstream.credentials.token import Issued, Token
from penstock.types.errors import UpstreamError, UpstreamTimeout, UpstreamUnreachable
from tests.http.origin import Clock, run, turns, until

Outcome = Issued | UpstreamError | Exception
LINE = b"authorization: Bearer %b\r\n"


class Fetcher:
    """Ends each fetch when the test says so, or at once where outcomes wait."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.count = 0
        self.pending: asyncio.Future[Outcome] | None = None

    async def __call__(self) -> Issued:
        self.count += 1
        if self.outcomes:
            outcome = self.outcomes.pop(0)
        else:
            self.pending = asyncio.get_running_loop().create_future()
            outcome = await self.pending
        if isinstance(outcome, Issued):
            return outcome
        raise outcome

    def end(self, outcome: Outcome) -> None:
        assert self.pending is not None
        self.pending.set_result(outcome)


def case(body: Callable[[Token, Fetcher, Clock], Awaitable[None]], *outcomes: Outcome) -> None:
    async def main() -> None:
        clock, fetcher = Clock(), Fetcher(*outcomes)
        token = Token("token of a test", fetcher, clock, Random(1))
        try:
            await body(token, fetcher, clock)
        finally:
            await token.aclose()

    run(main())


def test_a_token_is_fetched_once_and_used_until_it_is_to_be_renewed() -> None:
    async def body(token: Token, fetcher: Fetcher, clock: Clock) -> None:
        assert await token.lines(10) == LINE % b"one"
        clock.now += 3299
        assert await token.lines(10) == LINE % b"one"
        await turns()
        assert fetcher.count == 1

    case(body, Issued("one", 3600))


def test_all_who_wait_share_one_fetch() -> None:
    async def body(token: Token, fetcher: Fetcher, clock: Clock) -> None:
        waiting = [asyncio.create_task(token.lines(10)) for _ in range(50)]
        await until(lambda: fetcher.pending)
        fetcher.end(Issued("one", 3600))
        assert set(await asyncio.gather(*waiting)) == {LINE % b"one"}
        assert fetcher.count == 1

    case(body)


def test_a_token_is_renewed_ahead_of_its_end_while_the_old_one_serves() -> None:
    async def body(token: Token, fetcher: Fetcher, clock: Clock) -> None:
        await token.lines(10)
        clock.now += 3301
        assert await token.lines(0) == LINE % b"one"
        await until(lambda: fetcher.pending)
        assert await token.lines(0) == LINE % b"one"
        fetcher.end(Issued("two", 3600))
        await turns()
        assert await token.lines(0) == LINE % b"two"
        assert fetcher.count == 2

    case(body, Issued("one", 3600))


def test_the_old_token_serves_while_renewing_fails_and_no_longer_than_it_is_good() -> None:
    async def body(token: Token, fetcher: Fetcher, clock: Clock) -> None:
        await token.lines(10)
        clock.now += 3301
        assert await token.lines(0) == LINE % b"one"
        await turns()
        assert await token.lines(0) == LINE % b"one"
        clock.now += 300
        with pytest.raises(UpstreamUnreachable, match=r"there is no token of a test: away"):
            await token.lines(10)

    case(body, Issued("one", 3600), UpstreamUnreachable("away"), UpstreamUnreachable("away"))


def test_the_end_of_a_token_counts_from_when_it_was_asked_for() -> None:
    async def body(token: Token, fetcher: Fetcher, clock: Clock) -> None:
        first = asyncio.create_task(token.lines(100))
        await until(lambda: fetcher.pending)
        clock.now += 95
        fetcher.end(Issued("slow", 100))
        with pytest.raises(UpstreamUnreachable, match="it came when it was over"):
            await first

    case(body)


def test_after_a_failure_the_next_fetch_is_put_off_ever_longer() -> None:
    async def body(token: Token, fetcher: Fetcher, clock: Clock) -> None:
        pauses = []
        for _ in range(10):
            with pytest.raises(UpstreamUnreachable) as caught:
                await token.lines(10)
            assert caught.value.retry_after is not None
            pauses.append(caught.value.retry_after)
            count = fetcher.count
            clock.now += pauses[-1] - 0.01
            with pytest.raises(UpstreamUnreachable, match="away"):
                await token.lines(10)
            assert fetcher.count == count
            clock.now += 0.02
        assert 0.5 <= pauses[0] <= 1 < pauses[3] <= 8
        assert 30 <= max(pauses) <= 60

    case(body, *(UpstreamUnreachable("away") for _ in range(10)))


def test_the_issuer_may_ask_for_a_longer_pause() -> None:
    async def body(token: Token, fetcher: Fetcher, clock: Clock) -> None:
        with pytest.raises(UpstreamUnreachable):
            await token.lines(10)
        clock.now += 29
        with pytest.raises(UpstreamUnreachable):
            await token.lines(10)
        assert fetcher.count == 1
        clock.now += 2
        assert await token.lines(10) == LINE % b"one"

    case(body, UpstreamUnreachable("busy", retry_after=30), Issued("one", 60))


def test_a_success_forgets_the_failures() -> None:
    async def body(token: Token, fetcher: Fetcher, clock: Clock) -> None:
        for _ in range(3):
            with pytest.raises(UpstreamUnreachable):
                await token.lines(10)
            clock.now += 60
        await token.lines(10)
        clock.now += 100
        with pytest.raises(UpstreamUnreachable) as caught:
            await token.lines(10)
        assert caught.value.retry_after is not None
        assert caught.value.retry_after <= 1

    away = UpstreamUnreachable("away")
    case(body, away, away, away, Issued("one", 100), away)


def test_who_is_cancelled_or_gives_up_leaves_the_fetch_to_the_others() -> None:
    async def body(token: Token, fetcher: Fetcher, clock: Clock) -> None:
        first, second = asyncio.create_task(token.lines(10)), asyncio.create_task(token.lines(10))
        await until(lambda: fetcher.pending)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(UpstreamTimeout, match="has not come in time"):
            await token.lines(0)
        fetcher.end(Issued("one", 3600))
        assert await second == LINE % b"one"
        assert fetcher.count == 1

    case(body)


def test_a_fault_of_our_own_reaches_who_waits_and_the_next_one_tries_again() -> None:
    async def body(token: Token, fetcher: Fetcher, clock: Clock) -> None:
        with pytest.raises(UpstreamUnreachable, match="fetching it failed"):
            await token.lines(10)
        clock.now += 1
        assert await token.lines(10) == LINE % b"one"

    case(body, RuntimeError("hunter2"), Issued("one", 3600))


def test_closing_ends_the_fetch_and_tells_who_waits() -> None:
    async def body(token: Token, fetcher: Fetcher, clock: Clock) -> None:
        waiting = asyncio.create_task(token.lines(10))
        await until(lambda: fetcher.pending)
        await token.aclose()
        for attempt in (waiting, token.lines(10)):
            with pytest.raises(UpstreamUnreachable, match="no longer used"):
                await attempt
        assert fetcher.count == 1

    case(body)


def test_a_token_that_was_refused_is_fetched_again_but_not_a_fresh_one() -> None:
    async def body(token: Token, fetcher: Fetcher, clock: Clock) -> None:
        token.refused()
        await token.lines(10)
        clock.now += 59
        token.refused()
        await token.lines(10)
        await turns()
        assert fetcher.count == 1
        clock.now += 1
        token.refused()
        assert await token.lines(10) == LINE % b"one"
        await turns()
        assert await token.lines(10) == LINE % b"two"
        assert fetcher.count == 2

    case(body, Issued("one", 3600), Issued("two", 3600))


def test_a_token_tells_nothing_of_itself() -> None:
    assert "hunter2" not in repr(Issued("hunter2", 1))
