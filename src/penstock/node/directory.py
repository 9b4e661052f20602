"""Directories that only our own user can enter."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from penstock.types.errors import StartError

_OTHERS = 0o077


def prepare(path: Path) -> None:
    """
    Make `path` a private directory (mode 0700).

    Raises:
        StartError: it cannot be made, or is somebody else's.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise StartError(f"{path} must be a directory of user {os.getuid()}")
        if status.st_mode & _OTHERS:
            path.chmod(0o700)
    except OSError as error:
        raise StartError(f"cannot make the directory {path}: {error.strerror}") from error


def remove(path: Path) -> None:
    """Remove a directory if it is empty."""
    with contextlib.suppress(OSError):
        path.rmdir()


def prepare_home(root: Path, mark: Path) -> None:
    """
    Make `root` a private directory, unless it seems to be there for something else (`/tmp`, a project).

    Args:
        mark: a file in `root` that shows that it is a data directory of ours.

    Raises:
        StartError: as `prepare`, and when others may enter it and there are files in it that are not ours.
    """
    root = root.resolve()
    try:
        taken = root.is_dir() and root.stat().st_mode & _OTHERS and not mark.exists() and any(root.iterdir())
    except OSError as error:
        raise StartError(f"cannot look into the directory {root}: {error.strerror}") from error
    if taken:
        raise StartError(f"{root} has other files in it and is open to other users; take another data directory")
    prepare(root)
