"""What the tests of the node share: a loop like the node's, waiting for a condition, a short data directory."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop

from penstock.types.home import Home

T = TypeVar("T")


def run(case: Coroutine[Any, Any, T]) -> T:
    """Run on the loop that the node uses."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(case)


async def until(condition: Callable[[], object], within_s: float = 20.0) -> None:
    """Wait for something real to become true."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # outside processes have no event here
            await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether a process has ended (an unreaped one has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def home() -> Iterator[Home]:
    root = Path(tempfile.mkdtemp(prefix="ps-"))  # short, so that Unix sockets fit
    home = Home(root)
    for directory in (home.snapshot, home.run):
        directory.mkdir(mode=0o700)
    yield home
    shutil.rmtree(root)
