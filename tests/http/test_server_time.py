"""Slow clients, clients that leave, and a server that stops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from penstock.http.limits import Limits
from penstock.http.server import Request, Responder
from tests.http.serving import Clock, Served, echo, run, serving, soon, until

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
P = b"POST / HTTP/1.1\r\nHost: h\r\n"


class Waiting:
    """A handler that waits until the test lets it go, and says how it ended."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, request: Request, responder: Responder) -> None:
        self.begun.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        await responder.send(200, b"", b"done")


def _pass(served: Served, clock: Clock, seconds: float) -> None:
    clock.now += seconds
    served.server.sweep()


# Slow clients


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


async def _endless(request: Request, responder: Responder) -> None:
    responder.start(200, b"")
    while True:
        await responder.write(b"x" * 10_000)


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


# Clients that leave


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
def test_a_client_that_leaves_cancels_the_handler(how: str) -> None:
    async def case() -> None:
        waiting = Waiting()
        async with serving(waiting) as served:
            sock = await served.raw()
            with sock:
                await asyncio.get_running_loop().sock_sendall(sock, GET)
                await soon(waiting.begun.wait())
                _leave(sock, how)
                await soon(waiting.cancelled.wait())
                await until(lambda: served.server.connections == 0)

    run(case)


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
@pytest.mark.parametrize("kind", ["pipelined", "body"])
def test_a_client_that_leaves_behind_unread_bytes_is_noticed(how: str, kind: str) -> None:
    """Reading has stopped at the bound, so only the kernel knows."""

    async def case() -> None:
        waiting = Waiting()
        async with serving(waiting, limits=Limits(read_ahead=1000)) as served:
            sock = await served.raw()
            with sock:
                loop = asyncio.get_running_loop()
                if kind == "pipelined":
                    await loop.sock_sendall(sock, GET)
                else:
                    await loop.sock_sendall(sock, P + b"Content-Length: 9000000\r\n\r\n")
                await soon(waiting.begun.wait())
                for _ in range(20):  # the first read takes it over the bound, the others stay in the kernel
                    await loop.sock_sendall(sock, GET * 100)
                    await asyncio.sleep(0.001)
                served.server.sweep()
                assert not waiting.cancelled.is_set()
                _leave(sock, how)
                for _ in range(2):
                    await asyncio.sleep(0.01)
                    served.server.sweep()
                await soon(waiting.cancelled.wait())
                await until(lambda: served.server.connections == 0)

    run(case)


def test_read_ahead_is_bounded() -> None:
    async def case() -> None:
        waiting = Waiting()
        async with serving(waiting) as served:
            with await served.raw() as sock:
                await asyncio.get_running_loop().sock_sendall(sock, GET)
                await soon(waiting.begun.wait())
                sent = full = 0
                while full < 20 and sent < 30_000_000:
                    try:
                        sent += sock.send(GET * 1000)
                        full = 0
                    except BlockingIOError:
                        full += 1
                        await asyncio.sleep(0.005)
                assert sent < 15_000_000  # what the kernel holds

    run(case)


def _leave(sock: socket.socket, how: str) -> None:
    if how == "half-close":
        sock.shutdown(socket.SHUT_WR)
    else:
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()


def test_a_client_that_leaves_while_a_unix_socket_is_held_back() -> None:
    async def case() -> None:
        waiting = Waiting()
        async with serving(waiting, limits=Limits(read_ahead=1000), unix=True) as served:
            async with served.client() as client:
                await client.send(GET)
                await soon(waiting.begun.wait())
                await client.send(GET * 1000)
                await asyncio.sleep(0.01)
            for _ in range(2):
                await asyncio.sleep(0.01)
                served.server.sweep()
            await soon(waiting.cancelled.wait())

    run(case)


