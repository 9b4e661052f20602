"""Seats over a socket at whose other end somebody talks nonsense, or in pieces."""

from __future__ import annotations

import asyncio
import socket

import pytest
import uvloop

from penstock.counters.seats.house import House
from penstock.counters.seats.remote import Doors, remote
from penstock.counters.seats.seat import Size
from penstock.types.priority import Priority
from tests.counters.test_tally import Clock

PATIENT_S = 30.0
NONSENSE = [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x05\x92\xa3Sit"]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_a_worker_that_talks_nonsense_is_cut_off_and_its_seats_are_free(nonsense: bytes) -> None:
    async def run() -> None:
        clock = Clock()
        doors = Doors(House(clock))
        ours, theirs = socket.socketpair()
        await doors.serve(ours)
        speaking = theirs.dup()
        bad = await remote(theirs, clock, PATIENT_S)
        bad.resize({"d": Size(1, 5)}, 1)
        await bad.take("d", "red", Priority.NORMAL, PATIENT_S)
        ours, theirs = socket.socketpair()
        await doors.serve(ours)
        good = await remote(theirs, clock, PATIENT_S)
        good.resize({"d": Size(1, 5)}, 1)
        waiting = asyncio.create_task(good.take("d", "red", Priority.NORMAL, PATIENT_S))
        with speaking:
            await asyncio.get_running_loop().sock_sendall(speaking, nonsense)
        assert not (await waiting).share
        await doors.aclose()

    uvloop.run(run())


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_a_node_that_talks_nonsense_is_left_for_good(nonsense: bytes) -> None:
    async def run() -> None:
        gone = asyncio.Event()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        usher = await remote(theirs, Clock(), PATIENT_S, gone.set)
        usher.resize({"d": Size(1, 5)}, 1)
        asking = asyncio.create_task(usher.take("d", "red", Priority.NORMAL, PATIENT_S))
        with ours:
            await asyncio.get_running_loop().sock_sendall(ours, nonsense)
            assert (await asking).share
            await gone.wait()

    uvloop.run(run())
