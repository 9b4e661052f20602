from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from penstock.node.life import Program
from penstock.node.metrics import Totals
from penstock.node.sockets import listen_tcp
from penstock.node.supervisor import Supervisor
from penstock.telemetry.link import Notice
from tests.node.conftest import gone, run, until
from tests.node.fakes import child


class Clock:
    """Time that the test moves, and sleeps that end when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self._go: asyncio.Queue[None] = asyncio.Queue()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await self._go.get()

    def go(self) -> None:
        self._go.put_nowait(None)


@asynccontextmanager
async def supervised(
    command: Callable[[int], list[str]],
    clock: Clock,
    *descriptors: int,
    noticed: Callable[[Notice], None] = print,
    gave_up: Callable[[str], None] = print,
    patience_s: float = 0.0,
) -> AsyncIterator[tuple[Supervisor, Totals]]:
    totals = Totals()
    supervisor = Supervisor(
        Program("gateway 0", command, descriptors),
        totals,
        noticed,
        gave_up=gave_up,
        patience_s=patience_s,
        clock=clock,
        sleep=clock.sleep,
    )
    try:
        yield supervisor, totals
    finally:
        pid = supervisor.status.pid
        await supervisor.stop(20, asyncio.Event())
        assert not pid or gone(pid)


async def ask(port: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return int(await reader.read())
    finally:
        writer.close()


def served(totals: Totals) -> float:
    family = totals.families().get("served")
    return sum(family.samples.values()) if family else 0


def test_what_dies_is_started_again_and_waiting_connections_are_served_by_the_next() -> None:
    async def case() -> None:
        clock = Clock()
        with listen_tcp(("127.0.0.1", 0), "x") as listener:
            port = listener.getsockname()[1]
            number = listener.fileno()
            async with supervised(lambda link: child(link, number), clock, number) as (supervisor, totals):
                await until(lambda: supervisor.status.ready)
                first = supervisor.status.pid
                assert await ask(port) == first
                await until(lambda: served(totals) == 1)

                os.kill(first, signal.SIGKILL)
                await until(lambda: clock.waits)
                status = supervisor.status
                assert (status.pid, status.ready, status.restarts) == (0, False, 1)
                assert status.detail == "killed by SIGKILL; starting again in 0.1 s"
                assert served(totals) == 1, "what the dead one counted stays"

                asking = asyncio.create_task(ask(port))  # nobody listens; it waits in the kernel's queue
                await asyncio.sleep(0)
                clock.go()
                second = await asking
                assert second not in (0, first)
                await until(lambda: served(totals) == 2)
                assert supervisor.status.pid == second

    run(case())


def test_waits_longer_each_time_and_anew_after_a_stable_minute() -> None:
    async def case() -> None:
        clock = Clock()
        lives: list[float] = [0, 0, 0, 61, 0]

        def command(link: int) -> list[str]:
            clock.now += lives[len(clock.waits)]
            return [sys.executable, "-c", "import sys; sys.exit(3)"]

        async with supervised(command, clock) as (supervisor, _):
            for count in range(1, 6):
                await until(lambda count=count: len(clock.waits) == count)  # type: ignore[misc]  # mypy cannot type a lambda's default
                assert supervisor.status.detail.startswith("exit code 3; starting again in ")
                if count < 5:
                    clock.go()
        assert clock.waits == [0.1, 0.2, 0.4, 0.1, 0.2]

    run(case())


def test_a_program_that_is_missing_is_tried_again() -> None:
    async def case() -> None:
        clock = Clock()
        async with supervised(lambda _: ["/no/such/program"], clock) as (supervisor, _):
            await until(lambda: clock.waits)
            assert supervisor.status.detail == "cannot be started: No such file or directory; starting again in 0.1 s"

    run(case())


def test_notices_are_handed_over() -> None:
    async def case() -> None:
        notices: list[Notice] = []
        with listen_tcp(("127.0.0.1", 0), "x") as listener:
            number = listener.fileno()
            command = lambda link: ["/usr/bin/env", "FAKE_NOTICE=1", *child(link, number)]  # noqa: E731  # short
            async with supervised(command, Clock(), number, noticed=notices.append) as (supervisor, _):
                await until(lambda: supervisor.status.ready)
        assert notices == [Notice("first_key", "sk-once")]

    run(case())


def test_a_stop_is_no_restart_and_counts_the_last_metrics() -> None:
    async def case() -> None:
        clock = Clock()
        with listen_tcp(("127.0.0.1", 0), "x") as listener:
            number = listener.fileno()
            async with supervised(lambda link: child(link, number), clock, number) as (supervisor, totals):
                await until(lambda: supervisor.status.ready)
                await ask(listener.getsockname()[1])
            assert supervisor.status.restarts == 0
            assert served(totals) == 1
            assert clock.waits == []

    run(case())


def test_a_hurry_shortens_the_stop() -> None:
    code = (
        "import signal, os, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        'os.write(%d, b\'{"type":"ready"}\\n\'); time.sleep(99)'
    )

    async def case() -> None:
        supervisor = Supervisor(
            Program("stubborn", lambda link: [sys.executable, "-c", code % link], ()), Totals(), print, gave_up=print
        )
        await until(lambda: supervisor.status.ready)
        hurry = asyncio.Event()
        stopping = asyncio.create_task(supervisor.stop(3600, hurry))
        await asyncio.sleep(0)
        assert not stopping.done()
        hurry.set()
        async with asyncio.timeout(20):
            await stopping

    run(case())


def test_a_hurry_asks_again_before_it_kills(tmp_path: Path) -> None:
    """The second signal cuts what is in progress, and the child still writes down what it was."""
    code = (
        "import signal, os, sys\n"
        "asked = 0\n"
        "def ask(*_):\n"
        "    global asked\n"
        "    asked += 1\n"
        "    open(sys.argv[1], 'w').write(str(asked))\n"
        "    if asked == 2: os._exit(0)\n"
        "signal.signal(signal.SIGTERM, ask)\n"
        'os.write(int(sys.argv[2]), b\'{"type":"ready"}\\n\')\n'
        "while True: signal.pause()\n"
    )
    said = tmp_path / "asked"

    async def case() -> None:
        command = lambda link: [sys.executable, "-c", code, str(said), str(link)]  # noqa: E731  # short
        supervisor = Supervisor(Program("slow", command, ()), Totals(), print, gave_up=print)
        await until(lambda: supervisor.status.ready)
        hurry = asyncio.Event()
        hurry.set()  # even when both are wanted at once
        await supervisor.stop(3600, hurry)

    run(case())
    assert said.read_text() == "2"


FAILS = """import os, sys; os.write(int(sys.argv[1]), b'{"type":"failed","text":"no such thing"}\\n'); sys.exit(78)"""


def test_what_can_never_start_is_given_up() -> None:
    async def case() -> None:
        clock, reasons = Clock(), list[str]()
        command = lambda link: [sys.executable, "-c", FAILS, str(link)]  # noqa: E731  # short
        async with supervised(command, clock, gave_up=reasons.append) as (supervisor, _):
            await until(lambda: reasons)
            assert (supervisor.status.pid, supervisor.status.detail) == (0, "no such thing")
        assert reasons == ["no such thing"]
        assert clock.waits == []

    run(case())


def test_what_a_killed_node_left_may_be_in_the_way_for_a_while() -> None:
    async def case() -> None:
        clock, reasons = Clock(), list[str]()
        command = lambda link: [sys.executable, "-c", FAILS, str(link)]  # noqa: E731  # short
        async with supervised(command, clock, gave_up=reasons.append, patience_s=3) as (supervisor, _):
            await until(lambda: clock.waits)
            assert supervisor.status.detail == "no such thing; starting again in 0.1 s"
            assert not reasons
            clock.now = 3
            clock.go()
            await until(lambda: reasons)

    run(case())


def test_what_has_been_ready_once_is_tried_for_ever() -> None:
    async def case() -> None:
        clock = Clock()
        with listen_tcp(("127.0.0.1", 0), "x") as listener:
            number = listener.fileno()

            def command(link: int) -> list[str]:
                return [sys.executable, "-c", FAILS, str(link)] if clock.waits else child(link, number)

            reasons = list[str]()
            async with supervised(command, clock, number, gave_up=reasons.append) as (supervisor, _):
                await until(lambda: supervisor.status.ready)
                os.kill(supervisor.status.pid, signal.SIGKILL)
                for wait in ("0.1", "0.2", "0.4"):
                    await until(lambda wait=wait: f"again in {wait} s" in supervisor.status.detail)  # type: ignore[misc]  # mypy cannot type a lambda's default
                    last = supervisor.status.detail
                    clock.go()
            assert last == "no such thing; starting again in 0.4 s"
            assert reasons == []

    run(case())


def test_a_child_ends_itself_when_its_node_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as _:
        ours, theirs = socket.socketpair()

        async def case() -> None:
            process = await asyncio.create_subprocess_exec(
                *child(theirs.fileno(), listener.fileno()), pass_fds=(theirs.fileno(), listener.fileno())
            )
            theirs.close()
            assert await asyncio.to_thread(ours.recv, 100) == b'{"type":"ready"}\n'
            ours.close()
            async with asyncio.timeout(20):
                assert await process.wait() == 9

        run(case())
