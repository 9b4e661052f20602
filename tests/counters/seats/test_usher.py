"""A worker whose questions nobody answers, or too late; and what it says of its own accord."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from penstock.counters.seats.seat import Full, Seat, Size
from penstock.counters.seats.usher import Usher
from penstock.counters.seats.wire import Asked, Leave, Mood, Ping, Pong, Rename, Rise, Sit, Sizes, Told, Verdict
from penstock.types.priority import Priority
from tests.counters.test_tally import Clock

PATIENT_S = 30.0


class Silence:
    """A worker with four seats' deployment `d` that it shares with another one, and what it has said to nobody."""

    def __init__(self, timeout_s: float) -> None:
        self.clock = Clock()
        self.said: list[Asked] = []
        self.usher = Usher(self.said.append, self.clock, timeout_s)
        self.usher.resize({"d": Size(4, 8)}, workers=2)
        assert self.new() == [Sizes({"d": Size(4, 8)})]

    def new(self) -> list[Asked]:
        """Return what it has said since the last look."""
        said, self.said[:] = list(self.said), []
        return said

    def ask(self, tenant: str = "red") -> asyncio.Task[Seat]:
        usher = self.usher
        return asyncio.create_task(usher.take("d", tenant, Priority.NORMAL, PATIENT_S))


def with_silence(test: Callable[[Silence], Coroutine[Any, Any, None]], timeout_s: float = 0.001) -> None:
    async def whole() -> None:
        await test(Silence(timeout_s))

    uvloop.run(whole())


async def seated(silence: Silence, number: int) -> Seat:
    """Ask, and have that answered."""
    task = silence.ask()
    await asyncio.sleep(0)
    silence.usher.heard(Told(number, Verdict.SEATED))
    return await task


def test_without_an_answer_each_worker_has_its_even_share_and_a_line_of_its_own() -> None:
    async def test(silence: Silence) -> None:
        seats = [await silence.ask() for _ in range(2)]
        assert [seat.share for seat in seats] == [True, True]
        assert silence.new() == [Sit(1, "d", "red", Priority.NORMAL)], "after one in vain nobody asks for a second"
        waiting = [silence.ask() for _ in range(2)]
        while silence.usher.waiting() != {"d": 2}:  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0)
        with pytest.raises(Full):
            await silence.ask()
        with seats[0]:
            pass
        assert (await waiting[0]).share
        waiting[1].cancel()

    with_silence(test)


def test_what_a_worker_has_of_the_seats_counts_as_of_its_share() -> None:
    async def test(silence: Silence) -> None:
        held = [await seated(silence, number) for number in (1, 2)]
        waiting = silence.ask()
        while silence.usher.waiting() != {"d": 1}:  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0)
        silence.new()
        with held[0]:
            pass
        assert silence.new() == [Rise("d", ["red"])]
        assert (await waiting).share

    with_silence(test)


def test_after_a_second_somebody_asks_again_and_an_answer_brings_everybody_back() -> None:
    async def test(silence: Silence) -> None:
        assert (await silence.ask()).share
        silence.new()
        silence.clock.now += 1.1
        assert (await silence.ask()).share
        assert silence.new() == [Sit(2, "d", "red", Priority.NORMAL)]
        silence.usher.heard(Told(1, Verdict.WAITING, 3))
        silence.usher.heard(Told(2, Verdict.SEATED))
        assert silence.new() == [Leave(1), Rise("d", ["red"])], "nobody wants these any more"
        assert not (await seated(silence, 3)).share

    with_silence(test)


def test_those_who_wait_for_somebody_who_has_gone_silent_go_on_without_him() -> None:
    async def test(silence: Silence) -> None:
        waiting = silence.ask()
        await asyncio.sleep(0)
        silence.usher.heard(Told(1, Verdict.WAITING, 5))
        silence.new()
        silence.usher.sweep()
        assert silence.new() == [Ping()]
        silence.usher.heard(Pong())
        silence.usher.sweep()
        assert silence.new() == [Ping()]
        assert silence.usher.waiting() == {"d": 1}
        silence.usher.sweep()
        assert silence.new() == [Leave(1)]
        assert (await waiting).share

    with_silence(test, PATIENT_S)


