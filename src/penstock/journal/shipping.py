"""What a host sends of its journal to a control elsewhere, and what that has of it."""

from __future__ import annotations

import msgspec


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """
    What is sent of one segment.

    Attributes:
        start: the position of the first byte of `data` in the segment.
        data: whole records, or nothing.
        closed: nothing comes after this, whoever reads it: its writer has let go, and `data` goes to its end.
    """

    segment: str
    start: int
    data: bytes = b""
    closed: bool = False


class Report(msgspec.Struct, frozen=True):
    """
    What a host tells: all segments that it has, and a part of what is in them.

    Attributes:
        run: when its node started, nanoseconds since the epoch: of two that use one name, the later one is heard.
        name: what people call the host.
        version: of its Penstock.
        pieces: one for each segment there is. A writer without one has ended.
        leaving: there are none and there will be none: the node ends, and need not be waited for.
        number: grows with each report of a run: one that is late, from before another that has arrived, says nothing.
        at_ns: when these were all segments, nanoseconds since the epoch.
        control: the nonce of the control that the last receipt came from, or empty.
    """

    run: int
    name: str
    version: str
    pieces: tuple[Piece, ...]
    leaving: bool = False
    number: int = 0
    at_ns: int = 0
    control: str = ""


class Receipt(msgspec.Struct, frozen=True):
    """
    What is in the ledger.

    Attributes:
        positions: how far, for each segment of the report that is to go on.
        done: segments that are in it to their end, with that position; they can go.
        stuck: segments of which what comes next cannot be read.
        control: the nonce of the control that this is from.
    """

    positions: dict[str, int]
    done: dict[str, int] = {}
    stuck: tuple[str, ...] = ()
    control: str = ""
