"""Real servers for tests, on free loopback ports, ended by pid. What is not installed skips the tests that need it."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
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


class PostgresServer:
    """A PostgreSQL; a context manager. Where we are root it runs as the user `postgres`, as it must."""

    def __init__(self) -> None:
        found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
        command = shutil.which("postgres", path=os.pathsep.join([*map(str, found), os.environ.get("PATH", "")]))
        if command is None:
            pytest.skip("PostgreSQL is not installed: make setup-system")
        self._programs = Path(command).resolve().parent
        self._user = "postgres" if os.getuid() == 0 else None
        self._directory = tempfile.TemporaryDirectory(prefix="penstock-postgres-")
        self._data = Path(self._directory.name) / "data"
        self._numbers = itertools.count()
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, name: str) -> str:
        """Return the address of a database."""
        return f"postgresql://penstock:hunter2@127.0.0.1:{self.port}/{name}"

    def make(self) -> str:
        """Make a database, and return its name."""
        name = f"penstock{next(self._numbers)}"
        self.tell(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def tell(self, statement: str, database: str = "postgres") -> str:
        """Run a statement as psql does, and return what it prints."""
        options = ["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        return self._program("psql", *options, "-c", statement, self.url(database)).strip()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        self._process = subprocess.Popen(
            [self._programs / "postgres", "-D", self._data, *options, "-c", "unix_socket_directories="],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            user=self._user,
        )
        eventually(self._answers, "PostgreSQL")

    def _answers(self) -> bool:
        with contextlib.suppress(subprocess.CalledProcessError):
            self._program("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port))
            return True
        return False

    def _program(self, name: str, *arguments: str | Path, user: str | None = None) -> str:
        command = [self._programs / name, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, user=user, cwd="/").stdout

    def freeze(self) -> None:
        """Let all of it stand still."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End all of it at once."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _signal(self, number: int) -> None:
        assert self._process is not None, "it runs"
        for child in psutil.Process(self._process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(number)
        self._process.send_signal(number)

    def __enter__(self) -> Self:
        password = Path(self._directory.name) / "password"
        password.write_text("hunter2\n")
        for path in (Path(self._directory.name), password):
            if self._user is not None:
                shutil.chown(path, self._user)
        options = ["-U", "penstock", "--auth=scram-sha-256", "--no-sync", "--locale=C.UTF-8"]
        self._program("initdb", "-D", self._data, f"--pwfile={password}", *options, user=self._user)
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
