"""What handlers may do, and what becomes of a connection whose handler fails."""

from __future__ import annotations

import asyncio
import logging

import pytest

from penstock.http.server import Request, Responder
from penstock.types.errors import ModelNotFound
from tests.http.serving import run, serving, soon, until

GET = b"GET /a/b?x=1&y HTTP/1.1\r\nHost: h\r\n\r\n"


def test_an_error_of_ours_is_rendered_and_the_connection_stays() -> None:
    async def missing(request: Request, responder: Responder) -> None:
        raise ModelNotFound("No such model.")

    async def case() -> None:
        async with serving(missing) as served, served.client() as client:
            for _ in range(2):
                answer = await client.ask(GET)
                assert (answer.headers["x-error"], answer.body) == ("ModelNotFound", b"No such model.")

    run(case)


@pytest.mark.parametrize("how", ["raise", "return", "cancel"])
def test_a_handler_that_fails_is_logged_and_answered(how: str, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(request: Request, responder: Responder) -> None:
        if how == "raise":
            raise KeyError("bug")
        if how == "cancel":
            raise asyncio.CancelledError

    async def case() -> None:
        async with serving(broken) as served, served.client() as client:
            await client.send(b"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer secret\r\n\r\n")
            if how == "cancel":
                assert await client.ended() == b""
            else:
                answer = await client.answer()
                assert (answer.status, answer.body) == (500, b"Internal error.")
                assert await client.ended() == b""
                assert "secret" not in caplog.text
                assert "a request handler failed" in caplog.text
        async with serving() as served, served.client() as client:
            assert (await client.ask(GET)).status == 200

    with caplog.at_level(logging.ERROR, "penstock.http"):
        run(case)


def test_a_handler_that_fails_within_its_answer_cuts_it() -> None:
    async def broken(request: Request, responder: Responder) -> None:
        responder.start(200, b"")
        await responder.write(b"part")
        raise KeyError("bug")

    async def case() -> None:
        async with serving(broken) as served, served.client() as client:
            await client.send(GET)
            assert (await client.ended()).endswith(b"\r\n\r\n4\r\npart\r\n")

    run(case)


def test_misused_responders_complain() -> None:
    complaints = []

    async def misuse(request: Request, responder: Responder) -> None:
        for call in (responder.write(b"x"), responder.end()):
            with pytest.raises(RuntimeError) as caught:
                await call
            complaints.append(caught)
        await responder.send(200, b"", b"fine")
        for call in (responder.send(200, b"", b""), responder.write(b"x"), responder.end()):
            with pytest.raises(RuntimeError) as caught:
                await call
            complaints.append(caught)
        with pytest.raises(RuntimeError):
            responder.start(200, b"")

    async def case() -> None:
        async with serving(misuse) as served, served.client() as client:
            assert (await client.ask(GET)).body == b"fine"
            assert (await client.ask(GET)).body == b"fine"

    run(case)
    assert len(complaints) == 10


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_an_aborted_answer_does_not_look_whole(version: bytes) -> None:
    went_on = asyncio.Event()

    async def cut(request: Request, responder: Responder) -> None:
        responder.start(200, b"")
        await responder.write(b"part")
        responder.abort()
        await asyncio.sleep(0.01)  # settling, say: the handler itself cut and is not cancelled
        went_on.set()

    async def case() -> None:
        async with serving(cut) as served, served.client() as client:
            await client.send(b"GET / HTTP/%b\r\nHost: h\r\n\r\n" % version)
            if version == b"1.0":
                with pytest.raises(ConnectionResetError):
                    await client.ended()
            else:
                assert not (await client.ended()).endswith(b"0\r\n\r\n")
            await soon(went_on.wait())

    run(case)


def test_a_connection_can_be_taken_over() -> None:
    async def take(request: Request, responder: Responder) -> None:
        transport = responder.take_over()
        transport.write(b"my own words")
        transport.close()

    async def case() -> None:
        async with serving(take) as served, served.client() as client:
            await client.send(GET + GET)
            assert await client.ended() == b"my own words"
            await until(lambda: served.server.connections == 0)

    run(case)


def test_a_taken_connection_with_its_own_protocol() -> None:
    heard = asyncio.Event()

    class Upper(asyncio.Protocol):
        def __init__(self, transport: asyncio.Transport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data.upper())

        def connection_lost(self, exc: Exception | None) -> None:
            heard.set()

    async def take(request: Request, responder: Responder) -> None:
        transport = responder.take_over()
        transport.set_protocol(Upper(transport))
        transport.write(b"go")

    async def case() -> None:
        async with serving(take) as served:
            async with served.client() as client:
                await client.send(GET)
                assert await soon(client.reader.readexactly(2)) == b"go"
                await client.send(b"hello")
                assert await soon(client.reader.readexactly(5)) == b"HELLO"
                assert served.server.connections == 1
            await soon(heard.wait())
            served.server.sweep()
            await until(lambda: served.server.connections == 0)

    run(case)


def test_the_handler_of_a_taken_connection_is_cancelled_when_the_peer_leaves() -> None:
    taken, cancelled = asyncio.Event(), asyncio.Event()

    async def take(request: Request, responder: Responder) -> None:
        responder.take_over()
        taken.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def case() -> None:
        async with serving(take) as served:
            async with served.client() as client:
                await client.send(GET)
                await soon(taken.wait())
            await soon(cancelled.wait())

    run(case)
