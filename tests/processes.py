"""Real processes for tests: a gateway worker and the lab upstream, on free loopback ports, ended by pid."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from penstock.auth import keys, pepper
from penstock.journal.records import Record, Settled
from penstock.journal.segment import segments
from penstock.pricing.price import Price
from penstock.snapshot.config import Config, Deployment, GatewaySettings, Model, Target
from penstock.snapshot.file import publish
from penstock.snapshot.fleet import Fleet
from penstock.snapshot.principals import KeyRecord, Principals
from penstock.types.address import Address
from penstock.types.home import Home

T = TypeVar("T")
PATIENCE_S = 30.0


def eventually(probe: Callable[[], T | None], what: str = "it") -> T:
    """Return the probe's first true value; fails after a generous while."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {PATIENCE_S:g} s")
        time.sleep(0.01)


class Child:
    """A process that is ended, by its id, when the block is left."""

    def __init__(self, command: list[str], *, pass_fds: tuple[int, ...] = (), environ: Mapping[str, str] | None = None,
                 log: Path | None = None) -> None:  # fmt: skip
        with contextlib.ExitStack() as stack:
            errors = stack.enter_context(log.open("ab")) if log else None
            self.process = subprocess.Popen(
                command,
                pass_fds=pass_fds,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **(environ or {})},
            )
        self.pid = self.process.pid

    def line(self) -> str:
        """Return the next line of its output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(PATIENCE_S)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Lab(Child):
    """The lab upstream."""

    def __init__(self, *extra: str) -> None:
        super().__init__([sys.executable, "-m", "penstock.lab.upstream", "--listen", "127.0.0.1:0", "--json", *extra])
        line = self.line()
        if not line:
            self.stop()
            raise AssertionError("the lab did not start")
        self.url: str = json.loads(line)["url"]
        self.port = int(self.url.rpartition(":")[2])

    def stats(self) -> dict[str, Any]:
        """Return what it has counted."""
        stats: dict[str, Any] = httpx.get(f"{self.url}/lab/stats").json()
        return stats

    def last(self, count: int = 1) -> list[dict[str, Any]]:
        """Return the last requests it received."""
        got = httpx.get(f"{self.url}/lab/requests", params={"last": count}).json()
        return list(got["requests"] if isinstance(got, dict) else got)

    def address(self) -> Address:
        """Return where it is."""
        return Address(host="127.0.0.1", port=self.port, path="/v1")


PRICE = Price(1_000_000_000, 2_000_000_000, 500_000_000)  # 1, 2 and 0.5 dollars per million tokens


def provider(name: str, address: Address, **fields: Any) -> Deployment:
    """Return a hosted deployment."""
    defaults: dict[str, Any] = {
        "provider": "openai", "model": f"{name}-upstream", "engine": False, "price": PRICE, "seats": 64,
        "queue": 0,
    }  # fmt: skip
    return Deployment(name=name, address=address, **{**defaults, **fields})


def model(name: str, *targets: str, **fields: Any) -> Model:
    """Return a model over deployments of equal weight."""
    defaults: dict[str, Any] = {"fallback": (), "first_token_s": 10.0, "total_s": 30.0, "created": 1_700_000_000}
    return Model(name=name, targets=tuple(Target(target) for target in targets), **{**defaults, **fields})


class Front(Child):
    """A gateway worker with documents that the test publishes, and one key."""

    def __init__(self, home: Path, *, environ: Mapping[str, str] | None = None) -> None:
        self.home = Home(home)
        for directory in (self.home.snapshot, self.home.journal, self.home.run):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = keys.create(pepper.load(home, {}))
        self.key = new.key
        self.key_id = new.id
        self.records = {new.id: KeyRecord(new.id, new.digest, "default")}
        self._versions = 0
        self._left = False
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        local = socket.socket(socket.AF_UNIX)
        local.bind(str(self.home.gateway_socket))
        local.listen(64)
        self.publish_keys()
        super().__init__(
            [sys.executable, "-m", "penstock.gateway", "--home", str(home), "--index", "0",
             "--listen", str(self.listener.fileno()), "--local", str(local.fileno())],
            pass_fds=(self.listener.fileno(), local.fileno()),
            environ=environ,
            log=home / "gateway.log",
        )  # fmt: skip
        local.close()
        self.client = httpx.Client(
            base_url=self.url, headers={"authorization": f"Bearer {self.key}"}, timeout=60, trust_env=False
        )

    def publish(self, deployments: list[Deployment], models: list[Model], **settings: Any) -> None:
        """Publish a configuration."""
        self._versions += 1
        publish(
            self.home.snapshot,
            Config(
                self._versions,
                {deployment.name: deployment for deployment in deployments},
                {entry.name: entry for entry in models},
                GatewaySettings(**settings),
            ),
        )

    def publish_keys(self) -> None:
        """Publish the keys in `records`."""
        self._versions += 1
        publish(self.home.snapshot, Principals(self._versions, dict(self.records)))

    def publish_fleet(self, fleet: Fleet) -> None:
        """Publish the replicas."""
        publish(self.home.snapshot, fleet)

    def chat(self, content: str = "hello", **fields: Any) -> httpx.Response:
        """Ask the model `chat` unless another is given."""
        body = {"model": "chat", "messages": [{"role": "user", "content": content}], **fields}
        return self.client.post("/v1/chat/completions", json=body)

    def journal(self) -> list[Record]:
        """Return all records written so far."""
        return [record for segment in segments(self.home.journal) for record in segment.read(0, 100_000)[0]]

    def settled(self, request_id: str) -> Settled:
        """Return the one settled record of a request, waiting for it; fails when there are two."""
        found = eventually(
            lambda: [r for r in self.journal() if isinstance(r, Settled) and r.id == request_id], "the settlement"
        )
        assert len(found) == 1, "an exchange is settled once"
        return found[0]

    def log(self) -> str:
        """Return what the worker has logged."""
        return (self.home.root / "gateway.log").read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Close the client and the listener, end the process, and leave nothing outside the data directory."""
        self.client.close()
        self.listener.close()
        try:
            return super().stop(number)
        finally:
            if not self._left and self.home.run.parent != self.home.root:
                shutil.rmtree(self.home.run)
            self._left = True


@contextlib.contextmanager
def front_with_lab(home: Path, **fields: Any) -> Iterator[tuple[Front, Lab]]:
    """A gateway whose model `chat` is the lab."""
    with Lab() as lab, Front(home) as front:
        front.publish([provider("lab", lab.address())], [model("chat", "lab", **fields)])
        yield front, lab