def test_one_that_has_gone_is_asked_nothing() -> None:
    async def test(silence: Silence) -> None:
        asking = silence.ask()
        await asyncio.sleep(0)
        silence.usher.lost()
        assert (await asking).share
        silence.new()
        silence.clock.now += 1000
        assert (await silence.ask()).share
        assert silence.new() == []

    with_silence(test, PATIENT_S)


def test_a_client_that_leaves_before_the_answer_gives_back_what_it_is_granted() -> None:
    async def test(silence: Silence) -> None:
        for verdict, said in ((Verdict.SEATED, Rise("d", ["red"])), (Verdict.WAITING, Leave(2))):
            asking = silence.ask()
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            (sit,) = silence.new()
            assert isinstance(sit, Sit)
            silence.usher.heard(Told(sit.number, verdict))
            assert silence.new() == [said]

    with_silence(test, PATIENT_S)


def test_an_idle_seat_goes_back_after_a_while_and_at_once_when_others_wait() -> None:
    async def test(silence: Silence) -> None:
        seats = [await seated(silence, number) for number in (1, 2, 3)]
        silence.new()
        for seat in seats[:2]:
            with seat:
                pass
        for _ in range(2):
            silence.usher.sweep()
        assert silence.usher.spare("d", "blue") is seats[1]
        silence.usher.sweep()
        assert silence.new() == [Rise("d", ["red"])]
        with seats[2]:
            pass
        silence.usher.heard(Mood("d", crowded=True))
        assert silence.new() == [Rename("d", [("red", "blue")]), Rise("d", ["red"]), Rise("d", [], answer=True)]
        with seats[1]:
            pass
        assert silence.new() == [Rise("d", ["blue"])]
        silence.usher.heard(Mood("strange", crowded=True))
        assert silence.new() == [Rise("strange", [], answer=True)]

    with_silence(test, PATIENT_S)


def test_nobody_is_asked_for_a_seat_at_once_by_a_worker_that_uses_them_all() -> None:
    async def test(silence: Silence) -> None:
        for number in (1, 2, 3, 4):
            await seated(silence, number)
        silence.new()
        with pytest.raises(Full):
            await silence.usher.take("d", "red", Priority.NORMAL, PATIENT_S, waits=False)
        assert silence.new() == []

    with_silence(test, PATIENT_S)


def test_without_an_answer_a_seat_at_once_is_one_of_the_share() -> None:
    async def test(silence: Silence) -> None:
        for _ in range(2):
            assert (await silence.usher.take("d", "red", Priority.NORMAL, PATIENT_S, waits=False)).share
        with pytest.raises(Full):
            await silence.usher.take("d", "red", Priority.NORMAL, PATIENT_S, waits=False)
        assert silence.usher.waiting() == {}

    with_silence(test)


def test_whoever_keeps_the_seats_is_asked_whether_somebody_waits_yet_by_a_worker_that_uses_none() -> None:
    async def test(silence: Silence) -> None:
        silence.usher.heard(Mood("d", crowded=True))
        silence.new()
        silence.usher.sweep()
        assert silence.new() == [Rise("d", [])]
        silence.usher.heard(Mood("d", crowded=False))
        silence.usher.sweep()
        assert silence.new() == []

    with_silence(test, PATIENT_S)


def test_seats_in_use_are_the_workers_own_or_all_while_somebody_waits() -> None:
    async def test(silence: Silence) -> None:
        assert silence.usher.used("d") == silence.usher.used("strange") == 0
        with await seated(silence, 1):
            assert silence.usher.used("d") == 0.25
            silence.usher.heard(Mood("d", crowded=True))
            assert silence.usher.used("d") == 1
            silence.usher.heard(Mood("d", crowded=False))
        assert silence.usher.used("d") == 0
        silence.usher.resize({"d": Size(0, 0)}, workers=2)
        assert silence.usher.used("d") == 0

    with_silence(test, PATIENT_S)
