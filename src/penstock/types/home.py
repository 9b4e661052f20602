"""The data directory: which file is where. Paths only; each owner makes what it needs."""

from __future__ import annotations

from pathlib import Path

import msgspec


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
        """Unix sockets (mode 0700): `gateway.sock`, `admin.sock` and one per engine replica."""
        return self.root / "run"

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
