"""What is still missing, on one line of the terminal while `penstock up` starts."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

from penstock.cli import output
from penstock.snapshot.config import Config
from penstock.snapshot.file import Reader, UnknownFormat
from penstock.snapshot.fleet import Fleet, ReplicaState
from penstock.snapshot.principals import Principals
from penstock.types.home import Home

if TYPE_CHECKING:  # loaded only when there is a terminal to show it on
    from rich.live import Live

_LOOK_S = 0.2
_PATIENCE_S = 1.0  # a control that starts at the same time needs no mention


class Progress:
    """
    Follows the fleet until `stop`. Unless standard error is a terminal, it shows only, once, that control is missing.

    Args:
        awaits_control: nothing can serve before a control, which is not a part of this node, has published.
        elsewhere: it is on another host.

    Made once per start; `watch` is a task of the node's event loop, `stop` may be called from there, and again.
    """

    def __init__(self, home: Home, *, awaits_control: bool = False, elsewhere: bool = False) -> None:
        self._home = home
        self._awaits_control = awaits_control
        self._elsewhere = elsewhere
        self._reader = Reader(home.snapshot, Fleet)
        self._stopped = asyncio.Event()
        self._live: Live | None = None

    async def watch(self) -> None:
        """Show the line, and keep it true."""
        if not sys.stderr.isatty():
            await self._mention_control()
            return
        if self._stopped.is_set():
            return
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        spinner = Spinner("dots", "Starting …")
        # Standard output stays what it is: the ready block must reach it whole, wherever it goes.
        console = Console(file=sys.stderr)
        with Live(spinner, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as self._live:
            began = time.monotonic()
            while not self._stopped.is_set():
                if time.monotonic() - began >= _PATIENCE_S and self._control_missing():
                    spinner.update(text=self._missing)
                elif loading := self._loading():
                    spinner.update(text=f"Loading {', '.join(loading)} …")
                try:
                    async with asyncio.timeout(_LOOK_S):
                        await self._stopped.wait()
                except TimeoutError:
                    continue

    @property
    def _missing(self) -> str:
        if self._elsewhere:
            return "Waiting for what control has published (the log says whether it is reachable) …"
        return f"Waiting for control to publish to {output.line(self._home.root)} …"

    async def _mention_control(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._stopped.wait()
        except TimeoutError:
            if self._control_missing():
                output.note(self._missing)

    def _control_missing(self) -> bool:
        """Whether gateways of this node wait for documents."""
        if not self._awaits_control:
            return False
        snapshot = self._home.snapshot
        try:
            return Reader(snapshot, Config).changed() is None or Reader(snapshot, Principals).changed() is None
        except UnknownFormat:  # of another version; control replaces it
            return True

    def stop(self) -> None:
        """Take the line away, before this returns."""
        self._stopped.set()
        if self._live is not None:
            self._live.stop()

    def _loading(self) -> list[str]:
        """Return the replicas that are starting, if that has changed."""
        try:
            fleet = self._reader.changed()
        except UnknownFormat:  # of another version; the node replaces it
            return []
        if fleet is None:
            return []
        return [replica.name for replica in fleet.replicas if replica.state is ReplicaState.STARTING]
