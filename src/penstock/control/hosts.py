"""The hosts whose gateways write into this ledger, and what they tell of their journals."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable

import msgspec

from penstock.control.bulletin import Unwelcome
from penstock.control.elsewhere import LateReport
from penstock.control.fold import Fold
from penstock.journal.host import host_of
from penstock.journal.segment import is_of
from penstock.journal.shipping import Receipt, Report
from penstock.records import hosts as records
from penstock.records.database import Database
from penstock.records.hosts import Host

SILENT_S = 10.0
"""After so long without a report a host is silent; it reports every two seconds."""

_KEPT_EVERY_NS = 10 * 10**9  # when a host was seen is kept as often as this

_log = logging.getLogger(__name__)


class Hosts:
    """
    The hosts of one ledger. Made once per control by `open`; shared by its tasks.

    Attributes:
        own: the host that this control is on.
        known: all hosts by their ids.
        nonce: of this control: who has not heard from it may tell what was so before it began.
    """

    def __init__(self, database: Database, fold: Fold, own: str, clock_ns: Callable[[], int], nonce: str) -> None:
        self._database = database
        self._fold = fold
        self._clock_ns = clock_ns
        self._began_ns = clock_ns()
        self._kept: dict[str, Host] = {}  # as they are in the database
        self._keys: dict[str, str] = {}  # that they last reported with
        self.own = own
        self.nonce = nonce
        self.known: dict[str, Host] = {}

    @classmethod
    async def open(
        cls,
        database: Database,
        fold: Fold,
        own: Host,
        clock_ns: Callable[[], int] = time.time_ns,
        nonce: str = "",
    ) -> Hosts:
        """
        Read which hosts there are, and keep our own among them.

        Args:
            nonce: '' for a fresh one.
        """
        hosts = cls(database, fold, own.id, clock_ns, nonce or secrets.token_hex(8))
        async with database.write() as connection:
            await records.keep(connection, own)
            hosts.known = await records.load(connection)
        return hosts

    def silent(self, host: Host) -> bool:
        """Tell whether a host has not reported for long, while this control was there to hear it."""
        here_s = self.silent_s(host) if host.id in self._keys else (self._clock_ns() - self._began_ns) / 1e9
        return min(self.silent_s(host), here_s) >= SILENT_S

    def silent_s(self, host: Host) -> float:
        """Return for how long a host has not reported, in seconds; 0 for our own."""
        return 0.0 if host.id == self.own else max(0.0, (self._clock_ns() - host.seen_at_ns) / 1e9)

    def segments(self, host: Host) -> int:
        """Return how many segments of its journal are on a host, as far as it is known."""
        owners = {host.id, ""} if host.id == self.own else {host.id}
        return sum(host_of(name) in owners for name in self._fold.segments())

    async def report(self, host_id: str, report: Report, key: str = "") -> Receipt:
        """
        Take what a host tells of its journal.

        Args:
            key: that it presents; while a host is heard, nobody speaks for it with another one.
        Raises:
            Unwelcome: it is not the host that it says it is.
            SQLAlchemyError: the database failed; the report may be sent again.
        """
        self._check(host_id, report, key)
        if report.control != self.nonce:
            # It may have been sent before what another control has taken since: what it lacks need not be gone.
            async with self._fold.still() as positions:
                return Receipt(
                    {each.segment: positions.get(each.segment, 0) for each in report.pieces}, control=self.nonce
                )
        try:
            receipt = await self._fold.receive(host_id, report.pieces, (report.run, report.number), report.at_ns)
        except LateReport:
            return Receipt({}, control=self.nonce)
        await self._keep(Host(host_id, report.name[:255], report.version[:64], report.run, self._clock_ns()))
        self._keys[host_id] = key
        if report.leaving and not report.pieces:
            await self._remove(host_id)
        return msgspec.structs.replace(receipt, control=self.nonce)

    def _check(self, host_id: str, report: Report, key: str) -> None:
        known = self.known.get(host_id)
        if host_id == self.own:
            raise Unwelcome("this is the name of control's own data directory: a data directory is for one host")
        if not all(is_of(each.segment, host_id) for each in report.pieces):
            raise Unwelcome("these are segments of another host")
        if known is None or self.silent(known):
            return
        if report.run < known.run:  # a clock may be set back between two runs; then the one before is silent soon
            raise Unwelcome(
                "a node that started later reports under the same name: a data directory is for one host, and not to "
                "be copied; remove host.id from the copy. Where a clock was set back this ends by itself"
            )
        if self._keys.get(host_id, key) != key:
            raise Unwelcome("this host reports with another key; a new key is taken once it has been silent for 10 s")

    async def _keep(self, host: Host) -> None:
        kept, known = self._kept.get(host.id), host.id in self.known
        if (
            kept is None
            or host.seen_at_ns - kept.seen_at_ns >= _KEPT_EVERY_NS
            or host != msgspec.structs.replace(kept, seen_at_ns=host.seen_at_ns)
        ):
            async with self._database.write() as connection:
                await records.keep(connection, host)
            self._kept[host.id] = host
        if not known:
            _log.info("a host has joined", extra={"fields": {"host": host.id, "name": host.name}})
        self.known[host.id] = host

    async def forget(self, host_id: str) -> bool:
        """
        Wait no longer for a host that will not come again; what it had open is lost. False when there is none.

        Raises:
            Unwelcome: it reports.
            SQLAlchemyError: the database failed; it may be tried again.
        """
        if host_id == self.own:
            raise Unwelcome("this is the host that control is on")
        if host_id not in self.known:
            return False
        if not self.silent(self.known[host_id]):
            raise Unwelcome("this host reports; stop it first, or wait until it has been silent for 10 s")
        await self._remove(host_id)
        return True

    async def _remove(self, host_id: str) -> None:
        await self._fold.give_up(host_id)
        async with self._database.write() as connection:
            await records.forget(connection, host_id)
        for kept in (self.known, self._kept, self._keys):
            kept.pop(host_id, None)
        _log.info("a host is gone", extra={"fields": {"host": host_id}})
