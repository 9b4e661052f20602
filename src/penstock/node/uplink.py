"""The link of a host to a control elsewhere: what is published there comes down, this host's journal goes up."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlencode

import msgspec

from penstock import __version__
from penstock.auth import pepper
from penstock.journal import host
from penstock.journal.shipping import Piece, Receipt, Report
from penstock.node.controls import Away, Controls, Rejected
from penstock.node.courier import Courier
from penstock.node.settings import Join
from penstock.snapshot.bundle import DOCUMENTS, Bundle, tag
from penstock.snapshot.config import Config
from penstock.snapshot.file import UnknownFormat, publish_written, written
from penstock.types.errors import StartError
from penstock.types.home import Home

_INTERVAL_S = 0.25
_ALIVE_S = 2.0  # a report at least this often
_SOON_S = 5.0  # in which control answers what it need not wait with
_NEWS_S = 20.0  # that control keeps a question waiting
_RETRY_S = (0.25, 0.5, 1.0, 2.0)
_REJECTED_S = 5.0
_LAST_S = 10.0  # for what is left of the journal when the node ends

_NEVER = "no report has been sent yet"

_encode = msgspec.msgpack.Encoder().encode
_receipt = msgspec.msgpack.Decoder(Receipt).decode
_bundle = msgspec.msgpack.Decoder(Bundle).decode

_log = logging.getLogger(__name__)


class Connection(msgspec.Struct, frozen=True):
    """
    How the link is.

    Attributes:
        control: which one is turned to.
        reachable: it has taken the last report.
        detail: why not, as one sentence, or empty.
        waiting: bytes of records that it does not have.
    """

    control: str
    reachable: bool
    detail: str
    waiting: int


class _Way(StrEnum):
    DOWN = "down"  # what control publishes
    UP = "up"  # the journal


class Uplink:
    """
    Belongs to the node, which runs `run` as a task and ends with `close` once its gateways have ended.

    Args:
        run_ns: when the node started, nanoseconds since the epoch.
    Raises:
        StartError: what keys are hashed under is missing, or the name of the host cannot be read.
    """

    def __init__(self, home: Home, join: Join, run_ns: int, environ: Mapping[str, str]) -> None:
        self._snapshot = home.snapshot
        self._controls = Controls(join.addresses, join.key)
        self._check = pepper.check(_secret(home, environ)).hex()
        self._host = host.load(home.root)
        self._courier = Courier(home.journal, self._host)
        self._run_ns = run_ns
        self._problems = {_Way.DOWN: "", _Way.UP: _NEVER}
        self._number = 0  # of the last report
        self._listed_ns = 0
        self._heard = ""  # the nonce of the control that answered last
        self._names: frozenset[str] = frozenset()  # of the last report
        self._due = 0.0

    @property
    def connection(self) -> Connection:
        """How the link is now."""
        detail = "; ".join(dict.fromkeys(filter(None, self._problems.values())))
        return Connection(self._controls.name, not detail, detail, self._courier.waiting)

    async def run(self) -> None:
        """
        Follow control for ever.

        Raises:
            StartError: it will not have this host, which has nothing to serve on from an earlier time.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="follow")
            tasks.create_task(self._ship(), name="ship")

    async def close(self) -> None:
        """Send what is left of the journal, if control takes it soon; what it does not take stays for the next time."""
        with contextlib.suppress(TimeoutError, Away, Rejected, OSError, msgspec.DecodeError):
            async with asyncio.timeout(_LAST_S):
                before = None
                while not self._problems[_Way.UP]:
                    pieces = await self._pieces()
                    taken = await self._report(pieces, leaving=not pieces)
                    if taken and (pieces == before or not any(piece.data or piece.closed for piece in pieces)):
                        break
                    before = pieces
        if self._courier.waiting:
            _log.warning("part of the journal is not sent yet; the next start goes on")
        await self._controls.aclose()

    async def _follow(self) -> None:
        have = await asyncio.to_thread(_tags, self._snapshot)
        brief = True  # until one has answered, so that another one is turned to soon
        failures = 0
        while True:
            query = urlencode({"check": self._check, "wait_s": 0 if brief else _NEWS_S, **have})
            try:
                answer = await self._controls.ask(
                    b"GET", f"/admin/v1/snapshot?{query}", answer_s=_SOON_S if brief else _NEWS_S + _SOON_S
                )
                have |= await asyncio.to_thread(_publish, self._snapshot, _bundle(answer))
                brief, failures = False, 0
                self._solved(_Way.DOWN)
            except Rejected as error:
                await self._reject(_Way.DOWN, error)
                brief = True
            except (Away, OSError, msgspec.DecodeError) as error:
                await self._note(_Way.DOWN, error, failures)
                brief = True
                failures += 1

    async def _ship(self) -> None:
        failures = 0
        while True:
            try:
                pieces = await self._pieces()
                at_once = self._courier.more
                if self._worth(pieces):
                    at_once |= not await self._report(pieces)
                failures = 0
                await asyncio.sleep(0.0 if at_once else _INTERVAL_S)
            except Rejected as error:
                await self._reject(_Way.UP, error)
            except (Away, OSError, msgspec.DecodeError) as error:
                await self._note(_Way.UP, error, failures)
                failures += 1

    async def _pieces(self) -> tuple[Piece, ...]:
        self._listed_ns = time.time_ns()  # no later than the look at what there is
        return await asyncio.to_thread(self._courier.pieces)

    def _worth(self, pieces: tuple[Piece, ...]) -> bool:
        """Tell whether there is anything to tell."""
        names = frozenset(piece.segment for piece in pieces)
        news = names != self._names or any(piece.data or piece.closed for piece in pieces)
        return news or time.monotonic() >= self._due

    async def _report(self, pieces: tuple[Piece, ...], *, leaving: bool = False) -> bool:
        """Send a report; False when it is to be sent again, as control has only just begun."""
        self._number += 1
        asked = self._heard
        report = Report(
            run=self._run_ns,
            name=socket.gethostname(),
            version=__version__,
            pieces=pieces,
            leaving=leaving,
            number=self._number,
            at_ns=self._listed_ns,
            control=asked,
        )
        answer = await self._controls.ask(b"POST", f"/admin/v1/hosts/{self._host}/report", _encode(report))
        receipt = _receipt(answer)
        self._heard = receipt.control
        await asyncio.to_thread(self._courier.received, receipt)
        if self._heard != asked:
            return False
        self._names = frozenset(piece.segment for piece in pieces)
        self._due = time.monotonic() + _ALIVE_S
        self._solved(_Way.UP)
        return True

    async def _reject(self, way: _Way, error: Rejected) -> None:
        """Take note that control says no, and wait, unless there is another to be asked."""
        last = self._controls.all_say_no
        try:
            written(self._snapshot, Config)
        except OSError:
            if last:
                raise StartError(f"control will not have this host: {error}") from error
        else:
            if self._problems[way] != str(error):
                _log.error("control will not have this host; it goes on with what it knows", extra=_reason(error))
        self._problems[way] = str(error)
        await asyncio.sleep(_REJECTED_S if last else 0.0)

    async def _note(self, way: _Way, error: Exception, failures: int) -> None:
        """Take note that control is away, and wait a little."""
        if self._problems[way] in ("", _NEVER):
            _log.warning("control is away; gateways serve on with what they know", extra=_reason(error))
        self._problems[way] = str(error) or type(error).__name__
        await asyncio.sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])

    def _solved(self, way: _Way) -> None:
        if self._problems[way]:
            _log.info("control is there", extra={"fields": {"control": self._controls.name, "way": way}})
        self._problems[way] = ""


def _secret(home: Home, environ: Mapping[str, str]) -> bytes:
    if pepper.VARIABLE not in environ and not (home.root / pepper.FILE_NAME).exists():
        raise StartError(
            f"what control hashes keys under is missing here: put its {pepper.FILE_NAME} into {home.root} (mode 0600), "
            f"or give both the same {pepper.VARIABLE}"
        )
    return pepper.load(home.root, environ)


def _tags(snapshot: Path) -> dict[str, str]:
    found = {}
    for name, document in DOCUMENTS.items():
        with contextlib.suppress(OSError):
            found[name] = tag(written(snapshot, document))
    return found


def _publish(snapshot: Path, bundle: Bundle) -> dict[str, str]:
    """Publish what has come, and return the tags of it; what is not understood is not asked for again."""
    for name, document in DOCUMENTS.items():
        if name in bundle.documents:
            try:
                publish_written(snapshot, document, bundle.documents[name])
            except UnknownFormat as error:
                _log.error("what control publishes is not understood; the one before stays", extra=_reason(error))
    return {name: tag(content) for name, content in bundle.documents.items()}


def _reason(error: Exception) -> dict[str, dict[str, str]]:
    return {"fields": {"error": str(error) or type(error).__name__}}
