"""How much of answers that are not complete yet a worker holds in memory, all of them together."""

from __future__ import annotations

LEAST = 16 * 1024 * 1024
"""Bytes that there is room for at the least, however small the memory for kept answers."""

_SHARE = 4  # of the memory for kept answers, which this is beside
_PIECE = 48  # bytes that a piece takes in memory beside its own


class Room:
    """
    For one thread.

    Attributes:
        most: bytes.
        used: bytes, of all spaces.
    """

    def __init__(self, most: int = LEAST) -> None:
        self.most = most
        self.used = 0

    def fit(self, cache: int) -> None:
        """Have as much room as goes with so many bytes for kept answers."""
        self.most = max(LEAST, cache // _SHARE)

    def space(self) -> Space:
        """Return the space of one answer."""
        return Space(self)


class Space:
    """
    What one answer takes of the room. Whoever has it gives it back with `free`, at the latest in the end.

    Attributes:
        full: there was no room for some of it.
    """

    __slots__ = ("_room", "_used", "full")

    def __init__(self, room: Room) -> None:
        self._room = room
        self._used = 0
        self.full = False

    def take(self, size: int) -> bool:
        """Make room for a piece of so many bytes; or return False, and nothing has changed."""
        size += _PIECE
        if self._room.used + size > self._room.most:
            self.full = True
            return False
        self._room.used += size
        self._used += size
        return True

    def free(self) -> None:
        """Give back all that it takes; it may be used again."""
        self._room.used -= self._used
        self._used = 0
