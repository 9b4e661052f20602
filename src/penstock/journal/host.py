"""
The name of a data directory among all that write into one ledger.

It is the beginning of every writer's name, so that it can be told whose a segment is, and whether it will come.
"""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from pathlib import Path

from penstock.types.errors import StartError

FILE_NAME = "host.id"
_MARK = "~"  # between a host's name and the rest of a writer's
_NAME = re.compile(r"[0-9a-f]{12}")


def load(root: Path) -> str:
    """
    Return the name of this data directory, 12 hexadecimal digits; it gets one when it has none.

    Raises:
        StartError: the file cannot be read or made, or holds something else.
    """
    path = root / FILE_NAME
    try:
        if not path.exists():
            _make(path)
        name = path.read_text(errors="replace").strip()
    except OSError as error:
        raise StartError(f"{path} cannot be read or made: {error.strerror}") from error
    if not is_name(name):
        raise StartError(f"{path} does not hold 12 hexadecimal digits; remove it, and this host gets another name")
    return name


def is_name(text: str) -> bool:
    """Tell whether a text can be the name of a host."""
    return _NAME.fullmatch(text) is not None


def writer_name(host: str, worker: str) -> str:
    """Return what the name of a worker's writer begins with."""
    return f"{host}{_MARK}{worker}"


def host_of(name: str) -> str:
    """Return the host whose writer or segment has this name, or '' where the name has none."""
    host, mark, _ = name.partition(_MARK)
    return host if mark else ""


def _make(path: Path) -> None:
    """Write a fresh name so that processes which start together agree on one: the first link wins."""
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # of mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{secrets.token_hex(6)}\n")
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)
    except FileExistsError:
        return
    finally:
        Path(draft).unlink()
