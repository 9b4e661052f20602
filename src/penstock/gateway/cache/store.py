"""What is kept, and the seam to where it is kept."""

from __future__ import annotations

from typing import Protocol

import msgspec


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """
    A complete answer, as its bytes.

    Attributes:
        at: when it was given, seconds since the epoch.
        body: of a plain answer, or all events of a stream; the key tells which.
        admits: header lines that it is given with, see `Exchange`.
    """

    at: float
    body: bytes
    admits: bytes = b""


class Store(Protocol):
    """
    Keeps answers by their keys, for a time and within a size; may forget any of them at any time. Shared between tasks.

    A key is a tenant's: what `key.Keys` makes of two tenants is never the same.
    """

    async def get(self, key: bytes) -> Entry | None:
        """Return what is kept under a key. Never raises: a store that is away knows nothing."""

    def put(self, key: bytes, entry: Entry, left_s: float) -> None:
        """Keep an answer for as many seconds, at the most; without waiting, and perhaps not at all."""
