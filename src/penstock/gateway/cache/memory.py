"""Answers in the memory of one worker; what was used least lately goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from penstock.gateway.cache.store import Entry

_OVERHEAD = 420  # bytes of an entry beside its key and body: 409 measured, of 50,000 with bodies of 400 bytes
_MOST = 200_000  # entries, whatever their size


class Memory:
    """
    Bounded by bytes and by entries. For one thread.

    What is past its time is dropped when it is asked for, or when the room is needed.

    Attributes:
        used: bytes.
        evicted: how many entries had to make room.

    Args:
        room: bytes.
        now: seconds since the epoch.
        most: entries.
    """

    def __init__(self, room: int, now: Callable[[], float], most: int = _MOST) -> None:
        self.used = 0
        self.evicted = 0
        self._room = room
        self._now = now
        self._most = most
        # By how lately they were used, with when they end. In a plain dict the first one is looked for past all that
        # have gone before it.
        self._kept: OrderedDict[bytes, tuple[Entry, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: bytes) -> Entry | None:
        """Return what is kept under a key."""
        return self.find(key)

    def find(self, key: bytes) -> Entry | None:
        """Likewise, at once."""
        found = self._kept.get(key)
        if found is None:
            return None
        entry, ends = found
        if ends <= self._now():
            del self._kept[key]
            self.used -= _size(key, entry)
            return None
        self._kept.move_to_end(key)
        return entry

    def put(self, key: bytes, entry: Entry, left_s: float) -> None:
        """Keep an answer, unless it alone would fill the room."""
        size = _size(key, entry)
        before = self._kept.pop(key, None)
        if before is not None:
            self.used -= _size(key, before[0])
        if size > self._room:
            return
        self._kept[key] = (entry, self._now() + left_s)
        self.used += size
        self._make_room()

    def resize(self, room: int) -> None:
        """Take so many bytes from now on."""
        self._room = room
        self._make_room()

    def _make_room(self) -> None:
        while self.used > self._room or len(self._kept) > self._most:
            key, (entry, _) = self._kept.popitem(last=False)
            self.used -= _size(key, entry)
            self.evicted += 1


def _size(key: bytes, entry: Entry) -> int:
    return len(key) + len(entry.body) + len(entry.admits) + _OVERHEAD
