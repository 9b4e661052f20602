"""Request bodies: how they are framed, limited, waited for and left unread."""

from __future__ import annotations

import asyncio

import pytest

from penstock.http.limits import Limits
from penstock.http.server import Request, Responder
from penstock.types.errors import BodyTooLarge, InvalidRequest
from tests.http.serving import Clock, echo, run, serving, soon, until

P = b"POST / HTTP/1.1\r\nHost: h\r\n"
C = P + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def test_a_large_body_works() -> None:
    body = bytes(range(256)) * 80_000  # 20 MB
    lengths = []

    async def measure(request: Request, responder: Responder) -> None:
        received = await request.body()
        assert received == body
        lengths.append(len(received))
        await responder.send(200, b"", b"")

    async def case() -> None:
        async with serving(measure) as served, served.client() as client:
            assert (await client.ask(P + b"Content-Length: %d\r\n\r\n" % len(body) + body)).status == 200
            await client.send(C)
            for at in range(0, len(body), 1_000_000):
                piece = body[at : at + 1_000_000]
                await client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            assert (await client.ask(b"0\r\n\r\n")).status == 200

    run(case)
    assert lengths == [20_480_000] * 2


def test_a_length_over_the_limit_is_refused_before_it_is_read() -> None:
    async def case() -> None:
        async with serving(limits=Limits(max_body=1000)) as served:
            async with served.client() as client:
                assert (await client.ask(P + b"Content-Length: 1000\r\n\r\n" + b"x" * 1000)).status == 200
            for length in (b"1001", b"9" * 18, b"0" * 30 + b"9999"):
                async with served.client() as client:
                    answer = await client.ask(P + b"Content-Length: %b\r\n\r\n" % length)
                    assert (answer.status, answer.headers["connection"]) == (413, "close")
                    assert await client.ended() == b""

    run(case)


def test_the_answer_to_an_upload_that_is_too_large_arrives() -> None:
    """The client sends all of it before it reads; closing at once would reset the connection under it."""

    async def case() -> None:
        async with serving(limits=Limits(max_body=1000)) as served:
            for _ in range(5):
                async with served.client() as client:
                    answer = await client.ask(P + b"Content-Length: 3000000\r\n\r\n" + b"x" * 3_000_000)
                    assert answer.status == 413
                    assert await client.ended() == b""

    run(case)


