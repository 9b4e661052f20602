"""Clients that leave, and a server that stops."""

from __future__ import annotations

import asyncio
import socket

import pytest

from penstock.http.limits import Limits
from penstock.http.server import Request, Responder
from tests.http.serving import Waiting, run, serving, soon, until

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
P = b"POST / HTTP/1.1\r\nHost: h\r\n"


async def _endless(request: Request, responder: Responder) -> None:
    responder.start(200, b"")
    while True:
        await responder.write(b"x" * 10_000)


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


def test_requests_that_stay_held_back_are_dropped_so_that_the_clients_end_can_arrive() -> None:
    """The end comes behind them, so as long as the kernel's buffers are full of them nobody could know of it."""

    async def case() -> None:
        waiting = Waiting()
        async with serving(waiting) as served:
            sock = await served.raw()
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, GET)
            await soon(waiting.begun.wait())
            full = 0
            while full < 20:
                try:
                    sock.send(GET * 1000)
                    full = 0
                except BlockingIOError:
                    full += 1
                    await asyncio.sleep(0.005)
            sock.close()  # its end stays with the client's own kernel
            await soon(waiting.cancelled.wait())
            await until(lambda: served.server.connections == 0)

    run(case)


def test_what_is_dropped_was_not_served_and_the_client_knows() -> None:
    async def case() -> None:
        waiting = Waiting()
        async with serving(waiting, limits=Limits(read_ahead=1000)) as served, served.client() as client:
            await client.send(GET)
            await soon(waiting.begun.wait())
            await client.send(GET * 100)
            await until(lambda: all(connection.blind for connection in served.server._connections))
            for _ in range(2):
                served.server.sweep()
            waiting.release.set()
            answer = await client.answer()
            assert (answer.body, answer.headers["connection"]) == (b"done", "close")
            assert await client.ended() == b""

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


def test_a_handler_that_is_cut_may_say_a_last_word() -> None:
    begun = asyncio.Event()

    async def talkative(request: Request, responder: Responder) -> None:
        responder.start(200, b"")
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await responder.write(b"goodbye")
            await responder.end()
            raise

    async def case() -> None:
        async with serving(talkative) as served, served.client() as client:
            await client.send(GET)
            await soon(begun.wait())
            assert await served.server.drain(0) == 1
            assert (await client.answer()).body == b"goodbye"
            assert await client.ended() == b""

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


def test_idle_connections_may_rest_while_draining() -> None:
    """The next request of a client that has an idle connection may be under way."""

    async def case() -> None:
        async with serving() as served, served.client() as late, served.client() as idle:
            for client in (late, idle):
                await client.ask(GET)
            draining = asyncio.create_task(served.server.drain(20, 19.0))
            await asyncio.sleep(0.01)
            answer = await late.ask(GET)
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await late.ended() == b""
            assert not draining.done()
            await idle.send(GET)
            assert (await idle.answer()).status == 200
            assert await soon(draining) == 0

    run(case)


def test_idle_connections_are_closed_when_they_have_rested() -> None:
    async def case() -> None:
        async with serving() as served, served.client() as idle:
            await idle.ask(GET)
            assert await served.server.drain(20, 0.02) == 0
            assert await idle.ended() == b""

    run(case)
