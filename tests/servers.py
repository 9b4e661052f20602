"""Real servers for tests, on free loopback ports, ended by pid. What is not installed skips the tests that need it."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
from types import TracebackType
from typing import Self

import pytest
from redis import Redis, RedisError

from penstock.lab.running import free_port
from tests.processes import eventually


class RedisServer:
    """A Redis that keeps nothing over a restart; a context manager."""

    def __init__(self) -> None:
        self._command = shutil.which("redis-server")
        if self._command is None:
            pytest.skip("redis-server is not installed: make setup-system")
        self._directory = tempfile.TemporaryDirectory(prefix="penstock-redis-")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._command is not None
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [self._command, *options, "--dir", self._directory.name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        with self.client() as client:
            eventually(lambda: _answers(client), "Redis")

    def client(self) -> Redis:
        """Return a client, to be closed."""
        return Redis(port=self.port, decode_responses=True, socket_timeout=30)

    def freeze(self) -> None:
        """Let it accept and never answer."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _signal(self, number: int) -> None:
        assert self._process is not None, "it runs"
        self._process.send_signal(number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill()
        self._directory.cleanup()


def _answers(client: Redis) -> bool:
    with contextlib.suppress(RedisError):
        return bool(client.ping())
    return False
