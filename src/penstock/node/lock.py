"""One node per data directory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.types.errors import StartError


@contextmanager
def hold(path: Path) -> Iterator[bool]:
    """
    Hold the lock at `path` for the length of the block; the file holds our process id meanwhile.

    The kernel gives the lock back whatever ends this process, and children do not inherit it.

    Yields:
        Whether the last holder was killed: then its children may still be on their way out.

    Raises:
        StartError: another process holds it; the message names its process id.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        content = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = f" (process {content})" if content else ""
            raise StartError(f"another penstock node{holder} is using {path.parent}") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        try:
            yield content != ""
        finally:
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
