"""Processes that leave, and processes that stand still."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from penstock.node.life import SILENT_S, Program, Silence
from penstock.node.metrics import Totals
from penstock.node.supervisor import Supervisor
from tests.node.conftest import gone, run, until

# Says that it is ready and alive; when asked to end, that it leaves, and ends at the second signal.
LEAVER = r"""
import os, signal, sys
link = int(sys.argv[1])

def say(kind, rest=""):
    os.write(link, b'{"type":"%s"%s}\n' % (kind.encode(), rest.encode()))

def count(value):
    say("metrics", ',"families":[["done","","counter",[["done_total",{},%d]]]]' % value)

def ask(*_):
    signal.signal(signal.SIGTERM, lambda *_: (count(2), os._exit(0)))
    say("leaving")

signal.signal(signal.SIGTERM, ask)
say("alive")
say("ready")
count(1)
while True:
    signal.pause()
"""


def command(link: int) -> list[str]:
    return [sys.executable, "-c", LEAVER, str(link)]


@asynccontextmanager
async def supervised(clock: Callable[[], float]) -> AsyncIterator[tuple[Supervisor, Totals]]:
    totals = Totals()
    supervisor = Supervisor(Program("leaver", command, ()), totals, print, gave_up=print, clock=clock)
    try:
        await until(lambda: supervisor.status.ready)
        yield supervisor, totals
    finally:
        hurry = asyncio.Event()
        hurry.set()
        await supervisor.stop(20, hurry)


def done(totals: Totals) -> float:
    return totals.families()["done"].samples["done_total", ()]


def test_one_that_leaves_has_its_successor_beside_it() -> None:
    async def case() -> None:
        async with supervised(lambda: 0.0) as (supervisor, totals):
            await until(lambda: done(totals) == 1)
            elder = supervisor.status.pid
            os.kill(elder, signal.SIGTERM)
            await until(lambda: supervisor.status.pid not in (0, elder) and supervisor.status.ready)
            assert not gone(elder), "it finishes what it has"
            await until(lambda: done(totals) == 2)
            os.kill(elder, signal.SIGTERM)
            await until(lambda: gone(elder))
            await until(lambda: done(totals) == 3)
            assert supervisor.status.restarts == 0, "it did not end unasked"

    run(case())


def test_a_stop_waits_for_those_that_leave_and_does_not_hurry_them() -> None:
    async def case() -> None:
        supervisor = Supervisor(Program("leaver", command, ()), Totals(), print, gave_up=print)
        await until(lambda: supervisor.status.ready)
        elder = supervisor.status.pid
        os.kill(elder, signal.SIGTERM)
        await until(lambda: supervisor.status.pid not in (0, elder) and supervisor.status.ready)
        younger = supervisor.status.pid
        hurry = asyncio.Event()
        stopping = asyncio.create_task(supervisor.stop(3600, hurry))
        os.kill(younger, 0)
        await until(lambda: supervisor.status.pid == 0)
        assert not gone(elder), "a second signal would have ended it"
        assert not stopping.done()
        hurry.set()
        await until(stopping.done)
        assert gone(elder)
        assert gone(younger)

    run(case())


def test_one_that_says_nothing_any_more_is_killed() -> None:
    now = 0.0

    async def case() -> None:
        nonlocal now
        async with supervised(lambda: now) as (supervisor, _):
            pid = supervisor.status.pid

            def later() -> bool:
                nonlocal now
                now += 0.02  # in steps that the node is awake for: it looks once a real second
                return supervisor.status.restarts == 1

            await until(later)
            assert gone(pid)
            await until(lambda: supervisor.status.ready)

    run(case())


def test_silence_is_judged_from_the_first_promise_on() -> None:
    silence = Silence(0.0)
    silence.heard(0.5, promises=False)
    assert not any(silence.too_long(float(second)) for second in range(1, 60)), "it never promised to speak"
    silence.heard(60.0, promises=True)
    assert not any(silence.too_long(60.0 + second) for second in range(int(SILENT_S)))
    assert silence.too_long(60.0 + SILENT_S)


def test_any_message_breaks_the_silence() -> None:
    silence = Silence(0.0)
    silence.heard(0.0, promises=True)
    for second in range(1, 60):
        silence.heard(second - 0.5, promises=False)
        assert not silence.too_long(float(second))


def test_what_the_node_slept_through_is_no_silence() -> None:
    silence = Silence(0.0)
    silence.heard(0.0, promises=True)
    assert not silence.too_long(1.0)
    assert not silence.too_long(1000.0), "the node was not there to hear"
    assert not any(silence.too_long(1000.0 + second) for second in range(1, int(SILENT_S)))
    assert silence.too_long(1000.0 + SILENT_S)
