"""A node with fake children as a process: `fake_node.py HOME PORT`. Prints its port when all is ready."""

from __future__ import annotations

import sys
from pathlib import Path

import uvloop

from penstock.node.node import run
from penstock.node.settings import NodeSettings, Started
from penstock.types.home import Home
from tests.node.fakes import COMMANDS, ENGINES


def ready(started: Started) -> None:
    assert started.listen is not None
    print(started.listen[1], flush=True)


if __name__ == "__main__":
    settings = NodeSettings(
        home=Home(Path(sys.argv[1])),
        stack_path=None,
        workers=2,
        listen=("127.0.0.1", int(sys.argv[2])),
        admin=("127.0.0.1", 0),
        ops=None,
        on_ready=ready,
    )
    sys.exit(uvloop.run(run(settings, engines=ENGINES, commands=COMMANDS)))
