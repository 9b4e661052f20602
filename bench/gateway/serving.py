"""A gateway that runs: where it listens, what a request to it carries, which processes it is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.gateway import process
from bench.gateway.probe import await_answer


@dataclass(frozen=True, slots=True)
class Place:
    """
    Where a gateway is to run.

    Attributes:
        directory: empty, for its files.
        upstream_port: of the upstream that it is to serve.
        streams: it is about to carry streams.
        core: for the gateway. side: for what belongs to it but carries no request.
    """

    directory: Path
    upstream_port: int
    streams: bool
    core: int
    side: int


@dataclass(frozen=True, slots=True)
class Serving:
    """
    Attributes:
        headers: header lines that each request needs, CRLF after each.
        pids: the processes that carry requests. beside: the others of the same gateway.
        ready_s: from its start to its first good answer.
        worker_ready_s: the same for the process that carries requests alone, where that is another figure.
    """

    port: int
    model: str
    headers: bytes
    pids: tuple[int, ...]
    ready_s: float
    beside: tuple[int, ...] = ()
    worker_ready_s: float | None = None


class Gateway(Protocol):
    """
    Something to be measured.

    Attributes:
        name: for `--peers` and the raw figures. title: for the table.
        about: the version, and what a reader must know to judge the row.
        rust: a Rust router, against the best of which ratios are given.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def about(self) -> str: ...
    @property
    def rust(self) -> bool: ...

    def install(self) -> None:
        """
        Fetch what is missing.

        Raises:
            Unavailable: it cannot be had here.
        """

    def serve(self, place: Place) -> AbstractContextManager[Serving]:
        """
        Run it for the time of a block.

        Raises:
            Unavailable: it does not start.
        """


@dataclass(frozen=True, slots=True)
class Launch:
    """
    How a gateway that is one command is started and spoken to.

    Attributes:
        environ: variables on top.
    """

    command: Sequence[str]
    port: int
    model: str = "chat"
    headers: bytes = b""
    environ: Mapping[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def launched(launch: Launch, place: Place) -> Iterator[Serving]:
    """Run a command as a gateway on its core."""
    began = time.monotonic()
    running = process.spawn(launch.command, place.core, place.directory, environ=launch.environ)
    try:
        await_answer(launch.port, launch.headers, launch.model, running, place.directory)
        ready_s = time.monotonic() - began
        yield Serving(launch.port, launch.model, launch.headers, tuple(process.tree(running.pid)), ready_s)
    finally:
        process.end(running)
