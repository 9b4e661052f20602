"""
Segments: the files of the journal.

A record is a little-endian header (length and CRC-32 of the payload, 4 bytes each) and a MessagePack payload, appended
with one `write`. The writer holds an exclusive `flock` on its segment for as long as it may append; whoever can take
the lock knows that nothing more will come. A record torn by a crash can only be the last one.

A segment gets its name only once it is locked, so that a reader never takes a new one for one that is done with; and a
full segment is let go only after its successor has its name, so that a writer that lives always has a segment.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import msgspec

from penstock.journal.records import Record
from penstock.types.errors import JournalError

SUFFIX = ".journal"
MAX_RECORD = 1024 * 1024

_HEADER = struct.Struct("<II")


class Writer:
    """
    Appends records for one worker process; starts a new segment when the current one is full.

    Made once per process; not to be shared between threads.
    """

    def __init__(self, directory: Path, worker: str, segment_bytes: int = 64 * 1024 * 1024) -> None:
        self._directory = directory
        self._name = f"{worker}-{time.time_ns()}-{os.getpid()}"
        self._number = 0
        self._segment_bytes = segment_bytes
        self._encoder = msgspec.msgpack.Encoder()
        self._size = 0
        self._descriptor = self._open()

    def append(self, record: Record) -> None:
        """
        Write one record; when this returns, it survives the death of this process.

        Raises:
            JournalError: it could not be written whole; the segment is as it was before.
        """
        payload = self._encoder.encode(record)
        if len(payload) > MAX_RECORD:
            raise JournalError("the record is too large for the journal")
        data = _HEADER.pack(len(payload), crc32(payload)) + payload
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            raise JournalError(f"the journal cannot be written: {error.strerror}") from error
        if written != len(data):  # the disk filled up within the record: take the torn part back
            os.ftruncate(self._descriptor, self._size)
            raise JournalError("the journal cannot be written: no space left")
        self._size += written
        if self._size >= self._segment_bytes:
            self._rotate()

    def close(self) -> None:
        """Let go of the segment."""
        os.close(self._descriptor)

    def _open(self) -> int:
        path = self._directory / f"{self._name}-{self._number:06d}{SUFFIX}"
        draft = path.with_name(f".{path.name}.new")
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                draft.rename(path)
            except OSError:
                os.close(descriptor)
                raise
        except OSError as error:
            raise JournalError(f"the journal cannot be opened: {error.strerror}") from error
        self._number += 1
        return descriptor

    def _rotate(self) -> None:
        try:
            descriptor = self._open()
        except JournalError:
            return  # the old segment still takes records; the next append tries again
        os.close(self._descriptor)
        self._descriptor, self._size = descriptor, 0


class Segment:
    """One file of the journal, read from its start or from an offset returned earlier."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._decoder = msgspec.msgpack.Decoder(Record)

    @property
    def writer(self) -> str:
        """The `Writer` that this segment belongs to; unique among all writers of a directory."""
        return self.path.name.removesuffix(SUFFIX).rpartition("-")[0]

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
            while len(records) < limit:
                header = file.read(_HEADER.size)
                if len(header) < _HEADER.size:
                    break
                length, checksum = _HEADER.unpack(header)
                payload = file.read(length) if length <= MAX_RECORD else b""
                if len(payload) < length or not length or crc32(payload) != checksum:
                    break
                try:
                    records.append(self._decoder.decode(payload))
                except msgspec.DecodeError:
                    break
                offset += _HEADER.size + length
        return records, offset

    def damaged(self, offset: int) -> bool:
        """
        Tell whether what is left at `offset`, where reading a closed segment ended, is more than a torn last record.

        A record torn by a crash is shorter than it says. Bytes that are all there and still make no record are damage.
        """
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(offset)
            header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return False
        length = _HEADER.unpack(header)[0]
        return not 0 < length <= MAX_RECORD or size - offset - _HEADER.size >= length


def segments(directory: Path) -> Iterator[Segment]:
    """Yield the segments of a journal directory, oldest name first."""
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        yield Segment(path)
