"""
One replica of an engine deployment, from its creation to its end, through all the processes it takes.

    starting ─► ready ◄─► wedged (suspected: no answer and no movement; after `wedged_after` it is killed)
       ▲          │           │
       │          ▼           ▼
       └────── failed ◄───────┘        ready ─► draining ─► gone
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from penstock.node import health
from penstock.node.backoff import Backoff
from penstock.node.engines.engine import Engine
from penstock.node.plan import Standing
from penstock.node.probe import Probe
from penstock.node.process import Child
from penstock.snapshot.fleet import EngineSpec, Replica, ReplicaState
from penstock.types.errors import WeightsError
from penstock.types.home import SOCKET_NAME

_log = logging.getLogger(__name__)

_LOOK_S = 0.05  # while starting
_PROBE_S = 0.5
_DRAIN_PROBE_S = 0.3
_STOP_S = 2.0  # from SIGTERM to SIGKILL, for a replica with nothing in flight
_WEIGHTS_S = 1.0
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]")


class Surroundings(msgspec.Struct, frozen=True):
    """
    What the replicas of a node share.

    Attributes:
        run: the directory for their sockets.
        generation: gives a number that no process of this data directory has had.
        changed: called whenever a replica's state has changed.
        restarted: called with the deployment's name whenever a process has ended unasked.
    """

    run: Path
    generation: Callable[[], int]
    changed: Callable[[], None]
    restarted: Callable[[str], None]
    limits: health.Limits
    clock: Callable[[], float] = time.monotonic


class EngineReplica:
    """
    Keeps one replica running until it is retired or dropped. Belongs to the fleet.

    Args:
        key: identifies it among all replicas of this node.
        engine: None when the node has no engine of the spec's name.
    """

    def __init__(self, key: int, spec: EngineSpec, index: int, engine: Engine | None, around: Surroundings) -> None:
        self._key = key
        self._spec = spec
        self._index = index
        self._engine = engine
        self._around = around
        self._name = f"{spec.deployment}/{index}"
        self._state = ReplicaState.STARTING
        self._detail = ""
        self._generation = 0
        self._socket = around.run / "none.sock"
        self._pid = 0
        self._proven = False
        self._retired_at = 0.0
        self._dropped = False
        self._retiring = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"replica-{self._name}")

    @property
    def ended(self) -> bool:
        """Nothing is left of it."""
        return self._task.done()

    @property
    def standing(self) -> Standing:
        """As the plan sees it."""
        return Standing(self._key, self._spec.deployment, self._spec.version, self._index, self._state, self._proven)

    @property
    def published(self) -> Replica:
        """As others see it."""
        return Replica(
            name=self._name,
            deployment=self._spec.deployment,
            version=self._spec.version,
            state=self._state,
            socket=os.fspath(self._socket),
            generation=self._generation,
            pid=self._pid,
            detail=self._detail,
        )

    def retire(self) -> None:
        """Take no new exchanges, finish those in flight, end."""
        if not self._retiring.is_set():
            self._retired_at = self._around.clock()
            self._become(ReplicaState.DRAINING, "")
            self._retiring.set()

    def drop(self) -> None:
        """End now, without finishing anything."""
        self._retiring.set()
        if not self._dropped:  # a second cancellation would interrupt the clean-up of the first
            self._dropped = True
            self._become(ReplicaState.DRAINING, "")
            self._task.cancel()

    async def gone(self) -> None:
        """Return when nothing is left of it."""
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        backoff = Backoff(first_free=True)
        clock = self._around.clock
        note = ""
        while not self._retiring.is_set():
            await self._weights()
            if self._retiring.is_set() or self._engine is None:
                break
            backoff.started(clock())
            try:
                reason = await self._live(self._engine, note)
            except Exception as error:  # noqa: BLE001  # one replica must not end the node, nor be retried without a pause
                _log.exception("replica failed", extra={"fields": {"replica": self._name}})
                reason = f"internal error: {type(error).__name__}"
            if self._retiring.is_set():
                break
            self._around.restarted(self._spec.deployment)
            wait = backoff.ended(clock())
            _log.warning(
                "engine ended", extra={"fields": {"replica": self._name, "reason": reason, "again_in_s": wait}}
            )
            if wait:
                self._become(ReplicaState.FAILED, f"{reason}; trying again in {wait:g} s")
                await self._pause(wait)
            note = f"{reason}; starting again"
            self._become(ReplicaState.STARTING, note)
        self._around.changed()

    async def _weights(self) -> None:
        """Return when the weights can be served; until then say why not, looking again whenever the file changes."""
        path = Path(self._spec.weights)
        while not self._retiring.is_set():
            before = _stamp(path)
            try:
                if self._engine is None:
                    raise WeightsError(f"there is no engine {self._spec.engine!r}")
                await asyncio.to_thread(self._engine.check_weights, path)
            except WeightsError as error:
                self._become(ReplicaState.FAILED, str(error))
            else:
                return
            while not self._retiring.is_set() and _stamp(path) == before:
                await self._pause(_WEIGHTS_S)

    async def _live(self, engine: Engine, note: str) -> str:
        """Run one process from start to end; return why it ended. `note` is its detail until it is ready."""
        self._generation = self._around.generation()
        prefix = _NOT_IN_A_NAME.sub("_", self._spec.deployment)[: SOCKET_NAME // 2]
        self._socket = self._around.run / f"{prefix}-{self._index}-{self._generation}.sock"
        try:
            child = await Child.start(
                engine.command(self._spec, self._name, self._socket), environ=engine.environ(os.environ), capture=True
            )
        except OSError as error:
            return f"the engine cannot be started: {error.strerror}"
        self._pid = child.pid
        self._become(ReplicaState.STARTING, note)
        ending = asyncio.create_task(child.wait(), name=f"wait-{self._name}")
        try:
            answer_s = self._around.limits.answer
            async with Probe(engine, self._socket, child.pid, answer_s, self._around.clock) as probe:
                guiding = asyncio.create_task(self._guide(engine, probe), name=f"guide-{self._name}")
                try:
                    await asyncio.wait({ending, guiding}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    guiding.cancel()
                    await asyncio.wait({guiding})
            reason = guiding.result() if not ending.done() else ending.result().reason
            if ending.done() and self._state is ReplicaState.STARTING and (said := engine.reason(child.said)):
                reason = f"{reason}: {said}"
            return reason
        finally:
            patience_s = 0 if self._state is ReplicaState.WEDGED else _STOP_S
            await child.stop(patience_s)
            self._pid = 0
            await ending
            with contextlib.suppress(OSError):
                self._socket.unlink()

    async def _guide(self, engine: Engine, probe: Probe) -> str:
        """Bring a new process to ready, watch it, see it out; return why it should end."""
        clock = self._around.clock
        limits = self._around.limits
        deadline = clock() + limits.start
        while not (self._socket.exists() and await probe.healthy()):
            if self._retiring.is_set():
                return "retired"
            if clock() >= deadline:
                return f"the engine was not ready after {limits.start:g} s"
            await asyncio.sleep(_LOOK_S)
        if problem := await probe.generate(engine.warm_up(self._spec), max(1.0, deadline - clock())):
            return problem
        if not self._retiring.is_set():
            self._proven = True
            self._become(ReplicaState.READY, "")
        return await self._watch(probe)

    async def _watch(self, probe: Probe) -> str:
        limits = self._around.limits
        watch = health.begin(self._around.clock(), probe.effort())
        drain: health.Drain | None = None
        while True:
            observation = await probe.observe()
            watch, verdict = health.judge(watch, observation, limits)
            if verdict is health.Verdict.WEDGED:
                if not self._retiring.is_set():
                    self._become(ReplicaState.WEDGED, "work is queued and nothing moves")
                return f"wedged: work was queued and nothing moved for {limits.wedged_after:g} s"
            if self._retiring.is_set():
                drain, over = health.drained(drain or health.Drain(self._retired_at), observation, limits)
                if over:
                    return "retired"
                await asyncio.sleep(_DRAIN_PROBE_S)
                continue
            if verdict is health.Verdict.SUSPECT:
                self._become(ReplicaState.WEDGED, "does not answer and does not move")
            else:
                self._become(ReplicaState.READY, "")
            await self._pause(_PROBE_S)

    async def _pause(self, seconds: float) -> None:
        """Sleep; wakes up when the replica is retired."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._retiring.wait()

    def _become(self, state: ReplicaState, detail: str) -> None:
        self._state, self._detail = state, detail
        self._around.changed()  # cheap: the fleet compares before it publishes


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Changes whenever the file does; None while there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
