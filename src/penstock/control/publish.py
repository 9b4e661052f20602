"""Documents that control publishes, with versions that only grow, also over restarts."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from penstock.snapshot.config import Config
from penstock.snapshot.file import Reader, UnknownFormat, publish
from penstock.snapshot.fleet import Desired
from penstock.snapshot.packed import PackedPrincipals
from penstock.snapshot.principals import Principals
from penstock.snapshot.standings import Standings

T = TypeVar("T", Config, Principals, PackedPrincipals, Desired, Standings)

_log = logging.getLogger(__name__)


class Published(Generic[T]):
    """
    One document as it was last published.

    Reads what an earlier control left when it is made. Its owner replaces it from one task at a time.

    Args:
        least: the first version that it may have.
    """

    def __init__(self, directory: Path, document: type[T], least: int = 1) -> None:
        self._directory = directory
        self._current: T | None = None
        self._least = least
        try:
            self._current = Reader(directory, document).changed()
        except UnknownFormat as error:
            self._least = int(time.time())  # more than there ever were changes
            _log.warning("an earlier document cannot be read and is replaced: %s", error)

    @property
    def current(self) -> T | None:
        """What readers have now, or None before the first time."""
        return self._current

    @property
    def next_version(self) -> int:
        """The version that the next document is to have."""
        return max(self._least, self._current.version + 1 if self._current is not None else 0)

    async def replace(self, document: T) -> None:
        """
        Publish a document of `next_version`; one that says what the current one says is not published again.

        Raises:
            OSError: it cannot be written; readers keep the current one.
        """
        if self._current is not None:
            same: T = msgspec.structs.replace(document, version=self._current.version)
            if same == self._current:
                return
        await asyncio.to_thread(publish, self._directory, document)
        self._current = document
