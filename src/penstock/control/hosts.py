"""Hosts elsewhere with gateways: what they are told, and what they tell."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from penstock.auth import pepper
from penstock.control.fold import Fold
from penstock.journal.host import host_of
from penstock.journal.shipping import Receipt, Report
from penstock.records import hosts as records
from penstock.records.database import Database
from penstock.records.hosts import Host
from penstock.snapshot import file
from penstock.snapshot.bundle import DOCUMENTS, Bundle, tag
from penstock.snapshot.config import Config
from penstock.types.errors import PenstockError

_LOOK_S = 0.1
_APART_NS = 10 * 10**9  # two nodes under one name are two at the same time when both were heard within this
_KEPT_EVERY_NS = 10 * 10**9  # when a host was seen is kept as often as this

_log = logging.getLogger(__name__)


class Unwelcome(PenstockError):
    """A host cannot join, or not with what it says; the sentence tells its operator what to change."""


class _Content(msgspec.Struct, frozen=True):
    stamp: file.Stamp
    tag: str
    content: bytes


class Hosts:
    """
    The hosts of one ledger. Made once per control by `open`; shared by its tasks.

    Args:
        own: the host that this control is on.
        secret: what keys are hashed under.
    """

    def __init__(
        self,
        database: Database,
        fold: Fold,
        snapshot: Path,
        own: str,
        secret: bytes,
        clock_ns: Callable[[], int],
    ) -> None:
        self._database = database
        self._fold = fold
        self._snapshot = snapshot
        self._check = pepper.check(secret)
        self._clock_ns = clock_ns
        self._documents: dict[str, _Content] = {}
        self._bound = ""  # a model with limits that only this host counts
        self.own = own
        self.known: dict[str, Host] = {}
        self._closing = False
        self._kept: dict[str, Host] = {}  # as they are in the database

    @classmethod
    async def open(
        cls,
        database: Database,
        fold: Fold,
        snapshot: Path,
        own: Host,
        secret: bytes,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> Hosts:
        """Read which hosts there are, and keep our own among them."""
        hosts = cls(database, fold, snapshot, own.id, secret, clock_ns)
        async with database.write() as connection:
            await records.keep(connection, own)
            hosts.known = await records.load(connection)
        return hosts

    def close(self) -> None:
        """Keep nobody waiting any more."""
        self._closing = True

    def silent_s(self, host: Host) -> float:
        """Return for how long a host has not reported, in seconds; 0 for our own."""
        if host.id == self.own:
            return 0.0
        return max(0.0, (self._clock_ns() - host.seen_at_ns) / 1e9)

    def segments(self, host: Host) -> int:
        """Return how many segments of its journal are on a host, as far as it is known."""
        return sum(host_of(name) in {host.id, "" if host.id == self.own else host.id} for name in self._fold.segments())

    def _welcome(self, check: str) -> None:
        if not hmac.compare_digest(check.encode(), self._check.hex().encode()):
            raise Unwelcome(
                f"keys are hashed under another secret there: give this host the {pepper.FILE_NAME} of control's data "
                f"directory (mode 0600), or both the same {pepper.VARIABLE}"
            )
        if bound := self._bound:
            raise Unwelcome(
                f"the model {bound} has limits, and state.counters is local: gateways of several hosts count together "
                "only in a Redis; set state.counters to its address"
            )

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
            documents = self._current()
            self._welcome(check)
            missing = {name: each.content for name, each in documents.items() if have.get(name) != each.tag}
            left = until - time.monotonic()
            if missing or left <= 0 or self._closing:
                return Bundle(missing)
            await asyncio.sleep(min(_LOOK_S, left))

    def _current(self) -> dict[str, _Content]:
        """Return the documents as they are now."""
        for name, document in DOCUMENTS.items():
            stamp, found = file.stamp(self._snapshot, document), self._documents.get(name)
            if stamp is None or (found is not None and found.stamp == stamp):
                continue
            with contextlib.suppress(OSError):  # the one before stays, and is looked for again
                content = file.written(self._snapshot, document)
                self._documents[name] = _Content(stamp, tag(content), content)
                if document is Config:
                    self._bound = _bound(file.decoded(Config, content))
        return self._documents

    async def report(self, host_id: str, report: Report) -> Receipt:
        """
        Take what a host tells of its journal.

        Raises:
            Unwelcome: it is not the host that it says it is.
            SQLAlchemyError: the database failed; the report may be sent again.
        """
        known = self.known.get(host_id)
        if host_id == self.own:
            raise Unwelcome("this is the name of control's own data directory: a data directory is for one host")
        now_ns = self._clock_ns()
        # A clock may be set back between two runs; then the one before is not heard any more.
        if known is not None and report.run < known.run and now_ns - known.seen_at_ns < _APART_NS:
            raise Unwelcome(
                "a node that started later reports under the same name: a data directory is for one host, and not to "
                "be copied; remove host.id from the copy"
            )
        if any(host_of(piece.segment) != host_id for piece in report.pieces):
            raise Unwelcome("these are segments of another host")
        host = Host(host_id, report.name[:255], report.version[:64], report.run, now_ns)
        kept = self._kept.get(host_id)
        if kept is None or msgspec.structs.replace(host, seen_at_ns=kept.seen_at_ns) != kept or _due(kept, now_ns):
            async with self._database.write() as connection:
                await records.keep(connection, host)
            self._kept[host_id] = host
            if known is None:
                _log.info("a host has joined", extra={"fields": {"host": host_id, "name": host.name}})
        self.known[host_id] = host
        receipt = await self._fold.receive(
            host_id, report.pieces, (report.run, report.number) if report.number else None
        )
        if report.leaving and not report.pieces:
            await self.forget(host_id)
        return receipt

    async def forget(self, host_id: str) -> bool:
        """
        Wait no longer for a host that will not come again; what it had open is lost. False when there is none.

        Raises:
            SQLAlchemyError: the database failed; it may be tried again.
        """
        if host_id not in self.known or host_id == self.own:
            return False
        await self._fold.give_up(host_id)
        async with self._database.write() as connection:
            await records.forget(connection, host_id)
        self.known.pop(host_id, None)
        self._kept.pop(host_id, None)
        _log.info("a host is gone", extra={"fields": {"host": host_id}})
        return True


def _bound(config: Config) -> str:
    """Return a model with limits that gateways of other hosts could not count with us, or ''."""
    if config.gateway.counters is not None:
        return ""
    return next((model.name for model in config.models.values() if model.limits or model.budgets), "")


def _due(kept: Host, now_ns: int) -> bool:
    return now_ns - kept.seen_at_ns >= _KEPT_EVERY_NS