def test_a_client_that_leaves_within_the_answer_cancels_it() -> None:
    ended = asyncio.Event()

    async def endless(request: Request, responder: Responder) -> None:
        try:
            await _endless(request, responder)
        finally:
            ended.set()

    async def case() -> None:
        async with serving(endless) as served:
            async with served.client() as client:
                await client.send(GET)
                await soon(client.reader.readexactly(100_000))
            await soon(ended.wait())
            await until(lambda: served.server.connections == 0)

    run(case)


def test_a_client_that_leaves_within_its_body_cancels_the_handler() -> None:
    ended: list[type[BaseException]] = []

    async def read(request: Request, responder: Responder) -> None:
        try:
            await request.body()
        except BaseException as error:
            ended.append(type(error))
            raise

    async def case() -> None:
        async with serving(read) as served:
            async with served.client() as client:
                await client.send(P + b"Transfer-Encoding: chunked\r\n\r\n3\r\na")
                await until(lambda: served.server.active == 1)
                await asyncio.sleep(0.01)
            await until(lambda: bool(ended))

    run(case)
    assert ended == [asyncio.CancelledError]


def test_what_a_cancelled_handler_does_to_its_answer_is_harmless() -> None:
    done = asyncio.Event()

    async def stubborn(request: Request, responder: Responder) -> None:
        responder.start(200, b"")
        try:
            await asyncio.Event().wait()
        finally:
            await responder.write(b"anybody there?")
            await responder.end()
            with pytest.raises(ConnectionResetError):
                responder.take_over()
            done.set()

    async def case() -> None:
        async with serving(stubborn) as served:
            async with served.client() as client:
                await client.send(GET)
                await soon(client.reader.readuntil(b"\r\n\r\n"))
            await soon(done.wait())
            await until(lambda: served.server.connections == 0)

    run(case)


# Draining


def test_draining_lets_answers_end_and_closes_the_rest() -> None:
    async def case() -> None:
        waiting = Waiting()
        async with serving(waiting) as served, served.client() as idle, served.client() as busy:
            await busy.send(GET)
            await soon(waiting.begun.wait())
            await until(lambda: served.server.connections == 2)
            draining = asyncio.create_task(served.server.drain(20))
            assert await idle.ended() == b""
            with pytest.raises(ConnectionRefusedError):
                await served.raw()
            assert not draining.done()
            waiting.release.set()
            answer = await busy.answer()
            assert (answer.body, answer.headers["connection"]) == (b"done", "close")
            assert await busy.ended() == b""
            assert await soon(draining) == 0
            assert served.server.connections == 0

    run(case)


def test_draining_cuts_what_does_not_end() -> None:
    async def case() -> None:
        waiting = Waiting()
        async with serving(waiting) as served, served.client() as idle, served.client() as busy:
            await busy.send(GET)
            await soon(waiting.begun.wait())
            await until(lambda: served.server.connections == 2)
            assert await served.server.drain(0.05) == 1
            assert waiting.cancelled.is_set()
            assert (await idle.ended(), await busy.ended()) == (b"", b"")

    run(case)


def test_draining_waits_for_handlers_to_clean_up() -> None:
    cleaned = asyncio.Event()
    begun = asyncio.Event()

    async def careful(request: Request, responder: Responder) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            cleaned.set()

    async def case() -> None:
        async with serving(careful) as served, served.client() as client:
            await client.send(GET)
            await soon(begun.wait())
            assert await served.server.drain(0) == 1
            assert cleaned.is_set()

    run(case)


def test_a_request_that_is_coming_in_is_answered_while_draining() -> None:
    async def case() -> None:
        async with serving() as served, served.client() as client:
            await client.send(GET[:10])
            await until(lambda: served.server.connections == 1)
            await asyncio.sleep(0.01)
            draining = asyncio.create_task(served.server.drain(20))
            await asyncio.sleep(0.01)
            answer = await client.ask(GET[10:])
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await soon(draining) == 0

    run(case)


def test_the_timer_enforces_limits_by_itself() -> None:
    async def case() -> None:
        async with serving(limits=Limits(head_s=0.1)) as served, served.client() as client:
            await client.send(GET[:10])
            assert (await client.answer()).status == 408

    run(case)
