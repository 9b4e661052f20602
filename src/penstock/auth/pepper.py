"""The secret under which keys are hashed: `PENSTOCK_SECRET_KEY`, or a file of mode 0600 made at first start."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from penstock.types.errors import StartError

VARIABLE = "PENSTOCK_SECRET_KEY"
FILE_NAME = "secret.key"
_SHORTEST = 16


def load(home: Path, environ: Mapping[str, str]) -> bytes:
    """
    Return the 32-byte pepper of this data directory, making the file when neither it nor the variable exists.

    Raises:
        StartError: the variable is too short, or the file can be read by others.
    """
    value = environ.get(VARIABLE)
    if value is not None:
        if len(value) < _SHORTEST:
            raise StartError(f"{VARIABLE} is shorter than {_SHORTEST} characters")
        return blake2b(value.encode(), digest_size=32, person=b"penstock-pepper").digest()
    path = home / FILE_NAME
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        _make(path)
        mode = path.stat().st_mode
    if mode & 0o077:
        raise StartError(f"{path} can be read by others; run: chmod 600 {path}")
    content = path.read_bytes()
    if len(content) != 32:
        raise StartError(
            f"{path} does not hold 32 bytes; restore it, since keys made under it cannot be checked without"
        )
    return content


def check(secret: bytes) -> bytes:
    """Return what tells one pepper from another and says nothing more of it: 32 bytes."""
    return blake2b(b"pepper_check", key=secret, digest_size=32).digest()


def kept(home: Path, environ: Mapping[str, str]) -> bytes:
    """Return the pepper where Penstock keeps it in a file, for a backup; nothing where the variable is set."""
    return b"" if environ.get(VARIABLE) is not None else (home / FILE_NAME).read_bytes()


def put(home: Path, content: bytes) -> None:
    """
    Put back the file of a pepper, from a backup.

    Raises:
        StartError: there is another one.
    """
    path = home / FILE_NAME
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        if path.read_bytes() != content:
            raise StartError(f"{path} is another one than that of the backup; move it away first") from None
        return
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _make(path: Path) -> None:
    """Write a fresh pepper so that two processes starting together agree on one: the first link wins."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # of mode 0600
    draft = Path(name)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        return  # another process was first; its pepper is the one
    finally:
        draft.unlink()
