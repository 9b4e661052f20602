"""The data directory: which file is where. Paths only; each owner makes what it needs."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

_SOCKET_PATH = 107  # bytes that the kernel takes for the path of a Unix socket
SOCKET_NAME = 40  # bytes that the name of a socket in `Home.run` may have


class Home(msgspec.Struct, frozen=True):
    """
    Layout of `PENSTOCK_HOME` (mode 0700).

    Attributes:
        root: absolute path of the data directory.
    """

    root: Path

    @property
    def snapshot(self) -> Path:
        """Documents that processes publish to each other (`penstock.snapshot`)."""
        return self.root / "snapshot"

    @property
    def journal(self) -> Path:
        """What gateway workers append (`penstock.journal`)."""
        return self.root / "journal"

    @property
    def database(self) -> Path:
        """The SQLite file, opened by control alone."""
        return self.root / "penstock.db"

    @property
    def run(self) -> Path:
        """
        Unix sockets (mode 0700): `gateway.sock`, `admin.sock` and one per engine replica.

        Next to the data, or, where that makes paths longer than the kernel takes, in a private directory under `/tmp`
        that is named for this data directory and user.
        """
        near = self.root / "run"
        if len(os.fsencode(near)) + 1 + SOCKET_NAME <= _SOCKET_PATH:
            return near
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:12]
        return Path("/tmp") / f"penstock-{os.getuid()}-{digest}"  # noqa: S108  # the node makes it 0700 and checks its owner

    @property
    def gateway_socket(self) -> Path:
        """The data port for callers on this machine that may open it; needs no key."""
        return self.run / "gateway.sock"

    @property
    def admin_socket(self) -> Path:
        """The admin port for callers on this machine that may open it; needs no key."""
        return self.run / "admin.sock"

    @property
    def node_lock(self) -> Path:
        """Held by the one node of this directory; holds its process id."""
        return self.root / "node.lock"

    @property
    def control_lock(self) -> Path:
        """Held by the one control of this directory; holds its process id."""
        return self.root / "control.lock"
