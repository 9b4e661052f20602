"""A tower and its workers in one process. What they say becomes bytes and arrives in a later turn, as over a socket."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import msgspec

from penstock.gateway.cache.host.pilot import Pilot
from penstock.gateway.cache.host.question import HostLead, Taken
from penstock.gateway.cache.host.tower import Tower
from penstock.gateway.cache.host.wire import Answered, Answers, Asked, Questions
from penstock.gateway.cache.store import Entry
from penstock.types.priority import Priority
from tests.counters.test_tally import Clock

PATIENT_S = 1000.0
KEY = b"t/k"
Joined = asyncio.Task[Taken | HostLead | None]


class _Up:
    """A worker's way to the node, on which so many messages arrive at the `most`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.unsent = 0
        self.frames = 0
        self.most = math.inf

    def send(self, message: msgspec.Struct) -> None:
        self.frames += 1
        if self.frames <= self.most:
            data = msgspec.msgpack.encode(message)
            asyncio.get_running_loop().call_soon(self._worker.arrive, data)


class _Down:
    """The node's way to a worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.unsent = 0

    def send(self, message: msgspec.Struct) -> None:
        data = msgspec.msgpack.encode(message)
        asyncio.get_running_loop().call_soon(self._worker.hear, data)


class Worker:
    """
    One of the workers.

    Attributes:
        said, heard: what it has said and heard, in order.
        kept: what it keeps.
    """

    def __init__(self, field: Field, clock: Callable[[], float], timeout_s: float) -> None:
        self.field = field
        self.up, self.down = _Up(self), _Down(self)
        self.said: list[Asked] = []
        self.heard: list[Answered] = []
        self.kept: dict[bytes, Entry] = {}
        self.alive = True
        self.pilot = Pilot(self.up, clock, timeout_s)
        self.pilot.finds = self.kept.get
        self.number = field.tower.enter(self.down)

    def arrive(self, data: bytes) -> None:
        """Let the node hear something, unless it is deaf."""
        if self.alive and not self.field.frozen:
            said = msgspec.msgpack.decode(data, type=Questions)
            self.said += said.messages
            self.field.tower.heard(self.number, said)

    def hear(self, data: bytes) -> None:
        if self.alive:
            answers = msgspec.msgpack.decode(data, type=Answers)
            self.heard += answers.messages
            self.pilot.heard(answers)

    def ask(
        self,
        *,
        key: bytes = KEY,
        since: float = 0.0,
        patience_s: float = PATIENT_S,
        deadline: float = 1e9,
        priority: Priority = Priority.NORMAL,
        most: int = 1 << 20,
    ) -> Joined:
        return asyncio.create_task(self.pilot.join(key, since, patience_s, deadline, priority, most))

    def die(self) -> None:
        """End as a killed process does: nothing it says arrives any more, and what it led is handed on."""
        self.alive = False
        self.field.tower.gone(self.number)


class Field:
    """
    All of them.

    Attributes:
        frozen: the node hears nothing, and what is said meanwhile is lost.
    """

    def __init__(
        self,
        workers: int = 3,
        *,
        timeout_s: float = 30.0,
        most: int = 1000,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.clock = Clock()
        self.tower = Tower(clock or self.clock, most)
        self.frozen = False
        self.workers = [Worker(self, clock or self.clock, timeout_s) for _ in range(workers)]

    @property
    def empty(self) -> bool:
        """Whether nothing is left behind but who keeps what."""
        tower = self.tower
        return not (len(tower) or tower._leads or tower._waits or tower._landing or tower._outbox)


async def settled() -> None:
    """Let every task and message go as far as it gets."""
    for _ in range(30):
        await asyncio.sleep(0)


async def waiting(*tasks: Joined) -> None:
    await settled()
    assert not any(task.done() for task in tasks)


async def led(task: Joined) -> HostLead:
    await settled()
    assert task.done()
    lead = task.result()
    assert isinstance(lead, HostLead)
    return lead


async def taken(task: Joined) -> Taken:
    await settled()
    assert task.done()
    found = task.result()
    assert isinstance(found, Taken)
    return found
