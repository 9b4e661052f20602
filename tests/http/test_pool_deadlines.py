"""Deadlines, with a clock that the tests move, and what the process' one sweep does about them."""

from __future__ import annotations

import asyncio

import pytest

from penstock.http.pool import Pool, Timeouts
from penstock.types.address import Address
from penstock.types.errors import UpstreamTimeout, UpstreamUnreachable
from tests.http.origin import Clock, Origin, Peer, ask, fetch, reply, run, turns, until

LIMITS = Timeouts(connect_s=5, first_byte_s=10, idle_s=20, total_s=100)


class Stage:
    """An origin that sends what a test tells it to, a pool with a clock, and whether the origin was left."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked = asyncio.Event()
        self.gone = asyncio.Event()
        self.peer: Peer | None = None
        self.origin = Origin(self._script)

    async def _script(self, peer: Peer) -> None:
        self.peer = peer
        await peer.request()
        self.asked.set()
        await peer.gone()
        self.gone.set()

    async def send(self, data: bytes) -> None:
        assert self.peer is not None
        await self.peer.send(data)

    def pass_time(self, pool: Pool, seconds: float) -> None:
        self.clock.now += seconds
        pool.sweep()


def test_no_first_byte() -> None:
    async def case() -> None:
        stage = Stage()
        async with stage.origin:
            pool = Pool(stage.origin.address, clock=stage.clock)
            asking = asyncio.create_task(ask(pool, timeouts=LIMITS))
            await stage.asked.wait()
            stage.pass_time(pool, 9.9)
            await turns()
            assert not asking.done()
            stage.pass_time(pool, 0.1)
            with pytest.raises(UpstreamTimeout, match="did not begin to answer within 10 s"):
                await asking
            await stage.gone.wait()
            assert (pool.busy, stage.origin.connections) == (0, 1)
            await pool.aclose()

    run(case())


def test_interim_replies_do_not_move_the_first_byte() -> None:
    async def case() -> None:
        stage = Stage()
        async with stage.origin:
            pool = Pool(stage.origin.address, clock=stage.clock)
            asking = asyncio.create_task(ask(pool, timeouts=LIMITS))
            await stage.asked.wait()
            stage.pass_time(pool, 9)
            await stage.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            stage.pass_time(pool, 1)
            with pytest.raises(UpstreamTimeout, match="did not begin"):
                await asking
            await pool.aclose()

    run(case())


def test_silence_in_the_head() -> None:
    async def case() -> None:
        stage = Stage()
        async with stage.origin:
            pool = Pool(stage.origin.address, clock=stage.clock)
            asking = asyncio.create_task(ask(pool, timeouts=LIMITS))
            await stage.asked.wait()
            for part in (b"HTTP/1.1 200 OK\r\n", b"server: x\r\n"):
                await stage.send(part)
                stage.pass_time(pool, 19)
            await turns()
            assert not asking.done()
            stage.pass_time(pool, 1)
            with pytest.raises(UpstreamTimeout, match="silent for 20 s"):
                await asking
            await pool.aclose()

    run(case())


def test_silence_in_the_body_counts_only_while_the_reader_waits() -> None:
    async def case() -> None:
        stage = Stage()
        async with stage.origin:
            pool = Pool(stage.origin.address, clock=stage.clock)
            asking = asyncio.create_task(ask(pool, timeouts=Timeouts(idle_s=20)))
            await stage.asked.wait()
            await stage.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            with await asking as got:
                stage.pass_time(pool, 30)  # nobody waits
                for _ in range(2):
                    reading = asyncio.create_task(got.chunk())
                    await turns()
                    stage.pass_time(pool, 19)
                    await stage.send(b"2\r\nhi\r\n")
                    assert await reading == b"hi"
                reading = asyncio.create_task(got.chunk())
                await turns()
                stage.pass_time(pool, 19)
                await stage.send(b"2;still=here")  # bytes, if none of the body
                stage.pass_time(pool, 19)
                await turns()
                assert not reading.done()
                stage.pass_time(pool, 1)
                with pytest.raises(UpstreamTimeout, match="silent for 20 s in the middle"):
                    await reading
            await stage.gone.wait()
            assert pool.busy == 0
            await pool.aclose()

    run(case())


def test_waiting_in_turns_is_still_one_silence() -> None:
    async def case() -> None:
        stage = Stage()
        async with stage.origin:
            pool = Pool(stage.origin.address, clock=stage.clock)
            asking = asyncio.create_task(ask(pool, timeouts=LIMITS))
            await stage.asked.wait()
            await stage.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
            with await asking as got:
                for _ in range(2):
                    reading = asyncio.create_task(got.chunk())
                    await turns()
                    stage.pass_time(pool, 9)
                    reading.cancel()
                    await asyncio.wait((reading,))
                stage.pass_time(pool, 2)
                with pytest.raises(UpstreamTimeout):
                    await got.chunk()
            await pool.aclose()

    run(case())


def test_the_total_counts_from_the_call_to_the_last_byte() -> None:
    async def case() -> None:
        stage = Stage()
        async with stage.origin:
            pool = Pool(stage.origin.address, clock=stage.clock)
            asking = asyncio.create_task(ask(pool, timeouts=LIMITS))
            await stage.asked.wait()
            stage.pass_time(pool, 9)
            await stage.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfirst")
            with await asking as got:
                stage.pass_time(pool, 90.9)
                assert await got.chunk() == b"first"
                reading = asyncio.create_task(got.chunk())
                await turns()
                stage.pass_time(pool, 0.1)
                with pytest.raises(UpstreamTimeout, match="did not finish its answer in time"):
                    await reading
            await pool.aclose()

    run(case())


def test_a_reply_that_is_complete_has_met_its_deadlines() -> None:
    async def case() -> None:
        stage = Stage()
        async with stage.origin:
            pool = Pool(stage.origin.address, clock=stage.clock, idle_s=1e6)
            asking = asyncio.create_task(ask(pool, timeouts=LIMITS))
            await stage.asked.wait()
            await stage.send(reply(b"hello"))
            with await asking as got:
                stage.pass_time(pool, 1000)
                assert await got.read(5) == b"hello"
            stage.pass_time(pool, 1000)
            assert pool.idle == 1
            await pool.aclose()

    run(case())


def test_no_limits() -> None:
    async def case() -> None:
        stage = Stage()
        async with stage.origin:
            pool = Pool(stage.origin.address, clock=stage.clock)
            asking = asyncio.create_task(
                ask(pool, timeouts=Timeouts(connect_s=None, first_byte_s=None, idle_s=None, total_s=None))
            )
            await stage.asked.wait()
            stage.pass_time(pool, 1e9)
            await stage.send(b"HTTP/1.1 200 OK\r\n")
            stage.pass_time(pool, 1e9)
            await stage.send(b"content-length: 2\r\n\r\n")
            with await asking as got:
                reading = asyncio.create_task(got.read(2))
                await turns()
                stage.pass_time(pool, 1e9)
                await stage.send(b"ok")
                assert await reading == b"ok"
            await pool.aclose()

    run(case())


def test_an_upstream_that_stops_taking_a_large_request() -> None:
    async def case() -> None:
        clock = Clock()
        gone = asyncio.Event()

        async def script(peer: Peer) -> None:
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport can
            await gone.wait()

        async with Origin(script) as origin:
            pool = Pool(origin.address, clock=clock)
            asking = asyncio.create_task(ask(pool, b"x" * 20_000_000, LIMITS))
            await until(lambda: origin.connections)
            await turns(50)
            clock.now += 9.9
            pool.sweep()
            await turns()
            assert not asking.done()
            clock.now += 0.1
            pool.sweep()
            with pytest.raises(UpstreamTimeout, match="within 10 s"):
                await asking
            gone.set()
            assert pool.busy == 0
            await pool.aclose()

    run(case())


def test_an_upstream_that_takes_a_large_request_slowly_is_not_silent() -> None:
    async def case() -> None:
        clock = Clock()
        size = 30_000_000

        async def script(peer: Peer) -> None:
            await peer.reader.readuntil(b"\r\n\r\n")
            taken = moved = 0
            while taken < size:
                taken += len(await peer.reader.read(65536))
                if taken - moved > 8_000_000 and taken < size - 10_000_000:  # more than can be on the way at once
                    moved = taken
                    await turns(10)
                    clock.now += 9
                    pool.sweep()
            await peer.send(reply())
            await peer.gone()

        async with Origin(script) as origin:
            pool = Pool(origin.address, clock=clock)
            assert await fetch(pool, b"x" * size, LIMITS) == b"ok"
            assert clock.now >= 1018
            await pool.aclose()

    run(case())


def test_connecting_takes_too_long() -> None:
    async def case() -> None:
        async def resolve(host: str, port: int) -> list[str]:
            await asyncio.Event().wait()
            return []

        pool = Pool(Address(host="slow.test", port=80), resolve=resolve)
        for timeouts in (Timeouts(connect_s=0.05), Timeouts(connect_s=None, total_s=0.05)):
            with pytest.raises(UpstreamUnreachable, match=r"upstream slow\.test:80 .*within 0\.05 s"):
                await ask(pool, timeouts=timeouts)
        assert pool.busy == 0
        await pool.aclose()

    run(case())
