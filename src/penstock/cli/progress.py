"""What is still loading, on one line of the terminal while `penstock up` starts."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from penstock.snapshot.file import Reader, UnknownFormat
from penstock.snapshot.fleet import Fleet, ReplicaState
from penstock.types.home import Home

if TYPE_CHECKING:  # loaded only when there is a terminal to show it on
    from rich.live import Live

_LOOK_S = 0.2


class Progress:
    """
    Follows the fleet until `stop`. Shows nothing unless standard error is a terminal.

    Made once per start; `watch` is a task of the node's event loop, `stop` may be called from there, and again.
    """

    def __init__(self, home: Home) -> None:
        self._reader = Reader(home.snapshot, Fleet)
        self._stopped = asyncio.Event()
        self._live: Live | None = None

    async def watch(self) -> None:
        """Show the line, and keep it true."""
        if not sys.stderr.isatty() or self._stopped.is_set():
            return
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        spinner = Spinner("dots", "Starting …")
        # Standard output stays what it is: the ready block must reach it whole, wherever it goes.
        console = Console(file=sys.stderr)
        with Live(spinner, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as self._live:
            while not self._stopped.is_set():
                if loading := self._loading():
                    spinner.update(text=f"Loading {', '.join(loading)} …")
                try:
                    async with asyncio.timeout(_LOOK_S):
                        await self._stopped.wait()
                except TimeoutError:
                    continue

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
