"""The engines of this host: what control desires is read, made so, and what there is is published."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Mapping
from itertools import count

from penstock.node.engines.engine import Engine
from penstock.node.health import Limits
from penstock.node.plan import Drop, Retire, Start, plan
from penstock.node.replica import EngineReplica, Surroundings
from penstock.snapshot import fleet as documents
from penstock.snapshot.file import Reader, UnknownFormat, publish
from penstock.snapshot.fleet import Desired, EngineSpec, Replica, ReplicaState
from penstock.types.home import Home

_log = logging.getLogger(__name__)

_LOOK_S = 0.1
_SETTLED = (ReplicaState.READY, ReplicaState.FAILED)


class Fleet:
    """
    Keeps the replicas as desired. Belongs to the node, which calls `begin` once, runs `run` as a task, and ends with
    `close`. A desired document from before a restart is honoured at once.
    """

    def __init__(self, home: Home, engines: Mapping[str, Engine], limits: Limits) -> None:
        self._home = home
        self._engines = engines
        self._reader = Reader(home.snapshot, Desired)
        self._desired: Desired | None = None
        self._replicas: dict[int, EngineReplica] = {}
        self._keys = count()
        self._published: tuple[Replica, ...] | None = None  # before the first success
        self._version = 0
        self._failing = False
        self._wake = asyncio.Event()
        self._around = Surroundings(
            run=home.run,
            generation=self._next_generation,
            changed=self._wake.set,
            restarted=self._count_restart,
            limits=limits,
        )
        self._generation = 0
        self.restarts: Counter[str] = Counter()

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """All replicas as they are now, those of one deployment together."""
        return tuple(sorted((r.published for r in self._replicas.values()), key=lambda r: (r.name, r.generation)))

    @property
    def informed(self) -> bool:
        """Whether it is known which engines are to run."""
        return self._desired is not None

    @property
    def wanted(self) -> tuple[EngineSpec, ...]:
        """The engine deployments that are to have at least one replica."""
        return tuple(spec for spec in (self._desired.engines if self._desired else ()) if spec.replicas > 0)

    @property
    def settled(self) -> bool:
        """Whether each desired replica is ready or has failed; looks at the newest desired document."""
        self._read_desired()
        standings = [replica.standing for replica in self._replicas.values()]
        return all(
            any(
                (s.deployment, s.version, s.index) == (spec.deployment, spec.version, index) and s.state in _SETTLED
                for s in standings
            )
            for spec in self.wanted
            for index in range(spec.replicas)
        )

    async def begin(self) -> None:
        """Publish that there are no replicas: those of an earlier node are gone. Comes before gateways start."""
        try:
            previous = Reader(self._home.snapshot, documents.Fleet).changed()
            self._version = previous.version if previous else 0
        except UnknownFormat as error:
            _log.warning("fleet unreadable", extra={"fields": {"error": str(error)}})
            self._version = int(time.time())  # more than there ever were changes
        # No generation was published in a version below it, so none can be met again.
        self._generation = self._version
        await self._publish(())

    async def run(self) -> None:
        """Follow what is desired, for ever."""
        while True:
            self._wake.clear()
            self._read_desired()
            self._act()
            replicas = self.replicas
            if replicas != self._published:
                await self._publish(replicas)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._wake.wait()

    async def close(self) -> None:
        """End all replicas, whatever they are doing, and publish that there are none."""
        for replica in self._replicas.values():
            replica.drop()
        await asyncio.gather(*(replica.gone() for replica in self._replicas.values()))
        self._replicas.clear()
        await self._publish(())

    def _act(self) -> None:
        for key in [key for key, replica in self._replicas.items() if replica.ended]:
            del self._replicas[key]
        if self._desired is None:
            return
        for action in plan(self._desired.engines, [replica.standing for replica in self._replicas.values()]):
            match action:
                case Start(spec, index):
                    key = next(self._keys)
                    engine = self._engines.get(spec.engine)
                    self._replicas[key] = EngineReplica(key, spec, index, engine, self._around)
                case Retire(key):
                    self._replicas[key].retire()
                case Drop(key):
                    self._replicas[key].drop()

    async def _publish(self, replicas: tuple[Replica, ...]) -> None:
        self._version = max(self._version + 1, self._generation)
        document = documents.Fleet(self._version, replicas)
        try:
            await asyncio.to_thread(publish, self._home.snapshot, document)  # in a thread, for it waits for the disk
        except OSError as error:
            if not self._failing:
                _log.error("fleet cannot be published; trying on", extra={"fields": {"error": error.strerror}})
            self._failing = True
        else:
            self._failing = False
            self._published = replicas

    def _read_desired(self) -> None:
        try:
            desired = self._reader.changed()
        except UnknownFormat as error:
            _log.error("desired engines unreadable; the old ones stay", extra={"fields": {"error": str(error)}})
            return
        if desired is not None:
            self._desired = desired

    def _next_generation(self) -> int:
        self._generation += 1
        return self._generation

    def _count_restart(self, deployment: str) -> None:
        self.restarts[deployment] += 1
