"""Where a worker's limits are counted, as the configuration says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from penstock.auth.secrets import SecretRef
from penstock.counters.counter import Store

_log = logging.getLogger(__name__)


class Elsewhere(Store, Protocol):
    """A store that is connected to."""

    async def aclose(self) -> None:
        """Close the connection."""


class Counting:
    """
    Finds the store that the configuration names: the node's, or another one.

    Args:
        here: where counters are kept when no other place is named.
        connect: returns the store that a reference leads to.
        use: is told of each change.
    """

    def __init__(self, here: Store, connect: Callable[[SecretRef], Elsewhere], use: Callable[[Store], None]) -> None:
        self._here = here
        self._connect = connect
        self._use = use
        self._reference: SecretRef | None = None
        self._elsewhere: Elsewhere | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def follow(self, reference: SecretRef | None) -> None:
        """Count there from now on."""
        if reference == self._reference:
            return
        before, self._reference = self._elsewhere, reference
        self._elsewhere = None if reference is None else self._connect(reference)
        self._use(self._elsewhere or self._here)
        if before is not None:
            task = asyncio.create_task(before.aclose(), name="leave counters")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        _log.info("counters are %s", "the node's" if reference is None else "in Redis")

    async def aclose(self) -> None:
        """Close what is open elsewhere."""
        if self._elsewhere is not None:
            await self._elsewhere.aclose()
        await asyncio.gather(*self._closing)
