"""A store on the other side of a socket, that may be slow, frozen, gone, or talk nonsense."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
import uvloop

from penstock.counters.counter import Ask, Counter, Grant, Kind, Return, StoreUnavailable
from penstock.counters.desk import Desk
from penstock.counters.remote import Remote
from penstock.counters.tally import Tally
from penstock.counters.waiting import Answer
from tests.counters.test_tally import Clock

ONE = Ask(Counter("level", Kind.LEVEL, 1), 1, 1)
Test = Callable[[Remote, socket.socket, Desk, Clock], Coroutine[Any, Any, None]]


def with_frozen(test: Test, timeout_s: float = 0.001) -> None:
    """Run a test with a store that nobody answers for, and the end that somebody should be at."""

    async def run() -> None:
        clock = Clock()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        store = await Remote.open(theirs, clock, timeout_s)
        with ours:
            desk = Desk(Tally(clock))
            try:
                await test(store, ours, desk, clock)
            finally:
                store.close()
                await desk.aclose()

    uvloop.run(run())


async def away(store: Remote) -> None:
    with pytest.raises(StoreUnavailable):
        await store.take([ONE])


async def heard(sock: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(sock, 100_000)


def test_after_one_that_waited_in_vain_nobody_waits_for_a_second() -> None:
    async def test(store: Remote, ours: socket.socket, _desk: Desk, clock: Clock) -> None:
        await away(store)
        assert await heard(ours)
        clock.now += 0.9
        await away(store)
        with pytest.raises(BlockingIOError):
            ours.recv(1)
        clock.now += 0.2
        await away(store)
        assert await heard(ours)

    with_frozen(test)


def test_an_answer_that_lies_there_when_the_time_is_up_counts() -> None:
    """As when the worker's own loop was busy for longer than that."""

    async def test(store: Remote, ours: socket.socket, _desk: Desk, _clock: Clock) -> None:
        answer = msgspec.msgpack.encode(Answer(1, [Grant(1, 0, 0, True)]))
        loop, (one, other) = asyncio.get_running_loop(), socket.socketpair()

        def be_busy() -> None:
            loop.remove_reader(one)
            ours.send(len(answer).to_bytes(4, "big") + answer)
            until = time.monotonic() + 0.01
            while time.monotonic() < until:
                pass

        with one, other:
            other.send(b"x")
            loop.add_reader(one, be_busy)
            assert await store.take([ONE]) == [Grant(1, 0, 0, True)]

    with_frozen(test)


def test_one_that_comes_back_is_asked_again_and_gets_back_what_it_granted_too_late() -> None:
    async def test(store: Remote, ours: socket.socket, desk: Desk, _clock: Clock) -> None:
        await away(store)
        await desk.serve(ours)  # reads what was asked while it was frozen
        while store._waiting.away_until:  # noqa: ASYNC110  # until the late answer is here
            await asyncio.sleep(0)
        (grant,) = await patient(store)
        assert grant.amount == 1

    with_frozen(test)


async def patient(store: Remote) -> list[Grant]:
    """Take the one slot; it is there only if the late grant was given back."""
    store._waiting.timeout_s = 30.0
    answer = await store.take([ONE])
    assert isinstance(answer, list)
    return answer


def test_what_is_granted_to_a_client_that_has_left_is_given_back() -> None:
    async def test(store: Remote, ours: socket.socket, desk: Desk, _clock: Clock) -> None:
        asking = asyncio.create_task(store.take([ONE]))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await desk.serve(ours)
        while store._waiting:  # noqa: ASYNC110  # for the answer that nobody waits for
            await asyncio.sleep(0)
        await patient(store)

    with_frozen(test, 30.0)


def test_what_is_granted_at_the_very_moment_a_client_leaves_is_given_back() -> None:
    async def test(store: Remote, ours: socket.socket, desk: Desk, _clock: Clock) -> None:
        asking = asyncio.create_task(store.take([ONE]))
        await asyncio.sleep(0)
        await desk.serve(ours)
        while store._waiting:  # noqa: ASYNC110  # the answer comes, and before the one who asked runs it is cancelled
            await asyncio.sleep(0)
        asking.cancel()
        result = await asyncio.gather(asking, return_exceptions=True)
        if isinstance(result[0], list):  # it was the quicker one
            store.give([Return(ONE.counter, 1, result[0][0].slot)])
        await patient(store)

    for _ in range(20):
        with_frozen(test, 30.0)


def test_one_that_has_gone_is_away_at_once() -> None:
    async def test(store: Remote, ours: socket.socket, _desk: Desk, _clock: Clock) -> None:
        asking = asyncio.create_task(away(store))
        await asyncio.sleep(0)
        ours.close()
        await asking
        await away(store)

    with_frozen(test, 30.0)


@pytest.mark.parametrize(
    "nonsense", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x04\x93\x01\xc0\xc0"]
)
def test_nonsense_ends_the_connection(nonsense: bytes) -> None:
    async def test(store: Remote, ours: socket.socket, _desk: Desk, _clock: Clock) -> None:
        ours.send(nonsense)
        await away(store)

    with_frozen(test, 30.0)


@pytest.mark.parametrize("nonsense", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x02\x92\xa1"])
def test_a_worker_that_talks_nonsense_is_cut_off(nonsense: bytes) -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        await Desk(Tally(Clock())).serve(ours)
        with theirs:
            theirs.send(nonsense)
            assert await heard(theirs) == b""

    uvloop.run(run())


def test_frames_may_come_in_pieces() -> None:
    async def test(store: Remote, ours: socket.socket, desk: Desk, _clock: Clock) -> None:
        asking = asyncio.create_task(store.take([ONE]))
        question = await heard(ours)
        there, here = socket.socketpair()
        here.setblocking(False)
        await desk.serve(there)
        loop = asyncio.get_running_loop()
        with here:
            for byte in question:
                await loop.sock_sendall(here, bytes([byte]))
                await asyncio.sleep(0)
            for byte in await heard(here):
                await loop.sock_sendall(ours, bytes([byte]))
                await asyncio.sleep(0)
        answer = await asking
        assert isinstance(answer, list)
        assert answer[0].amount == 1

    with_frozen(test, 30.0)
