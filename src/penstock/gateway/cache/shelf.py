"""Where answers are kept: the worker's memory, and behind it the Redis of all hosts, if the stack names one."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from penstock.auth.secrets import SecretRef
from penstock.gateway.cache.memory import Memory
from penstock.gateway.cache.redis import Held, Lock, Redis
from penstock.gateway.cache.room import Room
from penstock.gateway.cache.store import Entry
from penstock.snapshot.config import GatewaySettings
from penstock.types.priority import Priority

_FIRST_S, _LAST_S = 0.02, 0.5  # between two looks for what another host asks for; each is twice the one before
_log = logging.getLogger(__name__)


class Shelf:
    """
    Both stores of one worker. It closes what it has opened.

    Args:
        connect: returns the store that a reference leads to.
        now: seconds since the epoch.

    Attributes:
        room: for answers that are not complete yet.
    """

    def __init__(self, connect: Callable[[SecretRef], Redis], now: Callable[[], float]) -> None:
        self._connect = connect
        self._now = now
        self.room = Room()
        self._memory = Memory(0, now)
        self._redis: Redis | None = None
        self._reference: SecretRef | None = None
        self._failures = 0  # of those that are closed
        self._closing: set[asyncio.Task[None]] = set()

    def follow(self, settings: GatewaySettings) -> None:
        """Keep as much, and there, from now on."""
        self._memory.resize(settings.cache)
        self.room.fit(settings.cache)
        if settings.shared_cache == self._reference:
            return
        before, self._reference = self._redis, settings.shared_cache
        self._redis = None if self._reference is None else self._connect(self._reference)
        if before is not None:
            self._failures += before.failures
            task = asyncio.create_task(before.aclose(), name="leave cache")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        _log.info("answers are kept %s", "in memory" if self._redis is None else "in memory and in Redis")

    def near(self, key: bytes) -> Entry | None:
        """Return what this worker keeps itself."""
        return self._memory.find(key)

    async def far(self, key: bytes, ttl_s: float) -> Entry | None:
        """Return what is in Redis; from then on it is near, too."""
        if self._redis is None:
            return None
        entry = await self._redis.get(key)
        if entry is not None:
            self.copy(key, entry, ttl_s)
        return entry

    async def lead(self, key: bytes, ttl_s: float, priority: Priority, patience_s: float) -> Entry | Lock | None:
        """
        Return what is in Redis; or, once no other host asks an upstream for it, a lock, so that none does; or None,
        where there is no Redis, or another host has asked for longer than it should take.

        Args:
            patience_s: seconds that who asks has, until somebody else asks too.
        """
        loop = asyncio.get_running_loop()
        until, pause_s = loop.time() + patience_s, _FIRST_S
        while self._redis is not None:
            found = await self._redis.lead(key, priority, patience_s)
            if not isinstance(found, Held):
                if isinstance(found, Entry):
                    self.copy(key, found, ttl_s)
                return found
            left_s = until - loop.time()
            if left_s <= 0:
                return None
            await asyncio.sleep(min(left_s, pause_s * random.uniform(0.5, 1.5)))  # noqa: S311  # not for a secret
            pause_s = min(2 * pause_s, _LAST_S)
        return None

    def copy(self, key: bytes, entry: Entry, ttl_s: float) -> None:
        """Keep in memory what is kept elsewhere, for as long as it is."""
        left_s = entry.at + ttl_s - self._now()
        if left_s > 0:
            self._memory.put(key, entry, left_s)

    def put(self, key: bytes, entry: Entry, ttl_s: float) -> None:
        """Keep an answer that has just been given."""
        self._memory.put(key, entry, ttl_s)
        if self._redis is not None:
            self._redis.put(key, entry, ttl_s)

    async def aclose(self) -> None:
        """Close what is open."""
        if self._redis is not None:
            await self._redis.aclose()
        await asyncio.gather(*self._closing)

    @property
    def entries(self) -> int:
        """Answers in memory."""
        return len(self._memory)

    @property
    def used(self) -> int:
        """Bytes of memory that they take."""
        return self._memory.used

    @property
    def recording(self) -> int:
        """Bytes of answers that are not complete yet."""
        return self.room.used

    @property
    def shared(self) -> bool:
        """Whether there is a Redis."""
        return self._redis is not None

    @property
    def evicted(self) -> int:
        """Answers that had to make room."""
        return self._memory.evicted

    @property
    def failures(self) -> int:
        """How often Redis was of no use."""
        return self._failures + (self._redis.failures if self._redis is not None else 0)
