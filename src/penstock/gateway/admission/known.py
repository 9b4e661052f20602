"""What a worker remembers of callers without number."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

MOST = 20_000

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Known(Generic[K, V]):
    """A dictionary that keeps the newest `MOST`; the rest are made anew when they are needed."""

    def __init__(self) -> None:
        self._kept: dict[K, V] = {}
        self.get = self._kept.get

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, name: K, value: V) -> V:
        """Keep a value, and return it; where there are too many, the one goes that was first made longest ago."""
        if len(self._kept) >= MOST and name not in self._kept:
            del self._kept[next(iter(self._kept))]
        self._kept[name] = value
        return value

    def forget(self, name: K) -> None:
        """Forget a value, if it is known."""
        self._kept.pop(name, None)

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
