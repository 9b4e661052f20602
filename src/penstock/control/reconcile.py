"""Follows the stack file: what it says becomes what gateways and the node are told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from penstock.control.publish import Published
from penstock.snapshot.config import Config
from penstock.snapshot.fleet import Desired
from penstock.stack.compile import config_of, desired_of
from penstock.stack.stack import Stack
from penstock.types.errors import StackError

_INTERVAL_S = 0.25

_log = logging.getLogger(__name__)


class Source(Protocol):
    """Where stacks come from (`penstock.stack.watch.Watch`). Made by whoever makes the reconciler, and its alone."""

    def start(self) -> Stack:
        """Return the first stack. Raises StackError; a later poll returns the mended one."""

    def poll(self) -> Stack | StackError | None:
        """Return what is new since the last call, an error for an invalid stack; None when nothing is."""


class Reconciler:
    """
    Publishes `Config` and `Desired` for each valid stack. One task runs it; others read its attributes.

    Everything that can fail is done before the first document is replaced. `Config` goes first: when a deployment is
    removed, no exchange is sent to it any more when its engine is told to go.

    Attributes:
        stack: what is published now, or None while the file has not been valid since this control started.
        error: why the file as it is now is not used, or empty.
        running: settings that are taken up once, when the node starts, as they were then; empty before the first stack.
    """

    def __init__(
        self,
        source: Source,
        config: Published[Config],
        desired: Published[Desired],
        workers: int | None,
        clock: Callable[[], float],
        prepare: Callable[[Config], Awaitable[None]] | None = None,
    ) -> None:
        """
        Args:
            prepare: called before a configuration is published.
            workers: gateway workers that run now; None: as many as the first stack says.
            clock: seconds since the epoch.
        """
        self._source = source
        self._config = config
        self._desired = desired
        self._workers = workers
        self._clock = clock
        self._prepare = prepare
        self.running: dict[str, str] = {}
        self._pending: Stack | None = None
        self.stack: Stack | None = None
        self.error = ""

    async def start(self) -> None:
        """
        Publish the stack as it is now.

        Raises:
            StackError: it is invalid, and there is no earlier one to go on with.
            OSError: the documents cannot be written.
        """
        try:
            await self._apply(await asyncio.to_thread(self._source.start))
        except StackError as error:
            if self._config.current is None:
                raise
            self._refuse(error)

    async def run(self) -> None:
        """Follow the stack for ever, until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            await self.step()

    async def step(self) -> None:
        """Look once, and publish what is new. What cannot be written now is tried again next time."""
        found = await asyncio.to_thread(self._source.poll)
        if isinstance(found, StackError):
            self._refuse(found)
        elif found is not None:
            self._pending = found
        if self._pending is None:
            return
        try:
            await self._apply(self._pending)
        except StackError as error:
            self._refuse(error)
        except OSError as error:
            if not self.error:
                _log.error("the stack cannot be published; trying again", extra={"fields": {"error": str(error)}})
            self.error = f"the stack cannot be published: {error.strerror}"
            return
        self._pending = None

    @property
    def config(self) -> Config | None:
        """What gateways are told now."""
        return self._config.current

    def restart_needed(self) -> list[str]:
        """Return the settings that differ from what runs and take effect only when everything is started again."""
        if self.stack is None:
            return []
        return [name for name, value in fixed(self.stack).items() if value != self.running.get(name, value)]

    def _refuse(self, error: StackError) -> None:
        self._pending = None  # what the file said before this is not what it says now
        self.error = str(error)
        _log.error("the stack is not valid and the one before stays", extra={"fields": {"error": self.error}})

    async def _apply(self, stack: Stack) -> None:
        if not self.running:
            self.running = fixed(stack)
            if self._workers is not None:
                self.running["gateway.workers"] = str(self._workers)
        workers = int(self.running["gateway.workers"])
        config = config_of(stack, self._config.next_version, self._created(), workers)
        desired = desired_of(stack, self._desired.next_version)
        if self._prepare is not None:
            await self._prepare(config)
        await self._config.replace(config)
        await self._desired.replace(desired)
        self.stack, self.error = stack, ""
        _log.info("stack published", extra={"fields": {"config": config.version, "desired": desired.version}})
        if later := self.restart_needed():
            _log.warning("these changes take effect at the next start: %s", ", ".join(later))

    def _created(self) -> int:
        """Return when models were first served here, so that it stays the same over restarts and changes."""
        models = self._config.current.models.values() if self._config.current is not None else ()
        return min((model.created for model in models), default=int(self._clock()))


def fixed(stack: Stack) -> dict[str, str]:
    """Return the settings that are taken up once, when the node starts."""
    return {
        "gateway.listen": str(stack.gateway.listen),
        "gateway.ops": str(stack.gateway.ops),
        "gateway.workers": str(stack.gateway.workers),
        "gateway.tls": str(stack.gateway.tls),
        "admin.listen": str(stack.admin.listen),
        "admin.tls": str(stack.admin.tls),
        "state.database": str(stack.state.database),
    }
