"""The contract of seats that several workers share: kept in their own process, and at the other end of sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
import uvloop
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from penstock.counters.seats.house import CALM_S, House
from penstock.counters.seats.remote import Doors, remote
from penstock.counters.seats.seat import Displaced, Expired, Full, Seat, Size
from penstock.counters.seats.usher import Usher, local
from penstock.types.priority import Priority
from tests.counters.test_tally import Clock

PATIENT_S = 30.0


class Hall:
    """Workers that share the seats of a deployment called `d`, and the ways in which the last of them may end."""

    def __init__(
        self,
        clock: Clock,
        ushers: list[Usher],
        end: Callable[[], Awaitable[None]],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self.clock = clock
        self.ushers = ushers
        self.end = end
        self.close = close

    async def resize(self, seats: int, most: int) -> None:
        """Say it at every worker, and wait until it is known."""
        for usher in self.ushers:
            usher.resize({"d": Size(seats, most)}, len(self.ushers))
        await self.heard()

    async def heard(self) -> None:
        """Wait until all that was said has been heard, and what was said because of it."""
        for _ in range(20):
            await asyncio.sleep(0)
        for usher in self.ushers:  # one answer comes behind all that was said before
            with pytest.raises(Full):
                usher.resize({"none": Size(0, 0)}, len(self.ushers))
                await usher.take("none", "nobody", Priority.NORMAL, PATIENT_S)

    async def take(self, worker: int, tenant: str = "red", priority: Priority = Priority.NORMAL) -> Seat:
        usher = self.ushers[worker]
        return usher.spare("d", tenant) or await usher.take("d", tenant, priority, PATIENT_S)

    async def at_once(self, worker: int, tenant: str = "red") -> Seat:
        """Take a seat without waiting for one."""
        usher = self.ushers[worker]
        return usher.spare("d", tenant) or await usher.take("d", tenant, Priority.NORMAL, PATIENT_S, waits=False)

    async def wait(self, worker: int, tenant: str = "red", priority: Priority = Priority.NORMAL) -> asyncio.Task[Seat]:
        """Ask for a seat that is not there yet, and wait until that is known."""
        before = self.ushers[worker].waiting().get("d", 0)
        task = asyncio.create_task(self.take(worker, tenant, priority))
        while self.ushers[worker].waiting().get("d", 0) == before:  # there is no event for it
            assert not task.done()
            await asyncio.sleep(0)
        return task


def in_process(clock: Clock, count: int) -> Hall:
    house = House(clock)
    ushers = [local(house, clock) for _ in range(count)]

    async def end() -> None:
        house.gone(count)  # they are numbered from 1

    async def close() -> None:
        """There is nothing to close."""

    return Hall(clock, ushers, end, close)


async def over_sockets(clock: Clock, count: int) -> Hall:
    doors, ushers, ends = Doors(House(clock)), [], []
    for _ in range(count):
        ours, theirs = socket.socketpair()
        ends.append(theirs.dup())
        await doors.serve(ours)
        ushers.append(await remote(theirs, clock, PATIENT_S))

    async def end() -> None:
        ends[-1].shutdown(socket.SHUT_RDWR)
        while len(doors._open) == count:  # noqa: ASYNC110  # until it is noticed
            await asyncio.sleep(0)

    async def close() -> None:
        for each in ends:
            each.close()
        await doors.aclose()
        for _ in range(5):
            await asyncio.sleep(0)

    return Hall(clock, ushers, end, close)


Test = Callable[[Hall], Coroutine[Any, Any, None]]
WithHall = Callable[[Test], None]


def run_with(kind: str, test: Test, count: int = 3) -> None:
    async def whole() -> None:
        clock = Clock()
        hall = in_process(clock, count) if kind == "in process" else await over_sockets(clock, count)
        try:
            await asyncio.wait_for(test(hall), PATIENT_S)
        finally:
            await hall.close()

    uvloop.run(whole())


@pytest.fixture(params=["in process", "over sockets"])
def with_hall(request: pytest.FixtureRequest) -> WithHall:
    return lambda test: run_with(request.param, test)


def test_all_workers_together_have_as_many_seats_as_there_are(with_hall: WithHall) -> None:
    async def test(hall: Hall) -> None:
        await hall.resize(4, 100)
        seats = [await hall.take(worker) for worker in (0, 1, 2, 0)]
        assert [seat.waited_s for seat in seats] == [0.0] * 4
        waiting = await hall.wait(1)
        hall.clock.now += 0.5
        with seats[3]:
            pass
        got = await waiting
        assert (got.waited_s, got.ahead) == (0.5, 0)

    with_hall(test)


def test_an_idle_seat_is_used_again_by_its_worker_and_found_by_another_that_needs_it(with_hall: WithHall) -> None:
    async def test(hall: Hall) -> None:
        await hall.resize(3, 3)  # nobody may wait
        for seat in [await hall.take(0) for _ in range(3)]:
            with seat:
                pass
        again = hall.ushers[0].spare("d", "blue")
        assert again is not None
        assert hall.ushers[1].spare("d", "blue") is None
        await hall.take(1)
        await hall.take(2)
        assert hall.ushers[0].spare("d", "red") is None, "it has given back what lay idle"
        with pytest.raises(Full):
            await hall.take(0)

    with_hall(test)


def test_while_others_wait_none_is_kept_and_after_a_calm_some_are_again(with_hall: WithHall) -> None:
    async def test(hall: Hall) -> None:
        await hall.resize(1, 10)
        seat = await hall.take(0)
        waiting = await hall.wait(1)
        with seat:
            pass
        with await waiting:
            pass
        for _ in range(2):  # the second one finds that it has been calm, the third keeps its seat
            with await hall.take(0):
                assert hall.ushers[0].spare("d", "red") is None
            hall.clock.now += CALM_S
        with await hall.take(0):
            await hall.heard()
        assert hall.ushers[0].spare("d", "red") is not None

    with_hall(test)


def test_turns_are_fair_over_all_workers(with_hall: WithHall) -> None:
    async def test(hall: Hall) -> None:
        await hall.resize(2, 100)
        noisy = [await hall.take(0, "noisy"), await hall.take(1, "noisy")]
        behind = [await hall.wait(worker, "noisy") for worker in (0, 1, 0, 1)]
        quiet = await hall.wait(2, "quiet")
        low = await hall.wait(2, "poor", Priority.LOW)
        high = await hall.wait(0, "noisy", Priority.HIGH)
        left, order, given = {high, quiet, low, *behind}, [], noisy[0]
        while left:
            with given:
                pass
            (task,), left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            order.append(task)
            given = task.result()
        assert order == [high, quiet, *behind, low]

    with_hall(test)


def test_a_seat_that_was_used_again_counts_for_whom_it_is_used(with_hall: WithHall) -> None:
    async def test(hall: Hall) -> None:
        await hall.resize(2, 100)
        for seat in [await hall.take(0, "red"), await hall.take(0, "red")]:
            with seat:
                pass
        used = [hall.ushers[0].spare("d", "blue"), hall.ushers[0].spare("d", "blue")]
        blue = await hall.wait(0, "blue")
        red = await hall.wait(1, "red")
        assert used[0] is not None
        with used[0]:
            pass
        assert (await red).tenant == "red"
        assert not blue.done()
        blue.cancel()

    with_hall(test)


def test_who_has_fewer_displaces_the_newest_of_whoever_has_most(with_hall: WithHall) -> None:
    async def test(hall: Hall) -> None:
        await hall.resize(1, 3)
        await hall.take(0, "noisy")
        first, second = await hall.wait(0, "noisy"), await hall.wait(1, "noisy")
        with pytest.raises(Full):
            await hall.take(2, "noisy")
        quiet = await hall.wait(2, "quiet")
        with pytest.raises(Displaced):
            await second
        assert not first.done()
        for task in (first, quiet):
            task.cancel()

    with_hall(test)


def test_one_that_leaves_the_line_lets_the_next_one_pass(with_hall: WithHall) -> None:
    async def test(hall: Hall) -> None:
        await hall.resize(1, 2)
        seat = await hall.take(0)
        leaving = await hall.wait(1)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await hall.heard()
        staying = await hall.wait(2)  # there is no room for two
        with seat:
            pass
        assert (await staying).tenant == "red"

    with_hall(test)


def test_one_that_leaves_as_it_is_seated_keeps_nothing(with_hall: WithHall) -> None:
    async def test(hall: Hall) -> None:
        await hall.resize(1, 10)
        for turns in range(12):
            seat = await hall.take(0)
            leaving = await hall.wait(1)
            with seat:
                pass
            for _ in range(turns):
                await asyncio.sleep(0)
            leaving.cancel()
            (result,) = await asyncio.gather(leaving, return_exceptions=True)
            if isinstance(result, Seat):  # it was the quicker one
                with result:
                    pass
            with await hall.take(2):
                pass

    with_hall(test)


def test_patience_ends(with_hall: WithHall) -> None:
    async def test(hall: Hall) -> None:
        await hall.resize(1, 10)
        seat = await hall.take(0)

        async def patience() -> None:
            with pytest.raises(Expired):
                await hall.ushers[1].take("d", "red", Priority.NORMAL, 0.02)

        impatient = asyncio.create_task(patience())
        while not impatient.done():
            hall.clock.now += 0.01
            await asyncio.sleep(0.001)
        await impatient
        await hall.heard()
        with seat:
            pass
        assert (await hall.take(2)).waited_s == 0.0, "nobody waits any more"

    with_hall(test)


def test_the_end_of_a_worker_frees_its_seats(with_hall: WithHall) -> None:
    async def test(hall: Hall) -> None:
        await hall.resize(3, 100)
        for _ in range(3):
            await hall.take(2)
        lost = await hall.wait(2)
        waiting = [await hall.wait(0), await hall.wait(1)]
        await hall.end()
        for task in waiting:
            assert (await task).tenant == "red"
        lost.cancel()

    with_hall(test)


def test_more_seats_are_given_out_at_once_and_none_at_all_lets_nobody_wait(with_hall: WithHall) -> None:
    async def test(hall: Hall) -> None:
        await hall.resize(0, 10)
        first, second = await hall.wait(0), await hall.wait(1)
        hall.ushers[2].resize({"d": Size(1, 10)}, 3)
        assert (await first).tenant == "red"
        hall.ushers[2].resize({"d": Size(0, 0)}, 3)
        with pytest.raises(Displaced):
            await second
        with pytest.raises(Full):
            await hall.take(0)

    with_hall(test)


def test_who_would_not_wait_is_told_at_once_and_drives_nobody_out(with_hall: WithHall) -> None:
    async def test(hall: Hall) -> None:
        await hall.resize(2, 3)
        seats = [await hall.at_once(0), await hall.at_once(1)]
        with pytest.raises(Full):
            await hall.at_once(2)
        waiting = await hall.wait(2)
        for worker in (0, 1, 2):
            with pytest.raises(
                Full
            ):  # of a tenant that has less than the one that waits, and for whom there is no room
                await hall.at_once(worker, "blue")
        with seats[0]:
            pass
        assert (await waiting).tenant == "red"

    with_hall(test)


def test_who_would_not_wait_gets_the_seat_that_lies_idle_elsewhere(with_hall: WithHall) -> None:
    async def test(hall: Hall) -> None:
        await hall.resize(1, 1)
        for worker in (0, 1, 2, 1):
            with await hall.at_once(worker):
                pass

    with_hall(test)


@pytest.mark.parametrize("kind", ["in process", "over sockets"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@example(seats=1, room=0, steps=[("ask", 0), ("ask", 2), ("ask", 0), ("ask", 0), ("sweep", 38)])
@given(
    seats=st.integers(1, 3),
    room=st.integers(0, 4),
    steps=st.lists(
        st.tuples(st.sampled_from(["ask", "at once", "give", "cancel", "sweep", "calm", "turn"]), st.integers(0, 100)),
        max_size=60,
    ),
)
def test_whatever_happens_no_more_are_seated_than_there_are_seats_and_none_is_lost(
    kind: str, seats: int, room: int, steps: list[tuple[str, int]]
) -> None:
    async def test(hall: Hall) -> None:
        await hall.resize(seats, seats + room)
        asked: list[asyncio.Task[Seat]] = []
        held: list[Seat] = []

        def collect() -> None:
            for task in [task for task in asked if task.done()]:
                asked.remove(task)
                if not task.cancelled() and task.exception() is None:
                    held.append(task.result())
            # Who has swept before an answer could come has taken the node for silent, and has a share of its own.
            assert sum(not seat.share for seat in held) <= seats

        for step, number in steps:
            if step in ("ask", "at once"):
                ask = hall.take if step == "ask" else hall.at_once
                asked.append(asyncio.create_task(ask(number % 3, "red" if number % 2 else "blue")))
            elif step == "give" and held:
                held.pop(number % len(held)).__exit__(None, None, None)
            elif step == "cancel" and asked:
                asked[number % len(asked)].cancel()
            elif step == "sweep":
                for _ in range(4):
                    hall.ushers[number % 3].sweep()
            elif step == "calm":
                hall.clock.now += CALM_S
            await asyncio.sleep(0)
            collect()
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        collect()
        for seat in held:
            seat.__exit__(None, None, None)
        await hall.heard()
        assert len([await hall.take(1) for _ in range(seats)]) == seats

    run_with(kind, test)
