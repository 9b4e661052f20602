"""A child that is always to run: started, listened to, started again with backoff when it ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec

from penstock.node.backoff import Backoff
from penstock.node.life import Life, Program
from penstock.node.metrics import Totals
from penstock.telemetry.link import Notice

_log = logging.getLogger(__name__)


class Status(msgspec.Struct, frozen=True):
    """
    Attributes:
        pid: 0 while no process runs; one that leaves does not count.
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

    A process that says that it leaves has its successor at once, beside it, and is seen out.

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
        self._life: Life | None = None
        self._leaving: dict[Life, asyncio.Task[None]] = {}
        self._was_ready = False
        self._restarts = 0
        self._detail = "starting"
        self._stopping = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"supervise {program.name}")

    @property
    def status(self) -> Status:
        """As it is now."""
        life = self._life
        if life is None:
            return Status(self._program.name, 0, False, self._restarts, self._detail)
        return Status(self._program.name, life.pid, life.ready, self._restarts, "" if life.ready else self._detail)

    def hold(self) -> None:
        """Start nothing any more: the descriptors it would inherit are about to be closed."""
        self._stopping.set()

    async def stop(self, limit_s: float, hurry: asyncio.Event) -> None:
        """
        End the program, with those of its processes that leave already: SIGTERM, and SIGKILL after `limit_s` seconds.

        Args:
            hurry: when it is set, a second SIGTERM asks to end at once, and the limit becomes one second.
        """
        self.hold()
        if self._life is None:
            self._task.cancel()
        lives = [*self._leaving, *([self._life] if self._life else [])]
        await asyncio.gather(*(life.stop(limit_s, hurry) for life in lives))
        await asyncio.wait({self._task, *self._leaving.values()})

    async def _run(self) -> None:
        backoff = Backoff()
        while not self._stopping.is_set():
            backoff.started(self._clock())
            failure = ""
            try:
                life = await self._live()
                if life.leaving:
                    continue
                reason, failure = await life.end(), life.failure
            except OSError as error:
                reason = f"cannot be started: {error.strerror}"
            if self._stopping.is_set():
                return
            if failure and not self._was_ready and self._clock() >= self._patient_until:
                self._detail = reason
                self._gave_up(reason)
                return
            wait = backoff.ended(self._clock())
            self._restarts += 1
            self._detail = f"{reason}; starting again in {wait:g} s"
            self._tell(reason, again_in_s=wait)
            await self._sleep(wait)

    async def _live(self) -> Life:
        """Run one process until it leaves or has ended."""
        life = await Life.begin(self._program, self._totals, self._noticed, self._clock)
        self._life, self._detail = life, "starting"
        await life.turned.wait()
        self._life = None
        self._was_ready |= life.was_ready
        if life.leaving:
            self._leaving[life] = asyncio.create_task(self._see_out(life), name=f"see out {self._program.name}")
        return life

    async def _see_out(self, life: Life) -> None:
        reason = await life.end()
        del self._leaving[life]
        self._tell(reason, asked=True)

    def _tell(self, reason: str, **fields: object) -> None:
        level = logging.INFO if fields.get("asked") else logging.WARNING
        _log.log(level, "process ended", extra={"fields": {"of": self._program.name, "reason": reason, **fields}})
