"""
A whole Penstock in a directory of its own, for drills, soaks and benchmarks: `penstock up` as a person would start it.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec

from penstock.types.errors import StartError
from penstock.types.home import Home

_URL = re.compile(r"^\s+gateway\s+(\S+?)/v1\b", re.MULTILINE)
_ADMIN = re.compile(r"^\s+admin\s+(http\S+)", re.MULTILINE)
_OPS = re.compile(r"\bops:?\s+(http\S+)")
_KEY = re.compile(r"\b(sk-ps-\S+)")
_ADMIN_KEY = re.compile(r"\b(sk-psadmin-\S+)")
_READY = re.compile(r"is ready \(([0-9.]+) s\)")
_MAX_OUTPUT = 1024 * 1024


class Process(msgspec.Struct, frozen=True):
    """
    One process under the node.

    Attributes:
        title: `penstock gateway 0`.
    """

    pid: int
    title: str


class Running:
    """
    A running Penstock; made by `start`, used as a context manager that stops it.

    Attributes:
        process: the node.
        url, admin_url, ops_url: without a path.
        key: the first key; empty when this directory had one before.
        ready_s: seconds from the start of the command to the ready line, as a person would measure it.
        output: all that has been printed before and with the ready block.
    """

    def __init__(self, process: subprocess.Popen[bytes], home: Home, output: str, ready_s: float) -> None:
        self.process = process
        self.home = home
        self.output = output
        self.ready_s = ready_s
        self.url = _first(_URL, output)
        self.admin_url = _first(_ADMIN, output)
        self.ops_url = _first(_OPS, output)
        self.key = _first(_KEY, output)
        self.admin_key = _first(_ADMIN_KEY, output)

    @property
    def curl(self) -> str:
        """The command that `up` printed to try."""
        return next(line.strip() for line in self.output.splitlines() if line.strip().startswith("curl "))

    def processes(self) -> list[Process]:
        """Return what runs under the node now."""
        return list(children(self.process.pid))

    def pid_of(self, title: str) -> int:
        """Return the process id of the child with this title; LookupError when there is none."""
        for child in self.processes():
            if child.title.startswith(title):
                return child.pid
        raise LookupError(f"no process is called {title!r}")

    def stop(self, limit_s: float = 60.0) -> int:
        """Ask the node to end, as Ctrl-C does, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(limit_s)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(
    home: Path,
    stack: str | None = None,
    *,
    limit_s: float = 120.0,
    environ: Mapping[str, str] | None = None,
    command: Sequence[str] = ("up",),
) -> Running:
    """
    Run `penstock up` with a stack file of this text and wait until it says that it is ready.

    Logs go to `penstock.log` in `home`.

    Args:
        command: another command that serves, with its own arguments.
    Raises:
        StartError: it ended or was not ready in time; the message ends with its output.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = [sys.executable, "-m", "penstock.cli", *command, "--home", str(home)]
    if stack is not None:
        path = home / "penstock.yaml"
        path.write_text(stack)
        line += ["--file", str(path)]
    began = time.monotonic()
    with (home / "penstock.log").open("ab") as log:
        process = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=home,
            env={**os.environ, **(environ or {})},
        )
    output = ""
    try:
        output = _until_ready(process, began + limit_s)
        return Running(process, Home(home), output, time.monotonic() - began)
    except StartError as error:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        tail = (home / "penstock.log").read_text(errors="replace")[-2000:]
        raise StartError(f"{error}\n{tail}") from error


def free_port() -> int:
    """Return a TCP port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def children(pid: int) -> Iterator[Process]:
    """Yield the child processes of a process, theirs included."""
    for listing in Path("/proc").glob(f"{pid}/task/*/children"):
        for child in _read(listing).split():
            title = _read(Path(f"/proc/{int(child)}/cmdline")).replace(b"\0", b" ").decode(errors="replace")
            yield Process(int(child), title.strip())
            yield from children(int(child))


def _read(path: Path) -> bytes:
    """Return a file under /proc, or nothing when its process has just ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return path.read_bytes()
    return b""


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _until_ready(process: subprocess.Popen[bytes], deadline: float) -> str:
    """Read lines until the ready block is complete: it ends with the command to try, or with the last address."""
    assert process.stdout is not None, "started with a pipe"
    output = b""
    while len(output) < _MAX_OUTPUT:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            break
        piece = os.read(process.stdout.fileno(), 65536)
        output += piece
        text = output.decode(errors="replace")
        if _READY.search(text) and text.endswith("\n") and ("curl " in text or "models: none" in text):
            return text
        if not piece:
            raise StartError(f"penstock up ended with code {process.wait()}: {text}")
    raise StartError(f"penstock up was not ready in time: {output.decode(errors='replace')}")


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""
