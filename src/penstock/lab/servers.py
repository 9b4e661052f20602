"""A Redis and a PostgreSQL for drills and tests, on free loopback ports, to be frozen, killed and started again."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from penstock.lab.running import children, free_port
from penstock.types.errors import StartError

_PATIENCE_S = 60.0
PASSWORD = "hunter2"  # noqa: S105  # of a server that nobody else reaches, and lives for minutes


class Server(ABC):
    """
    A program in a directory of its own; a context manager, which starts it and ends it.

    Attributes:
        port: on 127.0.0.1; the same over all starts.
    """

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="penstock-")
        self.root = Path(self._directory.name)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """
        Start it, and wait until it answers.

        Raises:
            StartError: it does not answer in time.
        """

    def freeze(self) -> None:
        """Let it accept connections and never answer."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once, all of its processes."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _run(self, command: list[str | Path], user: str | None = None) -> None:
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=user, cwd="/"
        )

    def _signal(self, number: int) -> None:
        if self._process is None:
            raise ValueError("it does not run")
        for pid in (self._process.pid, *(child.pid for child in children(self._process.pid))):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill()
        self._directory.cleanup()


class RedisServer(Server):
    """
    A Redis that keeps nothing over a restart.

    Raises:
        StartError: there is none on this machine.
    """

    def __init__(self) -> None:
        super().__init__()
        self._program = _found("redis-server")
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = ["--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        self._run([self._program, *options, "--dir", self.root])
        _wait(self._answers, "Redis")

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=_PATIENCE_S) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(7) == b"+PONG\r\n"


class PostgresServer(Server):
    """
    A PostgreSQL. Where we are root it runs as the user `postgres`, as it must.

    Raises:
        StartError: there is none on this machine.
    """

    def __init__(self) -> None:
        super().__init__()
        places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
        self._programs = _found("postgres", *places).resolve().parent
        self._user = "postgres" if os.getuid() == 0 else None
        self._data = self.root / "data"
        self._numbers = itertools.count()

    def url(self, name: str) -> str:
        """Return the address of a database."""
        return f"postgresql://penstock:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def make(self) -> str:
        """Make a database, and return its name."""
        name = f"penstock{next(self._numbers)}"
        self.tell(f"CREATE DATABASE {name} TEMPLATE template0")
        return name

    def tell(self, statement: str, database: str = "postgres") -> str:
        """Run a statement as psql does, and return what it prints: fields apart by `|`."""
        options = ["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        return self._call("psql", *options, "-c", statement, self.url(database)).strip()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        if not self._data.exists():
            self._make_cluster()
        lock = self._data / "postmaster.pid"
        lock.unlink(missing_ok=True)  # of one that was killed: its number may be somebody else's now
        options = ["listen_addresses=127.0.0.1", "fsync=off", "unix_socket_directories="]
        settings = [part for option in options for part in ("-c", option)]
        self._run([self._programs / "postgres", "-D", self._data, "-p", str(self.port), *settings], self._user)
        _wait(self._answers, "PostgreSQL")

    def _make_cluster(self) -> None:
        password = self.root / "password"
        password.write_text(f"{PASSWORD}\n")
        for path in (self.root, password):
            if self._user is not None:
                shutil.chown(path, self._user)
        options = ["-U", "penstock", "--auth=scram-sha-256", "--no-sync", "--locale=C.UTF-8"]
        self._call("initdb", "-D", self._data, f"--pwfile={password}", *options, user=self._user)

    def _answers(self) -> bool:
        try:
            return self.tell("SELECT 1") == "1"
        except subprocess.CalledProcessError:
            return False

    def _call(self, name: str, *arguments: str | Path, user: str | None = None) -> str:
        command = [self._programs / name, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, user=user, cwd="/").stdout


def _found(program: str, *places: Path) -> Path:
    path = os.pathsep.join([*map(str, places), os.environ.get("PATH", "")])
    found = shutil.which(program, path=path)
    if found is None:
        raise StartError(f"{program} is not installed; `make setup-system` installs it")
    return Path(found)


def _wait(answers: Callable[[], bool], name: str) -> None:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        try:
            if answers():
                return
        except OSError:
            pass
        time.sleep(0.02)  # a server that starts has no other way to say that it has
    raise StartError(f"{name} does not answer")
