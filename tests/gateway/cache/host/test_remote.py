"""Equal requests over sockets: workers that end, and others at whose end somebody talks nonsense."""

from __future__ import annotations

import asyncio
import socket
import time

import msgspec
import pytest
import uvloop

from penstock.gateway.cache.host.pilot import Pilot
from penstock.gateway.cache.host.question import HostLead, Taken
from penstock.gateway.cache.host.remote import Doors, remote
from penstock.gateway.cache.host.tower import Tower
from penstock.gateway.cache.host.wire import Ask, Asked, Part, Questions
from penstock.gateway.cache.store import Entry
from penstock.types.errors import UpstreamRejected
from penstock.types.priority import Priority

PATIENT_S = 30.0
LARGE = Entry(1.5, b"\x00an answer\xff" * 300_000, b"x: y\r\n")
NONSENSE = [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x05\x92\xa3Ask"]
Joined = asyncio.Task[Taken | HostLead | None]


async def worker(doors: Doors) -> tuple[Pilot, socket.socket]:
    """Return a worker, and what speaks in its name."""
    ours, theirs = socket.socketpair()
    await doors.serve(ours)
    speaking = theirs.dup()
    return await remote(theirs, time.monotonic, PATIENT_S), speaking


def ask(pilot: Pilot) -> Joined:
    join = pilot.join(b"t/k", 0.0, PATIENT_S, time.monotonic() + PATIENT_S, Priority.NORMAL, 1 << 23)
    return asyncio.create_task(join)


def test_a_large_answer_comes_whole_to_all_workers() -> None:
    async def run() -> None:
        doors = Doors(Tower(time.monotonic))
        workers = [await worker(doors) for _ in range(4)]
        lead = await ask(workers[0][0])
        assert isinstance(lead, HostLead)
        others = [ask(pilot) for pilot, _ in workers[1:] for _ in range(2)]
        done, _ = await asyncio.wait(others, timeout=0.05)
        assert not done
        lead.land(LARGE, kept=True)
        assert await asyncio.gather(*others) == [Taken(LARGE, kept=True)] * 6
        await doors.aclose()
        for _, speaking in workers:
            speaking.close()

    uvloop.run(run())


def test_a_large_refusal_comes_to_all_that_wait_at_one_worker() -> None:
    async def run() -> None:
        doors = Doors(Tower(time.monotonic))
        (one, speaking), (two, other) = await worker(doors), await worker(doors)
        lead = await ask(one)
        assert isinstance(lead, HostLead)
        waiting = [ask(two) for _ in range(40)]
        done, _ = await asyncio.wait(waiting, timeout=0.05)
        assert not done
        refused = UpstreamRejected("no", status=400, body=b"x" * 65536)
        lead.release(refused)
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [vars(error) for error in found if isinstance(error, UpstreamRejected)] == [vars(refused)] * 40
        with speaking, other:
            await doors.aclose()

    uvloop.run(run())


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_a_worker_that_talks_nonsense_is_cut_off_and_another_one_leads(nonsense: bytes) -> None:
    async def run() -> None:
        doors = Doors(Tower(time.monotonic))
        (bad, speaking), (good, other) = await worker(doors), await worker(doors)
        assert isinstance(await ask(bad), HostLead)
        waiting = ask(good)
        with speaking, other:
            await asyncio.get_running_loop().sock_sendall(speaking, nonsense)
            assert isinstance(await waiting, HostLead)
        await doors.aclose()

    uvloop.run(run())


def test_a_worker_that_says_so_much_at_once_that_it_could_not_be_passed_on_is_cut_off() -> None:
    async def run() -> None:
        doors = Doors(Tower(time.monotonic))
        ours, bad = socket.socketpair()
        bad.setblocking(False)
        await doors.serve(ours)
        said: list[Asked] = [
            Part(1, b"x" * 600_000, more=False, kept=True),
            Ask(2, b"t/k", Priority.NORMAL, PATIENT_S, 0.0),
        ]
        frame = msgspec.msgpack.encode(Questions(said))
        with bad:
            await asyncio.get_running_loop().sock_sendall(bad, len(frame).to_bytes(4, "big") + frame)
            heard = await asyncio.get_running_loop().sock_recv(bad, 1000)
        await doors.aclose()
        assert heard == b""

    uvloop.run(run())


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_a_node_that_talks_nonsense_is_left_for_good(nonsense: bytes) -> None:
    async def run() -> None:
        gone = asyncio.Event()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        pilot = await remote(theirs, time.monotonic, PATIENT_S, gone.set)
        asking = ask(pilot)
        with ours:
            await asyncio.get_running_loop().sock_sendall(ours, nonsense)
            assert await asking is None
            await gone.wait()

    uvloop.run(run())
