"""A child that is always to run: started, listened to, started again with backoff when it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from penstock.node.backoff import Backoff
from penstock.node.metrics import Totals
from penstock.node.process import Child
from penstock.telemetry.link import Failed, Message, Metrics, Notice, Ready, receive

_log = logging.getLogger(__name__)

_LAST_MESSAGES_S = 1.0  # how long to read on after the end of a child; a grandchild could hold the link open for ever
_HURRIED_S = 1.0  # from the second SIGTERM to SIGKILL
_APART_S = 0.1  # two signals of a kind that come at once are one to the process


class Program(msgspec.Struct, frozen=True):
    """
    What to run.

    Attributes:
        name: `gateway 0`.
        command: makes the command line for the number of the link's descriptor.
        descriptors: inherited, next to the link.
    """

    name: str
    command: Callable[[int], Sequence[str]]
    descriptors: tuple[int, ...]


class Status(msgspec.Struct, frozen=True):
    """
    Attributes:
        pid: 0 while no process runs.
        restarts: how often a process ended unasked.
        detail: how the last one ended and when the next starts, while none runs.
    """

    name: str
    pid: int
    ready: bool
    restarts: int
    detail: str


class Supervisor:
    """
    Keeps one program running. Belongs to the node, which starts it by making it and ends it with `stop`.

    Args:
        totals: where its metrics are summed up.
        noticed: called with what a person should see once.
        gave_up: called with the reason when the program says that it cannot start and never has been ready; it is not
            started again then. Once it has been ready it always is.
        patience_s: how long after now to try on even then, for what a killed node has left may be in the way.
        clock, sleep: replaced by tests.
    """

    def __init__(
        self,
        program: Program,
        totals: Totals,
        noticed: Callable[[Notice], None],
        *,
        gave_up: Callable[[str], None],
        patience_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._program = program
        self._totals = totals
        self._noticed = noticed
        self._gave_up = gave_up
        self._patient_until = clock() + patience_s
        self._clock = clock
        self._sleep = sleep
        self._child: Child | None = None
        self._ready = False
        self._was_ready = False
        self._failure = ""
        self._restarts = 0
        self._detail = "starting"
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"supervise {program.name}")

    @property
    def status(self) -> Status:
        """As it is now."""
        pid = self._child.pid if self._child else 0
        return Status(self._program.name, pid, self._ready, self._restarts, self._detail)

    def hold(self) -> None:
        """Start nothing any more: the descriptors it would inherit are about to be closed."""
        self._stopping.set()

    async def stop(self, limit_s: float, hurry: asyncio.Event) -> None:
        """
        End the program: SIGTERM, and SIGKILL after `limit_s` seconds.

        Args:
            hurry: when it is set, a second SIGTERM asks to end at once, and the limit becomes one second.
        """
        self.hold()
        if self._child is not None:
            await _stop(self._child, limit_s, hurry)
        else:
            self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        backoff = Backoff()
        while not self._stopping.is_set():
            backoff.started(self._clock())
            try:
                reason = await self._live()
            except OSError as error:
                reason = f"cannot be started: {error.strerror}"
            if self._stopping.is_set():
                return
            if self._failure and not self._was_ready and self._clock() >= self._patient_until:
                self._detail = reason
                self._gave_up(reason)
                return
            wait = backoff.ended(self._clock())
            self._restarts += 1
            self._detail = f"{reason}; starting again in {wait:g} s"
            _log.warning(
                "process ended", extra={"fields": {"of": self._program.name, "reason": reason, "again_in_s": wait}}
            )
            await self._sleep(wait)

    async def _live(self) -> str:
        """Run one process from start to end; return how it ended."""
        ours, theirs = socket.socketpair()
        try:
            number = theirs.fileno()
            child = await Child.start(self._program.command(number), descriptors=(*self._program.descriptors, number))
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._child = child
        self._failure = ""
        self._detail = "starting"
        listening = asyncio.create_task(receive(ours, self._handle), name=f"link {self._program.name}")
        try:
            ended = await child.wait()
            await asyncio.wait({listening}, timeout=_LAST_MESSAGES_S)
        finally:
            self._child = None
            self._ready = False
            self._totals.retire(self._program.name)
            listening.cancel()
            await asyncio.wait({listening})
            child.kill()
            await child.wait()
        return self._failure or ended.reason

    def _handle(self, message: Message) -> None:
        match message:
            case Ready():
                self._ready = self._was_ready = True
                self._detail = ""
            case Failed(text):
                self._failure = text
            case Metrics():
                self._totals.update(self._program.name, message)
            case Notice():
                self._noticed(message)


async def _stop(child: Child, limit_s: float, hurry: asyncio.Event) -> None:
    stopping = asyncio.create_task(child.stop(limit_s))
    hurrying = asyncio.create_task(hurry.wait())
    try:
        await asyncio.wait({stopping, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({stopping}, timeout=_APART_S)
        child.ask()
        await asyncio.wait({stopping}, timeout=_HURRIED_S)
        child.kill()
        await stopping
    finally:
        hurrying.cancel()
