"""What the node asks of an engine: a process that serves HTTP in the OpenAI dialect on a Unix socket."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from penstock.snapshot.fleet import EngineSpec


class Progress(msgspec.Struct, frozen=True):
    """
    What an engine tells of its work.

    Attributes:
        steps: grows with every decoding step, absolute since the process started.
        running: requests being decoded.
        waiting: requests queued inside the engine.
    """

    steps: int
    running: int
    waiting: int


class Engine(Protocol):
    """
    Adapts one kind of engine. Stateless, shared by all its replicas.

    The process must end with its parent (the node), answer `GET /health` with 200 once it can take requests, answer
    `GET /metrics`, and leave with code 0 on SIGTERM when nothing is in flight.
    """

    def check_weights(self, path: Path) -> None:
        """
        Look whether the file can be what this engine reads. Blocks; called from a thread.

        Raises:
            WeightsError: it is not; the message is one sentence with the path.
        """
        ...

    def command(self, spec: EngineSpec, replica: str, socket: Path) -> list[str]:
        """Return the command line of one process; `replica` is for its title."""
        ...

    def environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return what the process gets of our environment: nothing secret."""
        ...

    def warm_up(self, spec: EngineSpec) -> bytes:
        """Return the body of a `POST /v1/completions` that generates one token."""
        ...

    def generated(self, body: bytes) -> bool:
        """Tell whether the answer to `warm_up` holds a generated token."""
        ...

    def progress(self, metrics: bytes) -> Progress | None:
        """Read the body of `GET /metrics`; None when it is not what this engine writes."""
        ...

    def reason(self, output: str) -> str:
        """Return the sentence in what a failed process printed that names the cause, or ''."""
        ...
