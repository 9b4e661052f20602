"""Where a worker's limits are counted, as the configuration says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from penstock.auth.secrets import SecretRef
from penstock.counters.counter import Ask, Grant, Refusal, Return, Store

_log = logging.getLogger(__name__)


class Elsewhere(Store, Protocol):
    """A store that is connected to."""

    async def aclose(self) -> None:
        """Close the connection."""


class Counting:
    """
    A `Store` that is the node's, or another one while the configuration names one.

    When it changes, what is held of the one before is not counted by the other, until it has been given back.

    Args:
        here: where counters are kept when no other place is named.
        connect: returns the store that a reference leads to.
    """

    def __init__(self, here: Store, connect: Callable[[SecretRef], Elsewhere]) -> None:
        self._here = here
        self._connect = connect
        self._reference: SecretRef | None = None
        self._elsewhere: Elsewhere | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def follow(self, reference: SecretRef | None) -> None:
        """Count there from now on."""
        if reference == self._reference:
            return
        if self._elsewhere is not None:
            task = asyncio.create_task(self._elsewhere.aclose(), name="leave counters")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        self._reference = reference
        self._elsewhere = None if reference is None else self._connect(reference)
        _log.info("counters are %s", "the node's" if reference is None else "in Redis")

    async def take(self, asks: Sequence[Ask]) -> Sequence[Grant] | Refusal:
        """Ask whoever counts now."""
        return await (self._elsewhere or self._here).take(asks)

    def give(self, returns: Sequence[Return]) -> None:
        """Give back to whoever counts now."""
        (self._elsewhere or self._here).give(returns)

    async def aclose(self) -> None:
        """Close what is open elsewhere."""
        self.follow(None)
        await asyncio.gather(*self._closing)
