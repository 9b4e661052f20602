"""
Segments: the files of the journal.

A record is a little-endian header (length and CRC-32 of the payload, 4 bytes each) and a MessagePack payload. The
writer copies it into the file's pages, the header last, so that a record is there whole or not at all for whoever reads
the file after a `kill -9`; a system call per record would cost more than all the rest of writing it. Space is reserved
before it is mapped, so on file systems that reserve space (ext4, xfs, tmpfs) a full disk is an error here and never a
fault in the copy. What is reserved and not used yet is zeros; a header of zeros is the end.

The writer holds an exclusive `flock` on its segment for as long as it may append; whoever can take the lock knows that
nothing more will come.

A segment gets its name only once it is locked, so that a reader never takes a new one for one that is done with; and a
full segment is let go only after its successor has its name, so that a writer that lives always has a segment.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import mmap
import os
import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import msgspec

from penstock.journal.host import host_of, writer_name
from penstock.journal.records import Record
from penstock.types.errors import JournalError

SUFFIX = ".journal"
MAX_RECORD = 1024 * 1024
WINDOW = 256 * 1024  # bytes reserved and mapped at a time

_DAMAGED = ".damaged"
_NAME = re.compile(r"[0-9a-f]{12}~[A-Za-z0-9-]{1,100}\.journal")
_HEADER = struct.Struct("<II")
_PAGE = mmap.PAGESIZE
_log = logging.getLogger(__name__)
_decode = msgspec.msgpack.Decoder(Record).decode


class Writer:
    """
    Appends records for one worker process; starts a new segment when the current one is full.

    Made once per process; not to be shared between threads.

    Attributes:
        name: unique among all writers there ever were.
    """

    def __init__(self, directory: Path, worker: str, segment_bytes: int = 64 * 1024 * 1024) -> None:
        self._directory = directory
        self.name = f"{worker}-{time.time_ns()}-{os.getpid()}"
        self._number = 0
        self._segment_bytes = segment_bytes
        self._encode = msgspec.msgpack.Encoder().encode
        self._header = _HEADER.pack
        self._size = 0
        self._start = 0  # where in the file the window begins
        self._end = 0  # where it ends
        self._before = ("", 0)  # the end of the segment before this one
        self._window: mmap.mmap | None = None
        self._descriptor = self._open()

    @property
    def position(self) -> tuple[str, int]:
        """The segment that the last record is in, and where it ends there."""
        return (self._segment, self._size) if self._size else self._before

    def append(self, record: Record) -> None:
        """
        Write one record; when this returns, it survives the death of this process.

        Raises:
            JournalError: it could not be written; the segment is as it was before.
        """
        payload = self._encode(record)
        length = len(payload)
        size = self._size
        behind = size + 8 + length
        if behind > self._end:
            self._slide(size, length)
        at = size - self._start
        window = self._window
        assert window is not None, "sliding makes one"
        window[at + 8 : at + 8 + length] = payload
        window[at : at + 8] = self._header(length, crc32(payload))  # one store: whole or not at all
        self._size = behind
        if behind >= self._segment_bytes:
            self._rotate()

    def close(self) -> None:
        """Give back the space that was not used, and let go of the segment. What is appended later is refused."""
        self._release()
        self._descriptor, self._end = -1, 0

    def _slide(self, size: int, length: int) -> None:
        """Reserve and map the space from `size` on, enough for a record of `length` bytes."""
        if length > MAX_RECORD:
            raise JournalError("the record is too large for the journal")
        start = size - size % _PAGE
        end = start + max(WINDOW, -(-(size - start + 8 + length) // _PAGE) * _PAGE)
        try:
            os.posix_fallocate(self._descriptor, start, end - start)
            window = mmap.mmap(self._descriptor, end - start, offset=start)
        except OSError as error:
            raise JournalError(f"the journal cannot be written: {error.strerror}") from error
        if self._window is not None:
            self._window.close()
        self._window, self._start, self._end = window, start, end

    def _open(self) -> int:
        path = self._directory / f"{self.name}-{self._number:06d}{SUFFIX}"
        draft = path.with_name(f".{path.name}.new")
        try:
            descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                draft.rename(path)
            except OSError:
                os.close(descriptor)
                raise
        except OSError as error:
            raise JournalError(f"the journal cannot be opened: {error.strerror}") from error
        self._number += 1
        self._segment = path.name
        return descriptor

    def _rotate(self) -> None:
        before = self.position
        try:
            descriptor = self._open()
        except JournalError:
            return  # the old segment still takes records; the next append tries again
        self._release()
        self._descriptor, self._before = descriptor, before
        self._size = self._start = self._end = 0

    def _release(self) -> None:
        if self._window is not None:
            self._window.close()
            self._window = None
        with contextlib.suppress(OSError):  # zeros at the end do no harm
            os.ftruncate(self._descriptor, self._size)
        os.close(self._descriptor)


class Segment:
    """One file of the journal, read from its start or from an offset returned earlier."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def writer(self) -> str:
        """The `Writer` that this segment belongs to; unique among all writers of a directory."""
        return writer_of(self.path.name)

    @property
    def born_ns(self) -> int:
        """When its writer began, nanoseconds since the epoch; 0 where the name does not say so."""
        return born_ns(self.writer)

    def closed(self) -> bool:
        """Tell whether the writer has let go, so that nothing more will be appended."""
        with self.path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def read(self, offset: int, limit: int) -> tuple[list[Record], int]:
        """
        Return up to `limit` whole records from `offset`, and the offset after the last of them.

        Reading stops in front of a record that is torn or not yet whole; one that was only late is there at the next
        call.
        """
        records: list[Record] = []
        with self.path.open("rb") as file:
            file.seek(offset)
            for payload in _payloads(file):
                if len(records) == limit:
                    break
                try:
                    records.append(_decode(payload))
                except msgspec.DecodeError:
                    break
                offset += _HEADER.size + len(payload)
        return records, offset

    def raw(self, offset: int, size: int) -> bytes:
        """Return whole records from `offset` as they are written, about `size` bytes of them, or one that is larger."""
        parts: list[bytes] = []
        with self.path.open("rb") as file:
            file.seek(offset)
            for payload in _payloads(file):
                parts += [_HEADER.pack(len(payload), crc32(payload)), payload]
                size -= _HEADER.size + len(payload)
                if size <= 0:
                    break
        return b"".join(parts)

    def waiting(self, offset: int) -> int:
        """
        Return how many bytes of records stand behind `offset`, where reading ended before.

        Where they are many, the space that an open segment has reserved behind them is counted too.
        """
        end = offset
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            while True:
                if size - end > 2 * WINDOW:
                    return size - offset
                file.seek(end)
                header = file.read(_HEADER.size)
                length = _HEADER.unpack(header)[0] if len(header) == _HEADER.size else 0
                if not 0 < length <= MAX_RECORD:
                    return end - offset
                end += _HEADER.size + length

    def damaged(self, offset: int) -> bool:
        """
        Tell whether what is left at `offset`, where reading a closed segment ended, is more than an end.

        An end is the end of the file, a header of zeros, or a record that is shorter than it says: the file was cut.
        Bytes that are all there and still make no record are damage.
        """
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(offset)
            header = file.read(_HEADER.size)
        if len(header) < _HEADER.size or not any(header):
            return False
        length = _HEADER.unpack(header)[0]
        return not 0 < length <= MAX_RECORD or size - offset - _HEADER.size >= length


