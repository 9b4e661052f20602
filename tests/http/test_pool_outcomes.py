"""Whatever happens to requests, and in whatever mixture, the pool is as before."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.http.pool import Pool, Timeouts
from penstock.types.address import Address
from penstock.types.errors import NoCapacity, UpstreamFailed, UpstreamTimeout, UpstreamUnreachable
from tests.http.origin import Clock, Origin, Peer, ask, fetch, reply, run

STREAM: Final = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n"

# What the origin sends to a request with this body, and whether it then closes the connection.
ANSWERS: Final = {
    b"fine": (reply(b"fine"), False),
    b"close": (reply(b"close", b"connection: close"), True),
    b"cut": (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", True),
    b"bad": (b"hello", True),
    b"none": (b"", True),
    b"left": (STREAM, False),
    b"slow": (b"", False),
    b"cancel": (STREAM, False),
}

# How reading the whole reply then ends.
ERRORS: Final[dict[str, type[Exception]]] = {
    "cut": UpstreamFailed,
    "bad": UpstreamFailed,
    "none": UpstreamFailed,
    "slow": UpstreamTimeout,
    "cancel": TimeoutError,
    "refused": UpstreamUnreachable,
}


async def script(peer: Peer) -> None:
    while (request := await peer.request()) is not None:
        answer, ends = ANSWERS[request.body]
        await peer.send(answer)
        if ends:
            return


async def sweeping(pool: Pool, clock: Clock) -> None:
    """Let time run, 100 times as fast."""
    while True:
        await asyncio.sleep(0.005)
        clock.now += 0.5
        pool.sweep()


async def one(outcome: str, pool: Pool, dead: Pool) -> None:
    body = outcome.encode()
    limits = Timeouts(first_byte_s=1 if outcome == "slow" else None, idle_s=None, total_s=None)
    if outcome == "left":
        with await ask(pool, body) as got:
            assert await got.chunk() == b"first"
    elif outcome in ERRORS:
        with pytest.raises(ERRORS[outcome]):
            async with asyncio.timeout(0.005 if outcome == "cancel" else None):
                await fetch(dead if outcome == "refused" else pool, body, limits)
    else:
        assert await fetch(pool, body, limits) == body


@given(st.lists(st.sampled_from([*map(bytes.decode, ANSWERS), "refused"]), min_size=1, max_size=12), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_nothing_is_left_after_any_mixture_of_outcomes(outcomes: list[str], together: int) -> None:
    async def case() -> None:
        clock = Clock()
        async with Origin(script) as origin:
            pool = Pool(origin.address, clock=clock, max_connections=together, idle_s=1e9)
            dead = Pool(Address(unix="/nonexistent/engine.sock"))
            sweeper = asyncio.create_task(sweeping(pool, clock))
            for start in range(0, len(outcomes), together):
                await asyncio.gather(*(one(outcome, pool, dead) for outcome in outcomes[start : start + together]))
                assert (pool.busy, dead.busy) == (0, 0)
                assert pool.idle <= together
            sweeper.cancel()
            await asyncio.wait((sweeper,))
            held = [await ask(pool, b"left") for _ in range(together)]  # there is room for as many as ever
            with pytest.raises(NoCapacity):
                await ask(pool)
            for got in held:
                got.close()
            assert pool.busy == 0
            await pool.aclose()

    run(case())
