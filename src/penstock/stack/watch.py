"""
Notices that the stack file changed.

Editors write in several ways: in place (the file is short for a moment), by renaming a new file over the old one, or by
moving the old one away first (there is no file for a moment). Kubernetes swaps a symbolic link further up. So the file
is read only once it looks the same in two polls in a row, and its identity is that of what the path leads to.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from penstock.stack.load import load, parse, read
from penstock.stack.problem import InvalidStack
from penstock.stack.stack import Stack
from penstock.types.errors import StackError

_Stamp = tuple[int, ...]
_MISSING: _Stamp = ()


class Watch:
    """
    Follows one stack file by polling; no threads. Owned by one task.

    A poll costs one `stat` when nothing happened. Call it every half second or so: a change takes effect at the second
    poll that sees it.
    """

    def __init__(self, path: Path | None, environ: Mapping[str, str], cwd: Path) -> None:
        """Take what `load` takes; nothing is read before `start`. With None there is nothing to watch."""
        self._name = path
        self._path = cwd / path if path is not None else None
        self._environ = environ
        self._cwd = cwd
        self._last: _Stamp | None = None  # at the latest poll
        self._judged: _Stamp | None = None  # when the file was last read after it had settled
        self._digest: bytes | None = None  # of what was last read; None when it could not be read

    def start(self) -> Stack:
        """
        Load the stack for the first time.

        Raises:
            InvalidStack: as `load` does. The watch goes on: a later poll returns the mended stack.
        """
        if self._path is None:
            return load(None, self._environ, self._cwd)
        self._last = self._stamp(self._path)
        try:
            content = read(self._path, str(self._name))
        except InvalidStack:
            self._judged = self._last
            raise
        # Not judged yet: the file may be changing right now, so the first poll that finds it settled reads it again.
        self._digest = sha256(content).digest()
        return parse(content, self._path, str(self._name), self._environ)

    def poll(self) -> Stack | StackError | None:
        """
        Return the new stack when the file changed, the error when it changed to something unusable, else None.

        Each change is told once. A file that was written again with the same content has not changed.
        """
        if self._path is None:
            return None
        stamp = self._stamp(self._path)
        settled = stamp == self._last
        self._last = stamp
        if not settled or stamp == self._judged:
            return None
        self._judged = stamp
        try:
            content = read(self._path, str(self._name))
        except InvalidStack as error:
            self._digest = None
            return error
        digest = sha256(content).digest()
        if digest == self._digest:
            return None
        self._digest = digest
        try:
            return parse(content, self._path, str(self._name), self._environ)
        except InvalidStack as error:
            return error

    def _stamp(self, path: Path) -> _Stamp:
        """Tell the file apart from what it was: its identity through all links, its times, its size."""
        try:
            status = path.stat()
        except OSError:
            return _MISSING
        return (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
