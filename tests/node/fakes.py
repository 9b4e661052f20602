"""An adapter for the fake engine, and the documents and children that tests of the node need."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from penstock.node.engines.engine import Progress
from penstock.node.settings import Commands, NodeSettings
from penstock.snapshot.file import Reader, publish
from penstock.snapshot.fleet import Desired, EngineSpec, Fleet, Replica
from penstock.types.errors import WeightsError
from penstock.types.home import Home


class FakeEngine:
    """Runs `fake_engine.py`; good weights are a JSON file."""

    def check_weights(self, path: Path) -> None:
        try:
            json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path} is not fake weights") from error

    def command(self, spec: EngineSpec, replica: str, socket: Path) -> list[str]:
        script = Path(__file__).with_name("fake_engine.py")
        return [sys.executable, str(script), str(socket), spec.weights, str(os.getpid())]

    def environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        return {"PATH": environ["PATH"]}

    def warm_up(self, spec: EngineSpec) -> bytes:
        return b"{}"

    def generated(self, body: bytes) -> bool:
        return body == b"token"

    def progress(self, metrics: bytes) -> Progress | None:
        return Progress(**json.loads(metrics))

    def reason(self, output: str) -> str:
        return output.strip()


ENGINES = {"fake": FakeEngine()}


def order(weights: Path, start: str = "ok", running: int = 0) -> None:
    """Tell the processes with these weights what to do."""
    draft = weights.with_suffix(".draft")
    draft.write_text(json.dumps({"start": start, "running": running}))
    draft.replace(weights)


def spec(weights: Path, version: str = "a", replicas: int = 1, engine: str = "fake") -> EngineSpec:
    return EngineSpec("mini", version, engine, str(weights), replicas, 512, 2)


class Desire:
    """Control's part: writes `Desired`."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._version = 0

    def __call__(self, *engines: EngineSpec) -> None:
        self._version += 1
        publish(self._home.snapshot, Desired(self._version, engines))


class Seen:
    """The gateways' part: reads `Fleet`."""

    def __init__(self, home: Home) -> None:
        self._reader = Reader(home.snapshot, Fleet)
        self.fleet = Fleet(0, ())
        self.history: list[Fleet] = []

    def replicas(self) -> tuple[Replica, ...]:
        new = self._reader.changed()
        if new is not None:
            self.fleet = new
            self.history.append(new)
        return self.fleet.replicas

    def states(self) -> list[str]:
        return [f"{replica.name} {replica.version} {replica.state}" for replica in self.replicas()]


# Speaks the link as the gateway and control do; arguments: link, listener. Ends itself when the link ends.
CHILD = r"""
import os, signal, socket, sys, threading
link, listener = socket.socket(fileno=int(sys.argv[1])), socket.socket(fileno=int(sys.argv[2]))
listener.setblocking(True)
served = 0

def say(kind, rest=""):
    link.sendall(b'{"type":"%s"%s}\n' % (kind.encode(), rest.encode()))

def metrics():
    say("metrics", ',"families":[["served","","counter",[["served_total",{},%d]]]]' % served)

def leave(*_):
    link.sendall(b"not a message\n" * 5000)  # so that what follows is still unread when the process has ended
    metrics()
    os._exit(0)

def watch():
    link.recv(1)
    os._exit(9)

signal.signal(signal.SIGTERM, leave)
threading.Thread(target=watch, daemon=True).start()
if os.environ.get("FAKE_NOTICE"):
    say("notice", ',"name":"first_key","text":"sk-once"')
say("ready")
while True:
    connection, _ = listener.accept()
    with connection:
        served += 1
        metrics()
        connection.sendall(b"%d" % os.getpid())
"""


def child(link: int, listener: int) -> list[str]:
    return [sys.executable, "-c", CHILD, str(link), str(listener)]


def gateway(_: NodeSettings, index: int, listen: Sequence[int], local: int, link: int) -> list[str]:
    """A worker that answers on the data port; `local` is of no use to it."""
    return child(link, listen[index])


def control(_: NodeSettings, admin: int, local: int, link: int) -> list[str]:
    """A control that answers on the admin port and has a first key to show."""
    return ["/usr/bin/env", "FAKE_NOTICE=1", *child(link, admin)]


COMMANDS = Commands(gateway=gateway, control=control)
