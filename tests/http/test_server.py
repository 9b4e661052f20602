"""Requests and answers over real sockets."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import time

import pytest

from penstock.http.connection import Connection
from penstock.http.limits import Limits
from penstock.http.request_body import RequestBody
from penstock.http.request_head import HeadParser
from penstock.http.server import Refusal, Request, Responder
from penstock.types.errors import NoCapacity
from tests.http.serving import echo, refuse, run, serving, until

GET = b"GET /a/b?x=1&y HTTP/1.1\r\nHost: h\r\n\r\n"


def post(body: bytes, extra: bytes = b"") -> bytes:
    return b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), extra, body)


def test_answers_and_keeps_the_connection() -> None:
    async def case() -> None:
        async with serving() as served, served.client() as client:
            for number in range(3):
                answer = await client.ask(GET)
                assert (answer.status, answer.body) == (200, b"GET /a/b?x=1&y ")
                assert answer.headers["content-type"] == "text/plain"
                assert answer.headers["date"].endswith(" GMT")
                assert "connection" not in answer.headers
                answer = await client.ask(post(b"body %d" % number))
                assert answer.body == b"POST /p? body %d" % number
            assert served.server.connections == 1

    run(case)


def test_serves_on_the_standard_loop_too() -> None:
    async def case() -> None:
        async with serving() as served, served.client() as client:
            assert (await client.ask(post(b"x" * 300_000))).body == b"POST /p? " + b"x" * 300_000
            assert (await client.ask(GET)).status == 200
            await client.send(b"nonsense\n")
            assert (await client.answer()).status == 400
            assert await client.ended() == b""

    asyncio.run(case())


def test_the_request_says_what_was_sent() -> None:
    seen: list[Request] = []

    async def keep(request: Request, responder: Responder) -> None:
        seen.append(request)
        await responder.send(204, b"", b"")

    async def case() -> None:
        before = time.monotonic()
        async with serving(keep) as served, served.client() as client:
            await client.ask(
                b"DELETE /v1/%41?q=%20 HTTP/1.1\r\nHOST: h\r\nX-Two: 1 \t\r\nx-two:2\r\nX-Empty:\r\nX-Raw: \xff\r\n\r\n"
            )
            after = time.monotonic()
        async with serving(keep, unix=True, local=True) as served, served.client() as client:
            await client.ask(GET)
        first, second = seen
        assert (first.method, first.path, first.query) == ("DELETE", "/v1/%41", "q=%20")
        assert first.headers == {b"host": b"h", b"x-two": b"1, 2", b"x-empty": b"", b"x-raw": b"\xff"}
        assert (first.peer, first.local) == ("127.0.0.1", False)
        assert before <= first.received <= after
        assert (second.peer, second.local) == ("", True)

    run(case)


def test_pipelined_requests_are_answered_in_order() -> None:
    async def slow_first(request: Request, responder: Responder) -> None:
        if request.path == "/0":
            await asyncio.sleep(0.05)
        await echo(request, responder)

    async def case() -> None:
        async with serving(slow_first) as served, served.client() as client:
            many = [b"POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" % number for number in range(200)]
            await client.send(b"".join(many))
            for number in range(200):
                assert (await client.answer()).body == b"POST /%d? abc" % number

    run(case)


def test_pipelining_beyond_the_read_ahead() -> None:
    async def case() -> None:
        async with serving(limits=Limits(read_ahead=1000)) as served, served.client() as client:
            chunked = b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            sending = asyncio.create_task(client.send((post(b"y" * 3000) + chunked + GET) * 100))
            for _ in range(100):
                assert (await client.answer()).body == b"POST /p? " + b"y" * 3000
                assert (await client.answer()).body == b"POST /c? abc"
                assert (await client.answer()).body == b"GET /a/b?x=1&y "
            await sending

    run(case)


def test_many_small_pipelined_requests_beyond_the_read_ahead() -> None:
    async def case() -> None:
        async with serving(limits=Limits(read_ahead=100)) as served, served.client() as client:
            sending = asyncio.create_task(client.send(GET * 20_000))
            for _ in range(20_000):
                assert (await client.answer()).status == 200
            await sending

    run(case)


def test_a_client_that_sends_many_requests_at_once_takes_turns() -> None:
    served_at_turn = [0]

    async def count(request: Request, responder: Responder) -> None:
        served_at_turn[-1] += 1
        await responder.send(204, b"", b"")

    async def turns() -> None:
        while True:
            await asyncio.sleep(0)
            served_at_turn.append(0)

    async def case() -> None:
        async with serving(count) as served, served.client() as client:
            others = asyncio.create_task(turns())
            await client.send(GET * 100)
            for _ in range(100):
                assert (await client.answer()).status == 204
            others.cancel()

    run(case)
    assert sum(served_at_turn) == 100
    assert max(served_at_turn) <= 2


def test_a_slow_handler_holds_no_other_connection() -> None:
    release = asyncio.Event()

    async def wait(request: Request, responder: Responder) -> None:
        if request.path == "/wait":
            await release.wait()
        await echo(request, responder)

    async def case() -> None:
        async with serving(wait) as served, served.client() as first, served.client() as second:
            await first.send(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await second.ask(GET)).status == 200
            await until(lambda: (served.server.connections, served.server.active) == (2, 1))
            release.set()
            assert (await first.answer()).status == 200

    run(case)


async def _stream(request: Request, responder: Responder) -> None:
    responder.start(200, b"content-type: text/event-stream\r\n")
    for piece in (b"one", b"", b"two" * 10, b"x" * 100_000):
        await responder.write(piece)
    await responder.end()


def test_a_chunked_answer() -> None:
    async def case() -> None:
        async with serving(_stream) as served, served.client() as client:
            for _ in range(2):
                answer = await client.ask(GET)
                assert answer.headers["transfer-encoding"] == "chunked"
                assert answer.chunks == [b"one", b"two" * 10, b"x" * 100_000]

    run(case)


def test_http_1_0_gets_no_chunks_and_an_end() -> None:
    async def case() -> None:
        async with serving(_stream) as served, served.client() as client:
            answer = await client.ask(b"GET / HTTP/1.0\r\n\r\n")
            assert "transfer-encoding" not in answer.headers
            assert answer.headers["connection"] == "close"
            assert answer.body == b"one" + b"two" * 10 + b"x" * 100_000
        async with serving() as served, served.client() as client:
            answer = await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert answer.headers["connection"] == "close"
            assert await client.ended() == b""

    run(case)


@pytest.mark.parametrize("value", [b"close", b"Close", b"keep-alive, close", b"te , CLOSE"])
def test_connection_close_is_honoured(value: bytes) -> None:
    async def case() -> None:
        async with serving() as served, served.client() as client:
            answer = await client.ask(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: %b\r\n\r\n" % value)
            assert answer.headers["connection"] == "close"
            assert await client.ended() == b""

    run(case)


def test_head_and_bodiless_statuses_have_no_body() -> None:
    async def bodiless(request: Request, responder: Responder) -> None:
        if request.path == "/stream":
            await _stream(request, responder)
        else:
            await responder.send(int(request.path[1:]), b"", b"some body")

    async def case() -> None:
        async with serving(bodiless) as served, served.client() as client:
            for path in (b"200", b"stream", b"200"):
                await client.send(b"HEAD /%b HTTP/1.1\r\nHost: h\r\n\r\n" % path)
                answer = await client.answer(head_only=True)
                assert answer.headers.get("content-length", "9") == "9"
            for status in (204, 304, 200):
                await client.send(b"GET /%d HTTP/1.1\r\nHost: h\r\n\r\n" % status)
                answer = await client.answer()
                assert answer.status == status
                assert ("content-length" in answer.headers) == (status == 200)

    run(case)


@pytest.mark.parametrize(
    "upgrade",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    ],
)
def test_an_upgrade_is_served_as_a_plain_request(upgrade: bytes) -> None:
    async def case() -> None:
        async with serving() as served, served.client() as client:
            for _ in range(2):
                assert (await client.ask(post(b"abc", upgrade))).body == b"POST /p? abc"
                assert (await client.ask(GET)).status == 200

    run(case)


@pytest.mark.parametrize("line", [b"x-user: admin\r\nx: ", b"Transfer-Encoding: chu"])
def test_the_body_of_an_upgrade_is_no_part_of_the_next_head(line: bytes) -> None:
    body = b"GET /x HTTP/1.1\r\n" + line
    seen: list[dict[bytes, bytes]] = []

    async def keep(request: Request, responder: Responder) -> None:
        seen.append(request.headers)
        await responder.send(200, b"", await request.body())

    async def case() -> None:
        async with serving(keep) as served, served.client() as client:
            assert (await client.ask(post(body, b"Connection: Upgrade\r\nUpgrade: x\r\n"))).body == body
            for _ in range(3):
                assert (await client.ask(post(b"abc"))).body == b"abc"
        assert {tuple(headers) for headers in seen[1:]} == {(b"host", b"content-length")}

    run(case)


def test_a_large_answer_is_whole() -> None:
    big = b"z" * 5_000_000

    async def large(request: Request, responder: Responder) -> None:
        await responder.send(200, b"", big)

    async def case() -> None:
        async with serving(large) as served, served.client() as client:
            assert (await client.ask(GET)).body == big
            assert (await client.ask(GET)).body == big

    run(case)


def test_unknown_statuses_have_a_line() -> None:
    async def odd(request: Request, responder: Responder) -> None:
        await responder.send(529, b"", b"")

    async def case() -> None:
        async with serving(odd) as served, served.client() as client:
            assert (await client.ask(GET)).status == 529

    run(case)


def test_too_many_connections_get_503() -> None:
    async def case() -> None:
        async with serving(limits=Limits(max_connections=2)) as served:
            async with served.client() as first, served.client() as second:
                assert (await first.ask(GET)).status == 200
                assert (await second.ask(GET)).status == 200
                async with served.client() as third:
                    answer = await third.answer()
                    assert (answer.status, answer.headers["x-error"]) == (503, NoCapacity.__name__)
                    assert await third.ended() == b""
                assert (await first.ask(GET)).status == 200
            await until(lambda: served.server.connections == 0)
            async with served.client() as client:
                assert (await client.ask(GET)).status == 200

    run(case)


def test_an_error_that_cannot_be_rendered_cuts_the_connection() -> None:
    async def case() -> None:
        async with serving() as served:

            def broken(error: Exception) -> Refusal:
                raise KeyError("bug in rendering")

            served.server.refuse = broken
            async with served.client() as client:
                await client.send(b"nonsense\r\n\r\n")
                assert await client.ended() == b""
            served.server.refuse = refuse
            async with served.client() as client:
                assert (await client.ask(GET)).status == 200

    run(case)


def test_several_listeners_share_a_server() -> None:
    async def case() -> None:
        async with serving() as served, served.client() as client:
            assert (await client.ask(GET)).status == 200
            sock = socket.create_server(("127.0.0.1", 0))
            served.address = sock.getsockname()
            await served.server.listen(sock, local=True)
            async with served.client() as second:
                assert (await second.ask(GET)).status == 200
                assert served.server.connections == 2

    run(case)


def test_nothing_of_a_closed_connection_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the garbage collector's help: 50,000 requests later it would have much to do."""
    monkeypatch.setattr(logging.getLogger("penstock.http"), "disabled", True)  # pytest keeps records with their frames
    kinds = (Connection, HeadParser, Request, RequestBody, Responder)

    def living() -> int:
        return sum(isinstance(thing, kinds) for thing in gc.get_objects())

    async def mixed(request: Request, responder: Responder) -> None:
        await request.body()
        if request.path == "/bug":
            raise KeyError("bug")
        if request.path == "/wait":
            await asyncio.Event().wait()
        await responder.send(200, b"", b"")

    close = b"Host: h\r\nConnection: close\r\n"
    requests = (
        b"GET / HTTP/1.1\r\n" + close + b"\r\n",
        b"POST / HTTP/1.1\r\n" + close + b"Content-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\n" + close + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + close + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /bug HTTP/1.1\r\n" + close + b"\r\n",
        b"POST /wait HTTP/1.1\r\n" + close + b"\r\n",
        b"GET http HTTP/1.1\r\n" + close + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n",
    )

    async def case() -> None:
        async with serving(mixed) as served:
            gc.collect()
            gc.disable()
            try:
                before = living()
                for data in requests:
                    async with served.client() as client:
                        await client.send(data)
                        if b"wait" in data:
                            await until(lambda: served.server.active == 1)
                        else:
                            await client.ended()
                    await until(lambda: served.server.connections == 0)
                    await asyncio.sleep(0)
                    assert living() == before, data
            finally:
                gc.enable()

    run(case)
