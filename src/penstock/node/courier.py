"""What of this host's journal is to be sent, and what of it can go. Files only; `uplink` sends."""

from __future__ import annotations

import logging
from pathlib import Path

from penstock.journal.segment import Segment, segments
from penstock.journal.shipping import Piece, Receipt

_AT_ONCE = 512 * 1024  # bytes of records in one report
_UNKNOWN = -1  # a position that no segment has: the answer tells the right one
_DAMAGED = ".damaged"

_log = logging.getLogger(__name__)


class Courier:
    """
    Follows the segments of one journal. Used by one task at a time.

    Attributes:
        more: there was more to send than went into the last pieces.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._positions: dict[str, int] = {}
        self._stuck: set[str] = set()
        self.more = False

    def pieces(self) -> tuple[Piece, ...]:
        """Return a piece of each segment there is, with what of it control does not have, as far as there is room."""
        closed = {segment.path.name for segment in segments(self._journal) if _closed(segment)}
        # Looked at again: when a writer was seen to have let go of a segment, its next one was there.
        found, left, self.more = [], _AT_ONCE, False
        for segment in segments(self._journal):
            try:
                piece = self._piece(segment, left, closed=segment.path.name in closed)
            except FileNotFoundError:
                continue  # taken away by hand
            left -= len(piece.data)
            found.append(piece)
        for gone in self._positions.keys() - {piece.segment for piece in found}:
            del self._positions[gone]
            self._stuck.discard(gone)
        return tuple(found)

    def received(self, receipt: Receipt) -> None:
        """
        Take note of what is in the ledger, and remove what is there to its end.

        Raises:
            OSError: something cannot be removed; it is tried again after the next report.
        """
        for name in set(receipt.stuck) - self._stuck:
            _log.error("control cannot read a record of the journal; what comes behind it waits", extra=_fields(name))
            self._stuck.add(name)
        for name, end in receipt.done.items():
            path = self._journal / name
            try:
                damaged = Segment(path).damaged(end)
            except FileNotFoundError:
                continue
            if damaged:
                path.rename(path.with_name(name + _DAMAGED))
                _log.error("a segment of the journal is damaged; what could be read is in the ledger, the file is kept",
                           extra=_fields(name))  # fmt: skip
            else:
                path.unlink()
        self._positions.update(receipt.positions)

    def waiting(self) -> int:
        """Return how many bytes of records control does not have, as far as it is known."""
        total = 0
        for segment in segments(self._journal):
            try:
                total += segment.waiting(max(0, self._positions.get(segment.path.name, 0)))
            except FileNotFoundError:
                continue
        return total

    def _piece(self, segment: Segment, room: int, *, closed: bool) -> Piece:
        name = segment.path.name
        start = self._positions.setdefault(name, _UNKNOWN)
        if start == _UNKNOWN:
            self.more = True
            return Piece(name, start)
        if name in self._stuck:
            return Piece(name, start, closed=closed)
        data = segment.raw(start, room) if room > 0 else b""
        end = start + len(data)
        rest = bool(segment.raw(end, 1))
        self.more |= rest
        return Piece(name, start, data, closed and not rest)


def _closed(segment: Segment) -> bool:
    try:
        return segment.closed()
    except FileNotFoundError:
        return False  # taken away by hand


def _fields(name: str) -> dict[str, dict[str, object]]:
    return {"fields": {"segment": name}}
