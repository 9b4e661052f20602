"""Where answers are kept: the worker's memory, and behind it the Redis of all hosts, if the stack names one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from penstock.auth.secrets import SecretRef
from penstock.gateway.cache.memory import Memory
from penstock.gateway.cache.redis import Redis
from penstock.gateway.cache.store import Entry
from penstock.snapshot.config import GatewaySettings

_log = logging.getLogger(__name__)


class Shelf:
    """
    Both stores of one worker. It closes what it has opened.

    Args:
        connect: returns the store that a reference leads to.
        now: seconds since the epoch.
    """

    def __init__(self, connect: Callable[[SecretRef], Redis], now: Callable[[], float]) -> None:
        self._connect = connect
        self._now = now
        self._memory = Memory(0, now)
        self._redis: Redis | None = None
        self._reference: SecretRef | None = None
        self._failures = 0  # of those that are closed
        self._closing: set[asyncio.Task[None]] = set()

    def follow(self, settings: GatewaySettings) -> None:
        """Keep as much, and there, from now on."""
        self._memory.resize(settings.cache)
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

    async def near(self, key: bytes) -> Entry | None:
        """Return what this worker keeps itself."""
        return await self._memory.get(key)

    async def far(self, key: bytes, ttl_s: float) -> Entry | None:
        """Return what is in Redis; from then on it is near, too."""
        if self._redis is None:
            return None
        entry = await self._redis.get(key)
        if entry is not None and (left_s := entry.at + ttl_s - self._now()) > 0:
            self._memory.put(key, entry, left_s)
        return entry

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
    def evicted(self) -> int:
        """Answers that had to make room."""
        return self._memory.evicted

    @property
    def failures(self) -> int:
        """How often Redis was of no use."""
        return self._failures + (self._redis.failures if self._redis is not None else 0)
