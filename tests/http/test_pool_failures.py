"""Resending, back-pressure, early answers, cancellation: what a request leaves behind, however it ends."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from penstock.http.pool import Pool
from penstock.http.upstream import BUFFER_BYTES, RESEND_WITHIN_S
from penstock.types.address import Address
from penstock.types.errors import UpstreamFailed, UpstreamUnreachable
from tests.http.origin import Clock, Origin, Peer, Script, answering, ask, fetch, reply, run, turns, until


def first_connection_ends(how: Script) -> tuple[Script, list[bytes]]:
    """
    The first connection answers once and then, at its second request, does as told; the others answer.

    Returns:
        the script, and the bodies of all requests as they come.
    """
    seen: list[bytes] = []
    connections = iter(range(1000))

    async def script(peer: Peer) -> None:
        first = next(connections) == 0
        while (request := await peer.request()) is not None:
            seen.append(request.body)
            if first and len(seen) == 2:
                await how(peer)
                return
            await peer.send(reply(request.body))

    return script, seen


async def closes(peer: Peer) -> None:
    peer.close()


async def resets(peer: Peer) -> None:
    peer.abort()


async def sends_a_byte_and_closes(peer: Peer) -> None:
    await peer.send(b"H")
    peer.close()


async def sends_an_interim_reply_and_closes(peer: Peer) -> None:
    await peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    peer.close()


@pytest.mark.parametrize("uv", [True, False])
@pytest.mark.parametrize("size", [3, 3 * BUFFER_BYTES + 1])
@pytest.mark.parametrize("how", [closes, resets])
def test_a_kept_connection_that_closes_without_a_byte_is_replaced_once(how: Script, size: int, uv: bool) -> None:
    async def case() -> None:
        script, seen = first_connection_ends(how)
        async with Origin(script) as origin:
            pool = Pool(origin.address)
            assert await fetch(pool, b"one") == b"one"
            with await ask(pool, b"2" * size) as got:
                assert not got.reused
                assert await got.read(size) == b"2" * size
            assert [len(body) for body in seen] == [3, size, size]
            assert (pool.busy, pool.idle, origin.connections) == (0, 1, 2)
            await pool.aclose()

    run(case(), uv=uv)


def test_a_connection_that_closed_while_it_idled_unnoticed() -> None:
    async def case() -> None:
        peers: list[Peer] = []

        async def script(peer: Peer) -> None:
            peers.append(peer)
            while (request := await peer.request()) is not None:
                await peer.send(reply(request.body))

        async with Origin(script) as origin:
            pool = Pool(origin.address)
            assert await fetch(pool, b"one") == b"one"
            peers[0].abort()
            assert pool.idle == 1  # the loop had no turn in which to see it
            assert await fetch(pool, b"two") == b"two"
            assert origin.connections == 2
            await pool.aclose()

    run(case())


@pytest.mark.parametrize("how", [sends_a_byte_and_closes, sends_an_interim_reply_and_closes])
def test_nothing_is_resent_once_a_byte_came_back(how: Script) -> None:
    async def case() -> None:
        script, seen = first_connection_ends(how)
        async with Origin(script) as origin:
            pool = Pool(origin.address)
            assert await fetch(pool, b"one") == b"one"
            with pytest.raises(UpstreamFailed, match="closed the connection without an answer"):
                await fetch(pool, b"two")
            assert seen == [b"one", b"two"]
            assert (pool.busy, pool.idle, origin.connections) == (0, 0, 1)
            await pool.aclose()

    run(case())


@pytest.mark.parametrize("how", [closes, resets])
def test_nothing_is_resent_that_a_fresh_connection_failed_on(how: Script) -> None:
    async def case() -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await how(peer)

        async with Origin(script) as origin:
            pool = Pool(origin.address)
            with pytest.raises(UpstreamFailed, match="without an answer"):
                await fetch(pool)
            assert (pool.busy, origin.connections) == (0, 1)
            await pool.aclose()

    run(case())


def test_the_resent_request_is_not_sent_a_third_time() -> None:
    async def case() -> None:
        seen: list[bytes] = []

        async def script(peer: Peer) -> None:
            while (request := await peer.request()) is not None and len(seen) < 1:
                seen.append(request.body)
                await peer.send(reply(request.body))

        async with Origin(script) as origin:
            pool = Pool(origin.address)
            await fetch(pool, b"one")
            with pytest.raises(UpstreamFailed):
                await fetch(pool, b"two")
            assert (pool.busy, origin.connections) == (0, 2)
            await pool.aclose()

    run(case())


def test_a_request_that_was_worked_on_is_not_resent() -> None:
    async def case() -> None:
        clock = Clock()

        async def thinks_and_closes(peer: Peer) -> None:
            clock.now += RESEND_WITHIN_S + 0.1
            peer.close()

        script, seen = first_connection_ends(thinks_and_closes)
        async with Origin(script) as origin:
            pool = Pool(origin.address, clock=clock)
            await fetch(pool, b"one")
            with pytest.raises(UpstreamFailed, match="without an answer"):
                await fetch(pool, b"two")
            assert seen == [b"one", b"two"]
            await pool.aclose()

    run(case())


@pytest.mark.parametrize("uv", [True, False])
def test_a_reader_that_does_not_read_stops_the_upstream(uv: bool) -> None:
    size = 10_000_000
    piece = b"x" * 50_000

    async def case() -> None:
        written = 0

        async def script(peer: Peer) -> None:
            nonlocal written
            await peer.request()
            peer.writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
            for _ in range(size // len(piece)):
                peer.writer.write(piece)
                await peer.writer.drain()
                written += len(piece)
            await peer.gone()

        async with Origin(script) as origin:
            pool = Pool(origin.address)
            with await ask(pool) as got:
                before = -1
                while written != before:  # until nothing moves any more for a while of turns
                    before = written
                    await turns(200)
                assert written < size
                first = await got.chunk()
                assert len(first) <= BUFFER_BYTES + 262_144  # one read of the transport at most over the buffer
                total = len(first)
                while data := await got.chunk():
                    total += len(data)
                assert total == size
            assert pool.idle == 1
            await pool.aclose()

    run(case(), uv=uv)


def test_a_large_request_waits_for_the_upstream_to_take_it() -> None:
    async def case() -> None:
        body = bytes(range(256)) * 40_000
        go = asyncio.Event()

        async def script(peer: Peer) -> None:
            await go.wait()
            while (request := await peer.request()) is not None:
                await peer.send(reply(b"%d" % (request.body == body)))

        async with Origin(script) as origin:
            pool = Pool(origin.address)
            asking = asyncio.create_task(fetch(pool, body))
            await turns(100)
            assert not asking.done()
            go.set()
            assert await asking == b"1"
            assert await fetch(pool, body) == b"1"
            assert origin.connections == 1
            await pool.aclose()

    run(case())


@pytest.mark.parametrize("uv", [True, False])
def test_an_answer_before_the_request_is_written_is_delivered_and_the_connection_left(uv: bool) -> None:
    async def case() -> None:
        async def script(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            await peer.send(reply(b"too large", status=b"413 Content Too Large"))
            await peer.gone()

        async with Origin(script) as origin:
            pool = Pool(origin.address)
            with await ask(pool, b"x" * 20_000_000) as got:
                assert got.status == 413
                assert await got.read(100) == b"too large"
            assert (pool.busy, pool.idle) == (0, 0)
            await pool.aclose()

    run(case(), uv=uv)


def test_the_rest_of_a_request_is_not_sent_after_its_answer_nor_the_connection_reused() -> None:
    size = 20_000_000

    async def case() -> None:
        async def script(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            await peer.send(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 9\r\n\r\ntoo ")
            taken = 0

            async def take() -> None:
                nonlocal taken
                while data := await peer.reader.read(65536):
                    taken += len(data)

            taking = asyncio.create_task(take())
            before = -1
            while taken != before:  # until nothing more comes for a while of turns
                before = taken
                await turns(200)
            assert taken < size
            await peer.send(b"large")
            await taking

        async with Origin(script) as origin:
            pool = Pool(origin.address)
            with await ask(pool, b"x" * size) as got:
                assert await got.read(100) == b"too large"
            assert (pool.busy, pool.idle) == (0, 0)
            await pool.aclose()

    run(case())


@pytest.mark.parametrize(
    "at",
    [b"", b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"],
    ids=["waiting", "in the head", "in the body"],
)
def test_cancelling_cuts_the_connection(at: bytes) -> None:
    async def case() -> None:
        sent, gone = asyncio.Event(), asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(at)
            sent.set()
            await peer.gone()
            gone.set()

        async with Origin(script) as origin:
            pool = Pool(origin.address)
            asking = asyncio.create_task(fetch(pool))
            await sent.wait()
            assert pool.busy == 1
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert (pool.busy, pool.idle) == (0, 0)
            await asyncio.wait_for(gone.wait(), 20)
            await pool.aclose()

    run(case())


def test_cancelling_while_writing() -> None:
    async def case() -> None:
        stop, gone = asyncio.Event(), asyncio.Event()

        async def script(peer: Peer) -> None:
            await stop.wait()
            await peer.gone()
            gone.set()

        async with Origin(script) as origin:
            pool = Pool(origin.address)
            asking = asyncio.create_task(fetch(pool, b"x" * 20_000_000))
            await until(lambda: origin.connections)
            await turns(10)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            assert (pool.busy, pool.idle) == (0, 0)
            stop.set()
            await asyncio.wait_for(gone.wait(), 20)
            await pool.aclose()

    run(case())


@pytest.mark.parametrize("turn", range(12))
def test_cancelling_at_any_turn_of_the_loop(turn: int) -> None:
    async def case() -> None:
        async with Origin(answering(reply())) as origin:
            pool = Pool(origin.address)
            for _ in range(2):  # connecting, then over the connection that is kept
                asking = asyncio.create_task(fetch(pool))
                await turns(turn)
                asking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asking
                assert pool.busy == 0
                assert pool.idle <= 1
                assert await fetch(pool) == b"ok"
            await pool.aclose()

    run(case())


def test_a_port_where_nothing_listens() -> None:
    async def case() -> None:
        async with Origin(answering(reply())) as origin:
            port = origin.port
        pool = Pool(Address(host="127.0.0.1", port=port))
        with pytest.raises(UpstreamUnreachable, match=f"The upstream 127.0.0.1:{port} refuses connections."):
            await fetch(pool)
        assert pool.busy == 0
        await pool.aclose()

    run(case())
