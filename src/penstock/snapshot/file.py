"""
Documents as files: replaced atomically, read without locks, noticed by their inode.

A rename gives a file a new inode, so one `stat` tells whether there is something new, however coarse the clock is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from penstock.snapshot.config import Config
from penstock.snapshot.fleet import Desired, Fleet
from penstock.snapshot.packed import PackedPrincipals
from penstock.snapshot.principals import Principals
from penstock.snapshot.standings import Standings

FORMAT = 1  # grows when a reader of the old format could misread the new one

Stamp = tuple[int, int, int]
Document = Config | Principals | PackedPrincipals | Desired | Fleet | Standings
T = TypeVar("T", Config, Principals, PackedPrincipals, Desired, Fleet, Standings)

_NAMES: dict[type[Document], str] = {
    Config: "config",
    Principals: "principals",
    PackedPrincipals: "principals-base",
    Desired: "desired",
    Fleet: "fleet",
    Standings: "standings",
}


class UnknownFormat(Exception):
    """The file was written in a format this reader does not know, or is damaged; the reader keeps what it has."""


def withdraw(directory: Path, document: type[Document]) -> None:
    """Remove a document, so that readers wait for the next one."""
    (directory / f"{_NAMES[document]}.msgpack").unlink(missing_ok=True)


def publish(directory: Path, document: Document) -> None:
    """Replace the document of this type in `directory`; readers see the old one or the new one, never a mix."""
    _write(directory, type(document), msgspec.msgpack.encode((FORMAT, document)))


def stamp(directory: Path, document: type[Document]) -> Stamp | None:
    """Return what changes with the document; None when there is none, or a failing disk does not tell."""
    return _stamp(directory / f"{_NAMES[document]}.msgpack")


def written(directory: Path, document: type[Document]) -> bytes:
    """
    Return the document as it is written.

    Raises:
        OSError: there is none, or it cannot be read.
    """
    return (directory / f"{_NAMES[document]}.msgpack").read_bytes()


def publish_written(directory: Path, document: type[Document], content: bytes) -> None:
    """
    Replace a document by one that was written elsewhere.

    Raises:
        UnknownFormat: it is not such a document, or in a format that this Penstock does not know.
        OSError: it cannot be written.
    """
    _check(document, content)
    _write(directory, document, content)


def decoded(document: type[T], content: bytes) -> T:
    """
    Return a document out of what is `written`.

    Raises:
        UnknownFormat: it is not such a document, or in a format that this Penstock does not know.
    """
    decoder: msgspec.msgpack.Decoder[tuple[int, T]] = msgspec.msgpack.Decoder(tuple[int, document])  # type: ignore[valid-type]  # a type made at run time
    return _read(_NAMES[document], decoder, content)


def _check(document: type[Document], content: bytes) -> None:
    name = f"{_NAMES[document]} from elsewhere"
    _read(name, msgspec.msgpack.Decoder(tuple[int, document]), content)  # type: ignore[valid-type]  # as above


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:  # usually: there is none yet
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(name: str, decoder: msgspec.msgpack.Decoder[tuple[int, T]], content: bytes) -> T:
    try:
        number, document = decoder.decode(content)
    except msgspec.DecodeError as error:
        raise UnknownFormat(f"{name}: {error}") from error
    if number != FORMAT:
        raise UnknownFormat(f"{name}: format {number}, this reader knows {FORMAT}")
    return document


def _write(directory: Path, document: type[Document], content: bytes) -> None:
    path = directory / f"{_NAMES[document]}.msgpack"
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


class Reader(Generic[T]):
    """Follows one document. Owned by one task; `changed()` costs one `stat` when nothing happened."""

    def __init__(self, directory: Path, document: type[T]) -> None:
        self._path = directory / f"{_NAMES[document]}.msgpack"
        self._decoder: msgspec.msgpack.Decoder[tuple[int, T]] = msgspec.msgpack.Decoder(tuple[int, document])  # type: ignore[valid-type]  # a type made at run time
        self._seen: Stamp | None = None

    def changed(self) -> T | None:
        """
        Return the document when it is new since the last call, else None.

        Raises:
            UnknownFormat: there is a new file, but not one this reader understands. Raised once per file.
        """
        stamp = _stamp(self._path)
        if stamp is None or stamp == self._seen:
            return None
        try:
            content = self._path.read_bytes()
        except OSError:
            return None  # not seen: it is tried again at the next call
        self._seen = stamp
        return _read(self._path.name, self._decoder, content)
