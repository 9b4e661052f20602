"""Slow clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from penstock.http.limits import Limits
from penstock.http.server import Request, Responder
from tests.http.serving import Clock, Served, Waiting, echo, run, serving, soon, until

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
P = b"POST / HTTP/1.1\r\nHost: h\r\n"


def _pass(served: Served, clock: Clock, seconds: float) -> None:
    clock.now += seconds
    served.server.sweep()


def test_a_slow_head_is_cut_off() -> None:
    clock = Clock()

    async def case() -> None:
        async with serving(clock=clock) as served, served.client() as client:
            assert (await client.ask(GET)).status == 200
            _pass(served, clock, 60)
            await client.send(GET[:5])
            await until(lambda: clock.now > 0 and served.server.connections == 1)
            await _one_a_second(served, clock, client.writer, b"GET / HTTP/1.1\r\n")
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert await client.ended() == b""

    async def _one_a_second(served: Served, clock: Clock, writer: asyncio.StreamWriter, data: bytes) -> None:
        for at in range(5, 16):
            writer.write(data[at : at + 1])
            for _ in range(5):
                await asyncio.sleep(0)
            _pass(served, clock, 1)

    run(case)


def test_a_connection_that_never_speaks_is_closed() -> None:
    clock = Clock()

    async def case() -> None:
        async with serving(clock=clock) as served, served.client() as client:
            await until(lambda: served.server.connections == 1)
            _pass(served, clock, 9.9)
            assert served.server.connections == 1
            _pass(served, clock, 0.2)
            assert await client.ended() == b""
            await until(lambda: served.server.connections == 0)

    run(case)


def test_an_idle_connection_is_closed() -> None:
    clock = Clock()

    async def case() -> None:
        async with serving(clock=clock) as served, served.client() as client:
            for _ in range(2):
                assert (await client.ask(GET)).status == 200
                _pass(served, clock, 74)
            assert (await client.ask(GET)).status == 200
            _pass(served, clock, 76)
            assert await client.ended() == b""

    run(case)


def test_a_request_in_progress_is_not_idle() -> None:
    clock = Clock()

    async def case() -> None:
        waiting = Waiting()
        async with serving(waiting, clock=clock) as served, served.client() as client:
            await client.send(GET)
            await soon(waiting.begun.wait())
            _pass(served, clock, 3600)
            waiting.release.set()
            assert (await client.answer()).body == b"done"
            _pass(served, clock, 74)
            assert (await client.ask(GET)).status == 200

    run(case)


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 1000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nfffff\r\n"]
)
def test_a_slow_body_is_cut_off(framing: bytes) -> None:
    """30 s and one more for each 4096 bytes."""
    clock = Clock()

    async def case() -> None:
        async with serving(clock=clock) as served, served.client() as client:
            await client.send(P + framing + b"x" * 40_960)
            await until(lambda: served.server.active == 1)
            for _ in range(20):
                await asyncio.sleep(0.001)
            _pass(served, clock, 39)
            for _ in range(5):
                await asyncio.sleep(0)
            assert served.server.active == 1
            _pass(served, clock, 2)
            answer = await client.answer()
            assert (answer.status, answer.headers["x-error"]) == (408, "RequestTimedOut")
            assert await client.ended() == b""

    run(case)


def test_a_body_nobody_asks_for_has_time() -> None:
    clock = Clock()

    async def case() -> None:
        waiting = Waiting()

        async def later(request: Request, responder: Responder) -> None:
            waiting.begun.set()
            await waiting.release.wait()
            await echo(request, responder)

        async with serving(later, clock=clock) as served, served.client() as client:
            await client.send(P + b"Transfer-Encoding: chunked\r\n\r\n3\r\na")
            await soon(waiting.begun.wait())
            _pass(served, clock, 3600)
            waiting.release.set()
            assert (await client.ask(b"bc\r\n0\r\n\r\n")).body == b"POST /? abc"

    run(case)


def test_a_peer_that_takes_nothing_is_cut() -> None:
    clock = Clock()
    written = 0
    ended = asyncio.Event()

    async def endless(request: Request, responder: Responder) -> None:
        nonlocal written
        responder.start(200, b"")
        try:
            while True:
                await responder.write(b"x" * 10_000)
                written += 10_000
        finally:
            ended.set()

    async def case() -> None:
        async with serving(endless, clock=clock) as served:
            with await served.raw() as sock:
                await asyncio.get_running_loop().sock_sendall(sock, GET)
                await _stops(lambda: written)
                assert written < 20_000_000  # what the kernel holds, and write_high
                served.server.sweep()
                _pass(served, clock, 29)
                for _ in range(3):  # a peer that takes something is only slow
                    taken = written
                    while written == taken:
                        assert await soon(asyncio.get_running_loop().sock_recv(sock, 1_000_000))
                    await _stops(lambda: written)
                    _pass(served, clock, 29)
                assert not ended.is_set()
                served.server.sweep()
                _pass(served, clock, 31)
                await soon(ended.wait())
                await until(lambda: served.server.connections == 0)

    async def _stops(count: Callable[[], int]) -> None:
        last, same = -1, 0
        while same < 10:
            await asyncio.sleep(0.002)
            same = same + 1 if count() == last else 0
            last = count()

    run(case)


def test_a_finished_answer_that_is_not_taken_is_cut_too() -> None:
    clock = Clock()

    async def large(request: Request, responder: Responder) -> None:
        await responder.send(200, b"connection-note: last\r\n", b"x" * 20_000_000)

    async def case() -> None:
        async with serving(large, clock=clock, limits=Limits(write_high=64 * 1024 * 1024)) as served:
            with await served.raw() as sock:
                await asyncio.get_running_loop().sock_sendall(
                    sock, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
                )
                await until(lambda: served.server.connections == 1)
                await until(lambda: served.server.active == 0)
                served.server.sweep()
                _pass(served, clock, 31)
                await until(lambda: served.server.connections == 0)

    run(case)


def test_the_timer_enforces_limits_by_itself() -> None:
    async def case() -> None:
        async with serving(limits=Limits(head_s=0.1)) as served, served.client() as client:
            await client.send(GET[:10])
            assert (await client.answer()).status == 408

    run(case)
