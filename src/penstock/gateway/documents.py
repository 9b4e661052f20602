"""The documents that a worker follows, as they are in the snapshot directory."""

from __future__ import annotations

import logging
from typing import TypeVar

from penstock.gateway.identity.caller import Callers
from penstock.snapshot.config import Config
from penstock.snapshot.file import Reader, UnknownFormat
from penstock.snapshot.fleet import Fleet
from penstock.snapshot.packed import PackedPrincipals
from penstock.snapshot.principals import Principals
from penstock.types.home import Home

_log = logging.getLogger("penstock.gateway")

T = TypeVar("T", Config, Principals, PackedPrincipals, Fleet)


class Documents:
    """The documents a worker follows; the last good ones are kept."""

    def __init__(self, home: Home) -> None:
        self._config = Reader(home.snapshot, Config)
        self._principals = Reader(home.snapshot, Principals)
        self._base = Reader(home.snapshot, PackedPrincipals)
        self._fleet = Reader(home.snapshot, Fleet)
        self.config: Config | None = None
        self.principals: Principals | None = None
        self.base: PackedPrincipals | None = None
        self.fleet: Fleet | None = None

    def refresh(self) -> bool:
        """Read what is new; tell whether anything was."""
        before = (self.config, self.principals, self.base, self.fleet)
        self.config = _newest(self._config) or self.config
        self.principals = _newest(self._principals) or self.principals
        self.base = _newest(self._base) or self.base  # later than what builds on it, which is published later
        self.fleet = _newest(self._fleet) or self.fleet
        after = (self.config, self.principals, self.base, self.fleet)
        return any(old is not new for old, new in zip(before, after, strict=True))

    @property
    def callers(self) -> Callers | None:
        """Who may call; None before that is known."""
        if self.principals is None:
            return None
        if not self.principals.base:
            return Callers(self.principals.keys)
        if self.base is None or self.base.version < self.principals.base:
            return None
        newer = self.base.version > self.principals.base  # then it has these changes, and others
        return Callers({} if newer else self.principals.keys, self.base)


def _newest(reader: Reader[T]) -> T | None:
    try:
        return reader.changed()
    except UnknownFormat as error:
        _log.error("snapshot not understood", extra={"fields": {"error": str(error)}})
        return None
