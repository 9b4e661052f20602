"""Keeping, reusing and giving up connections."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from penstock.http import pool as pool_module
from penstock.http import upstream as upstream_module
from penstock.http.framing import Framing
from penstock.http.pool import Pool, Timeouts
from penstock.http.upstream import Connection
from penstock.types.address import Address
from penstock.types.errors import NoCapacity, UpstreamFailed, UpstreamUnreachable
from tests.http.origin import Clock, Origin, Peer, Request, answering, ask, fetch, reply, run, turns, until


@pytest.mark.parametrize("uv", [True, False])
def test_a_connection_serves_one_request_after_another(uv: bool) -> None:
    async def case() -> None:
        async with Origin(answering(reply(b"one"), reply(b"two"))) as origin:
            pool = Pool(origin.address)
            with await ask(pool) as first:
                assert (pool.busy, pool.idle) == (1, 0)
                assert await first.read(100) == b"one"
                assert not first.reused
            assert (pool.busy, pool.idle) == (0, 1)
            with await ask(pool) as second:
                assert await second.read(100) == b"two"
                assert second.reused
            assert origin.connections == 1
            await pool.aclose()
            assert (pool.busy, pool.idle) == (0, 0)

    run(case(), uv=uv)


def test_the_request_is_written_as_asked() -> None:
    seen: list[Request] = []

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            seen.append(request)
            await peer.send(reply(b"" if request.line.startswith(b"HEAD") else b"ok"))

    async def case() -> None:
        async with Origin(script) as origin:
            pool = Pool(Address(host="127.0.0.1", port=origin.port, path="/base"))
            for method, body in ((b"POST", b"hello"), (b"POST", b""), (b"GET", b""), (b"HEAD", b"")):
                with await pool.request(method, b"/v1?q=1", b"x-a: 1\r\nx-b: 2\r\n", body, Timeouts()):
                    pass
            await pool.aclose()
        host = b"127.0.0.1:%d" % origin.port
        assert [request.line for request in seen] == [
            b"POST /base/v1?q=1 HTTP/1.1",
            b"POST /base/v1?q=1 HTTP/1.1",
            b"GET /base/v1?q=1 HTTP/1.1",
            b"HEAD /base/v1?q=1 HTTP/1.1",
        ]
        assert [request.header(b"host") for request in seen] == [[host]] * 4
        assert [request.header(b"content-length") for request in seen] == [[b"5"], [b"0"], [], []]
        assert seen[0].body == b"hello"
        assert (seen[0].header(b"x-a"), seen[0].header(b"x-b")) == ([b"1"], [b"2"])

    run(case())


def test_a_unix_socket_and_the_host_it_is_given(tmp_path: Any) -> None:
    seen: list[Request] = []

    async def script(peer: Peer) -> None:
        request = await peer.request()
        assert request is not None
        seen.append(request)
        await peer.send(reply())
        await peer.gone()

    async def case() -> None:
        async with Origin(script, unix=tmp_path / "engine.sock") as origin:
            pool = Pool(origin.address)
            assert await fetch(pool) == b"ok"
            assert seen[0].header(b"host") == [b"localhost"]
            await pool.aclose()
        missing = Pool(Address(unix=str(tmp_path / "none.sock")))
        with pytest.raises(UpstreamUnreachable, match=r"socket .*none\.sock does not exist"):
            await ask(missing)
        assert missing.busy == 0

    run(case())


def test_as_many_connections_as_requests_at_once_and_as_many_kept_as_wanted() -> None:
    async def case() -> None:
        async with Origin(answering(reply())) as origin:
            pool = Pool(origin.address, max_connections=4, max_idle=2)
            replies = [await ask(pool) for _ in range(4)]
            with pytest.raises(NoCapacity) as refused:
                await ask(pool)
            assert refused.value.retry_after
            assert (pool.busy, origin.connections) == (4, 4)
            for answer in replies:
                assert await answer.read(100) == b"ok"
                answer.close()
                answer.close()  # once is enough
            assert (pool.busy, pool.idle) == (0, 2)
            await pool.aclose()

    run(case())


def test_idle_connections_are_closed_in_time_and_the_freshest_is_used_first() -> None:
    async def case() -> None:
        clock = Clock()
        async with Origin(answering(reply())) as origin:
            pool = Pool(origin.address, idle_s=30, clock=clock)
            replies = [await ask(pool) for _ in range(3)]
            for answer in replies:
                await answer.read(100)
                answer.close()
                clock.now += 10
            assert pool.idle == 3  # idle for 30, 20 and 10 s
            pool.sweep()
            assert pool.idle == 2
            assert await fetch(pool) == b"ok"  # over the one of 10 s
            clock.now += 15
            pool.sweep()
            assert pool.idle == 1
            clock.now += 15
            with await ask(pool) as answer:  # no sweep was needed to see that it is too old
                assert not answer.reused
            assert origin.connections == 4
            await pool.aclose()

    run(case())


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"ok", b"connection: close"),
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        reply(b"ok") + b"HTTP/1.1 200 OK\r\n",
        reply(b"ok") + reply(b"to nothing"),
        reply(b"ok", b"connection: close") + b"more",
    ],
    ids=["close", "http/1.0", "half a reply more", "a reply more", "more after close"],
)
def test_connections_that_cannot_be_reused(answer: bytes) -> None:
    async def case() -> None:
        async with Origin(answering(answer)) as origin:
            pool = Pool(origin.address)
            for _ in range(2):
                assert await fetch(pool) == b"ok"
                assert pool.idle == 0
            assert origin.connections == 2
            await pool.aclose()

    run(case())


@pytest.mark.parametrize("what", ["bytes", "close"])
def test_what_happens_to_an_idle_connection_ends_it(what: str) -> None:
    async def case() -> None:
        go = asyncio.Event()

        async def script(peer: Peer) -> None:
            while await peer.request() is not None:
                first = not go.is_set()
                await peer.send(reply())
                if first:
                    await go.wait()
                    if what == "close":
                        return
                    await peer.send(reply(b"wrong"))

        async with Origin(script) as origin:
            pool = Pool(origin.address)
            assert await fetch(pool) == b"ok"
            assert pool.idle == 1
            go.set()
            await until(lambda: pool.idle == 0)
            with await ask(pool) as answer:
                assert not answer.reused
                assert await answer.read(100) == b"ok"
            await pool.aclose()

    run(case())


def test_an_unread_reply_that_is_left_cuts_the_connection() -> None:
    async def case() -> None:
        gone = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
            await peer.gone()
            gone.set()

        async with Origin(script) as origin:
            pool = Pool(origin.address)
            with await ask(pool) as answer:
                assert await answer.chunk() == b"first"
            assert (pool.busy, pool.idle) == (0, 0)
            await asyncio.wait_for(gone.wait(), 20)
            with pytest.raises(UpstreamFailed, match="closed on our side"):
                await answer.chunk()
            await pool.aclose()

    run(case())


def test_closing_the_pool_ends_what_is_in_progress() -> None:
    async def case() -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst")
            await peer.gone()

        async with Origin(script) as origin:
            pool = Pool(origin.address)
            answer = await ask(pool)
            await pool.aclose()
            assert await answer.chunk() == b"first"
            with pytest.raises(UpstreamFailed):
                await answer.chunk()
            answer.close()
            assert pool.busy == 0
            with pytest.raises(UpstreamUnreachable, match="no longer used"):
                await ask(pool)

    run(case())


def test_closed_connections_do_not_wait_for_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Connection | Framing]] = []

    class Watched(Connection):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.append(weakref.ref(self))

    class WatchedFraming(Framing):
        def __init__(self) -> None:
            super().__init__()
            made.append(weakref.ref(self))

    async def script(peer: Peer) -> None:
        request = await peer.request()
        assert request is not None
        match request.body:
            case b"cut":
                await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst")
            case b"bad":
                await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\nfirst")
            case b"none":
                pass
            case _:
                await peer.send(reply(request.body, b"connection: close"))

    async def spoil(pool: Pool, body: bytes) -> None:
        try:
            await fetch(pool, body)
        except UpstreamFailed:
            assert body in (b"cut", b"bad", b"none")

    async def case() -> None:
        monkeypatch.setattr(pool_module, "Connection", Watched)
        monkeypatch.setattr(upstream_module, "Framing", WatchedFraming)
        async with Origin(script) as origin:
            pool = Pool(origin.address)
            for body in (b"good", b"cut", b"bad", b"none"):
                await spoil(pool, body)
            await turns(10)
            assert [watched() for watched in made] == [None] * 8
            await pool.aclose()

    gc.collect()
    gc.disable()
    try:
        run(case())
    finally:
        gc.enable()


def test_closing_a_reply_while_another_task_reads_it_ends_the_reading() -> None:
    async def case() -> None:
        async with Origin(answering(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n")) as origin:
            pool = Pool(origin.address)
            answer = await ask(pool)
            reading = asyncio.create_task(answer.read(100))
            await turns()
            answer.close()
            with pytest.raises(UpstreamFailed, match="closed on our side"):
                await reading
            assert pool.busy == 0
            await pool.aclose()

    run(case())
