"""
Whether a file is a whole GGUF file: its header is read and the end of its last tensor compared with the file's size.

Values are skipped, not kept, so memory stays small whatever the file claims. Layout: "The GGUF file format"
(ggml's `docs/gguf.md`): magic, version, tensor count, key-value count, key-values, tensor descriptions, padding, data.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from penstock.types.errors import WeightsError

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT_KEY = b"general.alignment"
_DEFAULT_ALIGNMENT = 32

# Bounds far over what real files have; a count over them means damage.
_MAX_KEYS = 65_536
_MAX_TENSORS = 262_144
_MAX_NAME = 65_536  # bytes
_MAX_STRINGS = 8_388_608  # strings in arrays, all together: vocabularies and merges
_MAX_DIMENSIONS = 4

_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32, _STRING, _ARRAY = 4, 8, 9

# ggml type → (elements in a block, bytes of a block); from ggml's type table.
_BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    24: (1, 1),
    25: (1, 2),
    26: (1, 4),
    27: (1, 8),
    28: (1, 8),
    29: (256, 56),
    30: (1, 2),
    34: (256, 54),
    35: (256, 66),
    39: (32, 17),
    40: (64, 36),
}


def check(path: Path) -> None:
    """
    Look whether `path` is a GGUF file with all its tensors in it.

    Reads the header only, so large models take milliseconds, large vocabularies some tenths of a second.

    Raises:
        WeightsError: it is missing, unreadable, not GGUF, damaged or truncated.
    """
    try:
        if not path.is_file():
            raise WeightsError(f"{path} is not a file" if path.exists() else f"{path} does not exist")
        with path.open("rb") as file:
            _Header(file, path, path.stat().st_size).check()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error


class _Header:
    """One pass over the header. `_position` is where we are; seeking replaces reading for what is not needed."""

    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self._file = file
        self._path = path
        self._size = size
        self._position = 0
        self._alignment = _DEFAULT_ALIGNMENT
        self._strings = 0

    def check(self) -> None:
        if self._file.read(4) != _MAGIC:
            raise WeightsError(f"{self._path} is not a GGUF file")
        self._position = 4
        version = self._uint32()
        if version not in _VERSIONS:
            big_endian = int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS
            what = "for big-endian machines" if big_endian else f"of version {version}; 2 and 3 are known"
            raise WeightsError(f"{self._path} is a GGUF file {what}")
        tensors = self._count(_MAX_TENSORS, "tensors")
        keys = self._count(_MAX_KEYS, "metadata keys")
        if tensors == 0:
            raise WeightsError(f"{self._path} is a GGUF file without tensors")
        for _ in range(keys):
            self._key_value()
        end = max(self._tensor() for _ in range(tensors))
        start = -(-self._position // self._alignment) * self._alignment
        if start + end > self._size:
            raise self._truncated(start + end)

    def _key_value(self) -> None:
        key = self._name()
        kind = self._uint32()
        if key == _ALIGNMENT_KEY:
            if kind != _UINT32:
                raise self._damaged("its alignment is not a number")
            self._alignment = self._uint32()
            if self._alignment == 0 or self._alignment & (self._alignment - 1):
                raise self._damaged(f"its alignment is {self._alignment}")
        elif kind == _ARRAY:
            self._skip_array()
        else:
            self._skip_value(kind)

    def _skip_array(self) -> None:
        kind = self._uint32()
        count = self._uint64()
        if kind != _STRING:
            self._skip(self._scalar(kind) * count)
            return
        self._strings += count
        if self._strings > _MAX_STRINGS:
            raise self._damaged("it claims too many strings")
        for _ in range(count):
            self._skip(self._uint64())

    def _skip_value(self, kind: int) -> None:
        self._skip(self._uint64() if kind == _STRING else self._scalar(kind))

    def _scalar(self, kind: int) -> int:
        if kind not in _SCALAR_BYTES:
            raise self._damaged(f"it has a value of unknown type {kind}")
        return _SCALAR_BYTES[kind]

    def _tensor(self) -> int:
        """Read one tensor's description; return where its data ends, counted from the start of all data."""
        self._name()
        dimensions = self._uint32()
        if dimensions > _MAX_DIMENSIONS:
            raise self._damaged(f"it has a tensor of {dimensions} dimensions")
        elements = 1
        for _ in range(dimensions):
            elements *= self._uint64()
        kind = self._uint32()
        offset = self._uint64()
        if offset % self._alignment:
            raise self._damaged("it has a tensor that is not aligned")
        # A type newer than our table: at least its beginning must be there; the engine judges the rest.
        block, block_bytes = _BLOCKS.get(kind, (1, 0))
        if elements % block:
            raise self._damaged("it has a tensor that is no whole number of blocks")
        return offset + elements // block * block_bytes

    def _count(self, most: int, what: str) -> int:
        count = self._uint64()
        if count > most:
            raise self._damaged(f"it claims {count} {what}")
        return count

    def _name(self) -> bytes:
        length = self._uint64()
        if length > _MAX_NAME:
            raise self._damaged(f"it has a name of {length} bytes")
        return self._read(length)

    def _uint32(self) -> int:
        value: int = struct.unpack("<I", self._read(4))[0]
        return value

    def _uint64(self) -> int:
        value: int = struct.unpack("<Q", self._read(8))[0]
        return value

    def _read(self, length: int) -> bytes:
        content = self._file.read(length)
        self._position += length
        if len(content) != length:
            raise self._truncated(self._position)
        return content

    def _skip(self, length: int) -> None:
        self._position += length
        if self._position > self._size:
            raise self._truncated(self._position)
        self._file.seek(self._position)

    def _truncated(self, needed: int) -> WeightsError:
        return WeightsError(f"{self._path} is truncated: it has {self._size} bytes of at least {needed}")

    def _damaged(self, how: str) -> WeightsError:
        return WeightsError(f"{self._path} is a damaged GGUF file: {how}")
