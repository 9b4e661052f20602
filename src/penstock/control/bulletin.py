"""What gateways of other hosts are told: the documents on this control's disk, as soon as they change."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from penstock.auth import pepper
from penstock.snapshot import file
from penstock.snapshot.bundle import DOCUMENTS, Bundle, tag
from penstock.snapshot.config import Config
from penstock.types.errors import PenstockError

_LOOK_S = 0.1


class Unwelcome(PenstockError):
    """A host cannot join, or not with what it says; the sentence tells its operator what to change."""


class _Content(msgspec.Struct, frozen=True):
    stamp: file.Stamp
    tag: str
    content: bytes


class Bulletin:
    """
    The documents for gateways elsewhere. Made once per control; shared by its tasks.

    Args:
        secret: what keys are hashed under.
    """

    def __init__(self, snapshot: Path, secret: bytes) -> None:
        self._snapshot = snapshot
        self._check = pepper.check(secret).hex().encode()
        self._documents: dict[str, _Content] = {}
        self._bound = ""  # a model with limits that only this host counts
        self._look_at = 0.0
        self._closing = False

    def close(self) -> None:
        """Keep nobody waiting any more."""
        self._closing = True

    async def news(self, check: str, have: Mapping[str, str], wait_s: float) -> Bundle:
        """
        Return the documents that a host does not have, waiting for some to become so.

        Args:
            check: `pepper.check` of what it hashes keys under, in hexadecimal digits.
            have: tags of documents by name.
            wait_s: how long at the most; then there are none.
        Raises:
            Unwelcome: it could not serve what we publish.
        """
        until = time.monotonic() + wait_s
        while True:
            now = time.monotonic()
            if now >= self._look_at:  # one look for all who wait
                self._look_at = now + _LOOK_S / 2
                self._look()
            self._welcome(check)
            missing = {name: each.content for name, each in self._documents.items() if have.get(name) != each.tag}
            if missing or now >= until or self._closing:
                return Bundle(missing)
            await asyncio.sleep(min(_LOOK_S, until - now))

    def _welcome(self, check: str) -> None:
        if not hmac.compare_digest(check.encode(), self._check):
            raise Unwelcome(
                f"keys are hashed under another secret there: give this host the {pepper.FILE_NAME} of control's data "
                f"directory (mode 0600), or both the same {pepper.VARIABLE}"
            )
        if self._bound:
            raise Unwelcome(
                f"the model {self._bound} has limits, and state.counters is local: gateways of several hosts count "
                "together only in a Redis; set state.counters to its address"
            )

    def _look(self) -> None:
        for name, document in DOCUMENTS.items():
            stamp, found = file.stamp(self._snapshot, document), self._documents.get(name)
            if stamp is None or (found is not None and found.stamp == stamp):
                continue
            with contextlib.suppress(OSError):  # the one before stays, and is looked for again
                content = file.written(self._snapshot, document)
                self._documents[name] = _Content(stamp, tag(content), content)
                if document is Config:
                    self._bound = _bound(file.decoded(Config, content))


def _bound(config: Config) -> str:
    """Return a model with limits that gateways of other hosts could not count with us, or ''."""
    if config.gateway.counters is not None:
        return ""
    return next((model.name for model in config.models.values() if model.limits or model.budgets), "")
