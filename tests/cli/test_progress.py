"""The line on the terminal while the replicas load."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.snapshot.file import publish
from penstock.snapshot.fleet import Fleet, Replica, ReplicaState
from penstock.types.home import Home

PROGRAM = """
import asyncio, sys
from pathlib import Path
from penstock.cli.progress import Progress
from penstock.types.home import Home

async def main():
    progress = Progress(Home(Path(sys.argv[1])))
    watching = asyncio.create_task(progress.watch())
    await asyncio.to_thread(sys.stdin.readline)
    progress.stop()
    progress.stop()
    print("the block", flush=True)
    await watching

asyncio.run(main())
"""


@pytest.fixture
def loading(home: Home) -> Home:
    home.snapshot.mkdir()
    starting = Replica("mini/0", "mini", "1", ReplicaState.STARTING, "s", 1)
    ready = Replica("mini/1", "mini", "1", ReplicaState.READY, "s", 2)
    publish(home.snapshot, Fleet(1, (starting, ready)))
    return home


def started(home: Home, stderr: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(home.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env={**os.environ, "TERM": "xterm"},
    )


def test_what_loads_is_shown_and_taken_away(loading: Home) -> None:
    terminal, child = pty.openpty()
    shown = b""
    with started(loading, child) as process:
        os.close(child)
        while b"Loading mini/0" not in shown:
            shown += os.read(terminal, 4096)
        assert process.communicate(b"\n", 30)[0] == b"the block\n"
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # how a terminal tells its end
            break
        shown += piece
    os.close(terminal)
    assert b"mini/1" not in shown
    assert shown.rstrip().endswith(b"\x1b[2K")


def test_without_a_terminal_nothing_is_shown(loading: Home, tmp_path: Path) -> None:
    with (tmp_path / "err").open("wb") as err, started(loading, err.fileno()) as process:
        assert process.communicate(b"\n", 30)[0] == b"the block\n"
    assert (tmp_path / "err").read_bytes() == b""
