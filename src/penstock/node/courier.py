"""What of this host's journal is to be sent, and what of it can go. Files only; `uplink` sends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from penstock.journal.segment import Segment, adopt, dispose, is_of, segments
from penstock.journal.shipping import Piece, Receipt

_AT_ONCE = 512 * 1024  # bytes of records in one report
_STUCK_S = 60.0  # before what control could not read is sent again: it may be another control by then

_log = logging.getLogger(__name__)


class Courier:
    """
    Follows the segments of one journal. Used by one task at a time.

    Args:
        host: the name of the data directory; segments that bear another one are given it.
        clock: seconds, monotonic.
    Attributes:
        more: there was more to send than went into the last pieces.
        waiting: bytes of records that control did not have, as far as it was known, at the last pieces.
    """

    def __init__(self, journal: Path, host: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal = journal
        self._host = host
        self._clock = clock
        self._positions: dict[str, int] = {}
        self._turn = threading.Lock()  # a look that was cancelled may go on in its thread
        self._closed: set[str] = set()  # segments that the last pieces ended
        self._stuck: dict[str, float] = {}  # until when they are left alone
        self._kept: set[str] = set()  # segments that could not be removed
        self.more = False
        self.waiting = 0

    def pieces(self) -> tuple[Piece, ...]:
        """Return a piece of each segment there is, with what of it control does not have, as far as there is room."""
        with self._turn:
            return self._pieces()

    def _pieces(self) -> tuple[Piece, ...]:
        closed = {segment.path.name for segment in segments(self._journal) if self._let_go(segment)}
        # Looked at again: when a writer was seen to have let go of a segment, its next one was there.
        found, left, waiting, self.more = [], _AT_ONCE, 0, False
        self._closed = set()
        for segment in segments(self._journal):
            if not is_of(segment.path.name, self._host):
                continue  # it is not closed yet
            let_go = segment.path.name in closed
            try:
                piece = self._piece(segment, left, closed=let_go)
                waiting += _unsent(segment, piece.start, closed=let_go)
            except FileNotFoundError:
                continue  # taken away by hand
            left -= len(piece.data)
            found.append(piece)
        there = {piece.segment for piece in found}
        self._positions = {name: at for name, at in self._positions.items() if name in there}
        self._stuck = {name: until for name, until in self._stuck.items() if name in there}
        self._kept &= there
        self.waiting = waiting
        return tuple(found)

    def received(self, receipt: Receipt) -> None:
        """Take note of what is in the ledger, and remove what is there to its end."""
        with self._turn:
            self._received(receipt)

    def _received(self, receipt: Receipt) -> None:
        for name in set(receipt.stuck) - self._stuck.keys():
            _log.error("control cannot read a record of the journal; what comes behind it waits", extra=_fields(name))
        self._stuck |= dict.fromkeys(receipt.stuck, self._clock() + _STUCK_S)
        self._positions.update({name: at for name, at in receipt.positions.items() if name in self._positions})
        for name, end in receipt.done.items():
            if name in self._closed:  # nothing else is control's to say
                self._positions[name] = end
                try:
                    dispose(Segment(self._journal / name), end)
                except FileNotFoundError:
                    continue  # taken away by hand
                except OSError as error:  # tried again with the next receipt
                    if name not in self._kept:
                        _log.error("a segment cannot be removed", extra=_fields(name, error=error.strerror))
                    self._kept.add(name)

    def _let_go(self, segment: Segment) -> bool:
        """Tell whether the writer of a segment has let go of it; one of another name is given ours then."""
        try:
            closed = segment.closed()
            if closed and not is_of(segment.path.name, self._host):
                adopt(segment, self._host)
        except FileNotFoundError:
            return False  # taken away by hand
        return closed

    def _piece(self, segment: Segment, room: int, *, closed: bool) -> Piece:
        name = segment.path.name
        start = self._positions.setdefault(name, 0)
        if self._stuck.get(name, 0.0) > self._clock():
            return Piece(name, start)
        data = segment.raw(start, room) if room > 0 else b""
        rest = bool(segment.raw(start + len(data), 1))
        self.more |= rest
        if closed and not rest:
            self._closed.add(name)
        return Piece(name, start, data, closed and not rest)


def _unsent(segment: Segment, start: int, *, closed: bool) -> int:
    return max(0, segment.path.stat().st_size - start) if closed else segment.waiting(start)


def _fields(name: str, **more: object) -> dict[str, dict[str, object]]:
    return {"fields": {"segment": name, **more}}