def test_a_chunked_body_over_the_limit() -> None:
    async def case() -> None:
        async with serving(limits=Limits(max_body=1000)) as served:
            async with served.client() as client:
                assert (await client.ask(C + b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n")).status == 200
            async with served.client() as client:
                answer = await client.ask(C + b"3e7\r\n" + b"x" * 999 + b"\r\n2\r\n")
                assert (answer.status, answer.headers["x-error"]) == (413, BodyTooLarge.__name__)
                assert await client.ended() == b""

    run(case)


BROKEN_CHUNKS = {
    "no size": b"\r\nabc\r\n",
    "not a number": b"xyz\r\nabc\r\n",
    "hexadecimal prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "negative": b"-3\r\nabc\r\n",
    "signed": b"+3\r\nabc\r\n",
    "space before": b" 3\r\nabc\r\n",
    "underscore": b"1_0\r\nabc\r\n",
    "junk behind": b"3 x\r\nabc\r\n",
    "overflow": b"1" + b"0" * 16 + b"\r\nabc\r\n",
    "many zeros": b"0" * 600 + b"3\r\nabc\r\n",
    "bare LF after the size": b"3\nabc\r\n0\r\n\r\n",
    "bare CR after the size": b"3\rabc\r\n",
    "bare LF after the data": b"3\r\nabc\n0\r\n\r\n",
    "no end of the chunk": b"3\r\nabc0\r\n\r\n",
    "longer than its size": b"3\r\nabcd\r\n0\r\n\r\n",
    "a long extension": b"3;" + b"x" * 600 + b"\r\nabc\r\n",
    "control character in an extension": b"3;a\x01\r\nabc\r\n",
    "CR in an extension": b"3;a\rb\r\nabc\r\n",
    "extensions that add up": (b"1;" + b"x" * 400 + b"\r\na\r\n") * 50,
    "bare LF at the end": b"3\r\nabc\r\n0\r\n\n",
    "a trailer without colon": b"0\r\nTrailer\r\n\r\n",
    "a folded trailer": b"0\r\nT: 1\r\n 2\r\n\r\n",
    "a trailer with NUL": b"0\r\nT: \x00\r\n\r\n",
    "long trailers": b"0\r\n" + b"T: 1\r\n" * 10_000 + b"\r\n",
    "one long trailer": b"0\r\nT: " + b"1" * 40_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", BROKEN_CHUNKS)
def test_broken_chunks_are_refused(name: str) -> None:
    async def case() -> None:
        async with serving() as served, served.client() as client:
            broken = BROKEN_CHUNKS[name]
            end = b"" if broken.endswith((b"\r\n\r\n", b"\n\n")) else b"0\r\n\r\n"  # nothing else is wrong with it
            answer = await client.ask(C + broken + end + GET)
            assert (answer.status, answer.headers["x-error"]) == (400, InvalidRequest.__name__)
            assert answer.headers["connection"] == "close"
            assert await client.ended() == b""

    run(case)


def test_trailers_are_dropped() -> None:
    async def case() -> None:
        async with serving() as served, served.client() as client:
            answer = await client.ask(C + b'1;ext\r\na\r\n0;ext="x"\r\nX-Sum: 7\r\nAuthorization: evil\r\n\r\n' + GET)
            assert answer.body == b"POST /? a"
            assert (await client.answer()).body == b"GET /? "

    run(case)


@pytest.mark.parametrize("trailer", [b"Content-Length: 7", b"Host: evil", b"Transfer-Encoding: chunked"])
def test_a_trailer_that_would_frame_or_route_is_refused(trailer: bytes) -> None:
    async def case() -> None:
        async with serving() as served, served.client() as client:
            answer = await client.ask(C + b"1\r\na\r\n0\r\n" + trailer + b"\r\n\r\n" + GET)
            assert answer.status == 400
            assert await client.ended() == b""  # the request behind it is not served

    run(case)


def test_continue_is_sent_when_the_body_is_wanted() -> None:
    asked, release = asyncio.Event(), asyncio.Event()

    async def wait(request: Request, responder: Responder) -> None:
        asked.set()
        await release.wait()
        await echo(request, responder)

    async def case() -> None:
        async with serving(wait) as served, served.client() as client:
            await client.send(P + b"Content-Length: 3\r\nExpect: 100-Continue\r\n\r\n")
            await soon(asked.wait())
            assert not client.reader._buffer  # type: ignore[attr-defined]  # nothing may have come yet
            release.set()
            assert (await client.answer()).status == 100
            assert (await client.ask(b"abc")).body == b"POST /? abc"
            # one that does not wait needs none
            answer = await client.ask(P + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc")
            assert answer.status == 200
            # nor one of HTTP/1.0
            await client.send(b"POST / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
            assert (await client.ask(b"abc")).status == 200

    run(case)


async def _unread(request: Request, responder: Responder) -> None:
    if request.path == "/take":
        await request.body()
    await responder.send(401, b"", b"no")


def test_an_unread_body_that_is_here_does_not_end_the_connection() -> None:
    async def case() -> None:
        async with serving(_unread) as served, served.client() as client:
            for _ in range(3):
                answer = await client.ask(P + b"Content-Length: 3\r\n\r\nabc")
                assert "connection" not in answer.headers
                # nor does a small one that comes right behind the head, as many clients send it
                await client.send(P + b"Content-Length: 60000\r\n\r\n")
                await asyncio.sleep(0.01)
                assert served.server.active == 1
                answer = await client.ask(b"x" * 60_000)
                assert "connection" not in answer.headers

    run(case)


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
def test_an_answer_before_the_body_ends_the_connection(expect: bytes) -> None:
    async def case() -> None:
        async with serving(_unread) as served, served.client() as client:
            answer = await client.ask(P + b"Content-Length: 3000000\r\n" + expect + b"\r\n")
            assert (answer.status, answer.headers["connection"]) == (401, "close")
            await client.send(b"x" * 3_000_000)  # is read and dropped, so that this is not a reset
            assert await client.ended() == b""

    run(case)


def test_lingering_is_short() -> None:
    clock = Clock()

    async def case() -> None:
        async with serving(_unread, clock=clock) as served, served.client() as client:
            assert (await client.ask(P + b"Content-Length: 3000000\r\n\r\nx")).status == 401
            assert await client.ended() == b""
            assert served.server.connections == 1  # for a client that still writes
            clock.now += 3
            served.server.sweep()
            await until(lambda: served.server.connections == 0)

    run(case)


def test_a_body_nobody_has_asked_for_is_held_back() -> None:
    asked, release = asyncio.Event(), asyncio.Event()

    async def wait(request: Request, responder: Responder) -> None:
        asked.set()
        await release.wait()
        await echo(request, responder)

    async def case() -> None:
        async with serving(wait) as served:
            sock = await served.raw()
            loop = asyncio.get_running_loop()
            with sock:
                await loop.sock_sendall(sock, P + b"Content-Length: 20000000\r\n\r\n")
                await soon(asked.wait())
                sent = 0
                block = b"x" * 100_000
                full = 0
                while full < 20:  # the kernel's buffers fill up, the server's does not
                    try:
                        sent += sock.send(block)
                        full = 0
                    except BlockingIOError:
                        full += 1
                        await asyncio.sleep(0.005)
                assert sent < 15_000_000
                release.set()
                await soon(loop.sock_sendall(sock, b"x" * (20_000_000 - sent)))
                assert (await soon(loop.sock_recv(sock, 100))).startswith(b"HTTP/1.1 200 ")

    run(case)


def test_reading_twice_gives_the_same() -> None:
    async def twice(request: Request, responder: Responder) -> None:
        assert await request.body() is await request.body()
        await echo(request, responder)

    async def case() -> None:
        async with serving(twice) as served, served.client() as client:
            assert (await client.ask(C + b"1\r\na\r\n0\r\n\r\n")).body == b"POST /? a"
            assert (await client.ask(P + b"Content-Length: 1\r\n\r\nb")).body == b"POST /? b"

    run(case)


def test_a_handler_may_give_up_waiting_for_the_body() -> None:
    async def impatient(request: Request, responder: Responder) -> None:
        try:
            async with asyncio.timeout(0.01):
                await request.body()
        except TimeoutError:
            await responder.send(408, b"", b"too slow for me")

    async def case() -> None:
        async with serving(impatient) as served, served.client() as client:
            answer = await client.ask(C + b"3\r\na")
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            await client.send(b"bc\r\n")
            assert await client.ended() == b""

    run(case)