def read(data: bytes) -> list[tuple[Record, int]]:
    """Return the records in a part of a segment, each with the offset behind it, up to one that cannot be read."""
    records: list[tuple[Record, int]] = []
    offset = 0
    for payload in _payloads(io.BytesIO(data)):
        try:
            record = _decode(payload)
        except msgspec.DecodeError:
            break
        offset += _HEADER.size + len(payload)
        records.append((record, offset))
    return records


def writer_of(segment: str) -> str:
    """Return the name of the `Writer` that a segment of this name belongs to."""
    return segment.removesuffix(SUFFIX).rpartition("-")[0]


def is_of(name: str, host: str) -> bool:
    """Tell whether this is a name that a writer of this host gives a segment."""
    return host_of(name) == host and _NAME.fullmatch(name) is not None


def adopt(segment: Segment, host: str) -> None:
    """Give a segment that its writer has let go of a name of this host, whatever it was called."""
    name = f"{writer_name(host, 'adopted')}-{time.time_ns()}-{os.getpid()}-000000{SUFFIX}"
    segment.path.rename(segment.path.with_name(name))
    _log.warning("a segment of another name is taken over", extra={"fields": {"was": segment.path.name, "is": name}})


def born_ns(writer: str) -> int:
    """Return when a writer began, nanoseconds since the epoch; 0 where its name does not say so."""
    moment = writer.split("-")[-2:-1]
    return int(moment[0]) if moment and moment[0].isdigit() else 0


def _payloads(file: BinaryIO) -> Iterator[bytes]:
    """Yield the payloads of whole records, up to where there is none."""
    while len(header := file.read(_HEADER.size)) == _HEADER.size:
        length, checksum = _HEADER.unpack(header)
        payload = file.read(length) if length <= MAX_RECORD else b""
        if len(payload) < length or not length or crc32(payload) != checksum:
            return
        yield payload


def dispose(segment: Segment, end: int) -> None:
    """
    Remove a closed segment that is in the ledger up to `end`, where reading ended; one that is damaged is kept aside.

    Raises:
        OSError: it cannot be, or has been taken away by hand.
    """
    if segment.damaged(end):
        kept = segment.path.with_name(segment.path.name + _DAMAGED)
        segment.path.rename(kept)
        _log.error(
            "a segment of the journal is damaged; what could be read is in the ledger, the file is kept",
            extra={"fields": {"segment": kept.name, "position": end}},
        )
    else:
        segment.path.unlink()


def segments(directory: Path) -> Iterator[Segment]:
    """Yield the segments of a journal directory, oldest name first."""
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        yield Segment(path)
