"""What a node is told when it starts."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from penstock.auth.secrets import SecretRef
from penstock.snapshot.fleet import Replica
from penstock.telemetry.link import Notice
from penstock.telemetry.parent import OPTION
from penstock.types.address import Address
from penstock.types.home import Home

HostPort = tuple[str, int]


@dataclass(frozen=True)
class Roles:
    """Which parts this node runs."""

    gateways: bool = True
    control: bool = True
    engines: bool = True


class Join(msgspec.Struct, frozen=True):
    """
    The control elsewhere that this host belongs to.

    Attributes:
        addresses: of admin ports: of the control, and of those that may take its place.
        key: of an admin key with the role `gateway`.
    """

    addresses: tuple[Address, ...]
    key: str


@dataclass(frozen=True)
class Started:
    """
    Everything that is to run runs: all gateway workers and control are ready, each replica is ready or has failed.

    Attributes:
        listen, admin, ops: what is listened on, with the real port where port 0 was asked for; None where nothing is.
        replicas: as they are now; `detail` says why one failed.
    """

    listen: HostPort | None
    admin: HostPort | None
    ops: HostPort | None
    replicas: tuple[Replica, ...]


def _ignore(_: object) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class NodeSettings:
    """
    Attributes:
        stack_path: the stack file, passed on to control; None for the built-in stack.
        workers: gateway processes, at least 1.
        listen, admin, ops: where to listen; None for not at all.
        database: where the address of the database is; None for a file in the data directory.
        admin_tls: paths of the admin port's certificate chain and key; None: it is served in the clear.
        join: where control is, when it is not on this host.
        since_ns: when the node starts, nanoseconds since the epoch.
        drain_s: how long gateways, and then replicas, may finish what they have.
        on_ready: called once, from the event loop, when all is ready.
        on_notice: called with each thing a person should see once, such as a first key; usually before `on_ready`.
        on_stop: called once, from the event loop, with the signal that ends the node.
    """

    home: Home
    stack_path: Path | None
    workers: int
    listen: HostPort | None
    admin: HostPort | None
    ops: HostPort | None
    database: SecretRef | None = None
    admin_tls: tuple[str, str] | None = None
    roles: Roles = Roles()
    join: Join | None = None
    since_ns: int = field(default_factory=time.time_ns)
    drain_s: float = 30.0
    on_ready: Callable[[Started], None] = _ignore
    on_notice: Callable[[Notice], None] = _ignore
    on_stop: Callable[[signal.Signals], None] = _ignore

    def where(self, setting: str) -> str:
        """Say where a person changes `setting`."""
        return f"{setting} in {self.stack_path.name}" if self.stack_path else f"{setting}; no stack file was given"


def gateway_command(settings: NodeSettings, index: int, listen: Sequence[int], local: int, link: int) -> list[str]:
    """Return the command line of a gateway worker; `listen` has the listener of each worker."""
    command = [sys.executable, "-m", "penstock.gateway", "--home", os.fspath(settings.home.root)]
    command += [OPTION, str(os.getpid())]
    command += ["--index", str(index), "--listen", str(listen[index]), "--local", str(local), "--link", str(link)]
    others = [number for number in listen if number != listen[index]]
    return [*command, "--others", ",".join(map(str, others))] if others else command


def control_command(settings: NodeSettings, admin: int, local: int, link: int) -> list[str]:
    """Return the command line of control."""
    command = [sys.executable, "-m", "penstock.control", "--home", os.fspath(settings.home.root)]
    command += [OPTION, str(os.getpid())]
    command += ["--since", str(settings.since_ns)]
    command += ["--stack", os.fspath(settings.stack_path) if settings.stack_path else ""]
    if settings.database is not None:
        command += ["--database", msgspec.json.encode(settings.database).decode()]
    if settings.admin_tls is not None:
        command += ["--admin-tls", *settings.admin_tls]
    if settings.roles.gateways:
        command += ["--workers", str(settings.workers)]
    return [*command, "--admin", str(admin), "--local", str(local), "--link", str(link)]


@dataclass(frozen=True)
class Commands:
    """Makes the command lines of the children; tests put programs of their own here."""

    gateway: Callable[[NodeSettings, int, Sequence[int], int, int], list[str]] = field(default=gateway_command)
    control: Callable[[NodeSettings, int, int, int], list[str]] = field(default=control_command)
