"""One process of a supervised program, from its start to its end: what it says over its link, and if it still does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from penstock.node.metrics import Totals
from penstock.node.process import Child
from penstock.telemetry.link import Alive, Failed, Leaving, Message, Metrics, Notice, Ready, receive

SILENT_S = 10.0
"""A process that has said `Alive` and then nothing for so long is wedged: it says so every second otherwise."""

_LOOK_S = 1.0
_SLEPT_S = 3.0  # looks further apart than this say that the node itself did not run, and nothing about the process
_LAST_MESSAGES_S = 1.0  # how long to read on after the end of a child; a grandchild could hold the link open for ever
_HURRIED_S = 1.0  # from the second SIGTERM to SIGKILL
_APART_S = 0.1  # two signals of a kind that come at once are one to the process


class Service(Protocol):
    """Something of the node's that children speak to. Lives as long as the node; may be shared by all of them."""

    async def serve(self, sock: socket.socket) -> None:
        """Serve the child at the other end of this socket, from now until it has gone."""


class Program(msgspec.Struct, frozen=True):
    """
    What to run.

    Attributes:
        name: `gateway 0`.
        command: makes the command line for the number of the link's descriptor.
        descriptors: inherited, next to the link.
        services: speak to it, each over a socket whose descriptor is an option of its own at the end of the command
            line: `--counters 9`.
    """

    name: str
    command: Callable[[int], Sequence[str]]
    descriptors: tuple[int, ...]
    services: Mapping[str, Service] = {}


class Silence:
    """
    Judges whether a process is wedged by when it was last heard. Pure: callers pass the time, in seconds.

    It is judged only from its first `Alive` on.
    """

    def __init__(self, now: float) -> None:
        self._looked = now
        self._heard: float | None = None

    def heard(self, now: float, *, promises: bool) -> None:
        """Note a message; `promises` when it is one that comes every second."""
        if promises or self._heard is not None:
            self._heard = now

    def too_long(self, now: float) -> bool:
        """Look, once a second; tell whether it has been silent for too long, as far as we were awake to hear."""
        if now - self._looked > _SLEPT_S and self._heard is not None:
            self._heard = now
        self._looked = now
        return self._heard is not None and now - self._heard >= SILENT_S


class Life:
    """
    Made by `begin`. Whoever makes one waits for its `end`, or ends it with `stop`; both may be called by several.

    Attributes:
        ready: it serves and does not leave.
        was_ready: it has served.
        leaving: somebody has asked it to end; it takes nothing new and finishes what it has.
        failure: why it cannot start, in its own words.
        turned: set when it leaves, and at its end.
    """

    def __init__(
        self,
        program: Program,
        child: Child,
        totals: Totals,
        noticed: Callable[[Notice], None],
        clock: Callable[[], float],
    ) -> None:
        self._child = child
        self._name = f"{program.name} {child.pid}"  # a successor may count beside it
        self._services = program.services
        self._totals = totals
        self._noticed = noticed
        self._clock = clock
        self._silence = Silence(clock())
        self._wedged = False
        self._ending: asyncio.Task[str] | None = None
        self.ready = self.was_ready = False
        self.leaving = False
        self.failure = ""
        self.turned = asyncio.Event()

    @classmethod
    async def begin(
        cls,
        program: Program,
        totals: Totals,
        noticed: Callable[[Notice], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> Life:
        """
        Start the program.

        Raises:
            OSError: it cannot be started.
        """
        with contextlib.ExitStack() as inherited, contextlib.ExitStack() as kept:
            ours, theirs = _pair(kept, inherited)
            command = list(program.command(theirs.fileno()))
            descriptors = [*program.descriptors, theirs.fileno()]
            spoken = {}
            for name in program.services:
                spoken[name], speaking = _pair(kept, inherited)
                command += [f"--{name}", str(speaking.fileno())]
                descriptors.append(speaking.fileno())
            child = await Child.start(command, descriptors=descriptors)
            kept.pop_all()
        life = cls(program, child, totals, noticed, clock)
        life._ending = asyncio.create_task(life._live(ours, spoken), name=f"live {program.name}")  # our own
        return life

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def ended(self) -> bool:
        """Nothing is left of it, and all it has said has been taken in."""
        return self._ending is None or self._ending.done()

    async def end(self) -> str:
        """Wait for its end; return how it ended."""
        assert self._ending is not None, "made by `begin`"
        return await asyncio.shield(self._ending)

    async def stop(self, limit_s: float, hurry: asyncio.Event) -> None:
        """
        End it: SIGTERM, unless it is leaving already, and SIGKILL after `limit_s` seconds.

        Args:
            hurry: when it is set, a second SIGTERM asks to end at once, and the limit becomes one second.
        """
        if not self.leaving:
            self._child.ask()
        ending = asyncio.create_task(self.end())
        hurrying = asyncio.create_task(hurry.wait())
        try:
            await asyncio.wait({ending, hurrying}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done() and hurry.is_set():
                await asyncio.wait({ending}, timeout=_APART_S)
                self._child.ask()
                await asyncio.wait({ending}, timeout=_HURRIED_S)
            if not ending.done():
                self._child.kill()
            await ending
        finally:
            self._child.kill()  # nothing to do, unless we are given up on: it must not outlive that
            hurrying.cancel()

    async def _live(self, link: socket.socket, spoken: Mapping[str, socket.socket]) -> str:
        listening = asyncio.create_task(receive(link, self._handle), name=f"link {self._name}")
        watching = asyncio.create_task(self._watch(), name=f"watch {self._name}")
        try:
            for name, sock in spoken.items():
                await self._services[name].serve(sock)
            ended = await self._child.wait()
            await asyncio.wait({listening}, timeout=_LAST_MESSAGES_S)
        finally:
            self.ready = False
            self._totals.retire(self._name)
            self.turned.set()
            watching.cancel()
            listening.cancel()
            await asyncio.wait({listening, watching})
            self._child.kill()
            await self._child.wait()
        if self._wedged:
            return f"wedged: it said nothing for {SILENT_S:g} s"
        return self.failure or ended.reason

    async def _watch(self) -> None:
        while not self._silence.too_long(self._clock()):  # noqa: ASYNC110  # it waits for what does not happen
            await asyncio.sleep(_LOOK_S)
        self._wedged = True
        self._child.kill()

    def _handle(self, message: Message) -> None:
        self._silence.heard(self._clock(), promises=isinstance(message, Alive))
        match message:
            case Alive():
                pass
            case Ready():
                self.ready = self.was_ready = True
            case Leaving():
                self.ready = False
                self.leaving = True
                self.turned.set()
            case Failed(text):
                self.failure = text
            case Metrics():
                self._totals.update(self._name, message)
            case Notice():
                self._noticed(message)


def _pair(kept: contextlib.ExitStack, inherited: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    """Return our end and the child's of a new connection, to be closed by these."""
    ours, theirs = socket.socketpair()
    return kept.enter_context(ours), inherited.enter_context(theirs)
