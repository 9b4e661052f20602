"""
Very many keys: one block of records of the same length, found by a hash table in another block.

Nothing is made of it when it is read, so a hundred thousand keys take the room of their records and hold nobody up.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from zlib import crc32

import msgspec

from penstock.snapshot.principals import KeyRecord
from penstock.types.operation import Operation

_RECORD = struct.Struct("<12s32sI12sQ")  # id, digest, scope, counts_as, expires_at_ns
_ID = 12
_DIGEST = 32


class Scope(msgspec.Struct, frozen=True, omit_defaults=True):
    """What many keys have in common; see `KeyRecord`."""

    tenant: str
    models: tuple[str, ...] | None = None
    operations: tuple[Operation, ...] | None = None
    networks: tuple[str, ...] | None = None
    user: str = ""


class PackedPrincipals(msgspec.Struct, frozen=True):
    """
    Keys as of one moment, see `pack`. `version` grows with each of these documents.

    Attributes:
        records: one behind the other.
        table: numbers of records from 1, 0 for none, of 32 bits in this machine's order: open addressing with linear
            probing, by the CRC-32 of the id.
    """

    version: int
    scopes: tuple[Scope, ...] = ()
    records: bytes = b""
    table: bytes = b""

    def __len__(self) -> int:
        return len(self.records) // _RECORD.size

    def find(self, key_id: bytes) -> KeyRecord | None:
        """Return the key of this id, or None."""
        table = memoryview(self.table).cast("I")
        if not table or len(key_id) > _ID:
            return None
        wanted, mask = key_id.ljust(_ID, b"\0"), len(table) - 1
        slot = crc32(wanted) & mask
        while number := table[slot]:
            start = (number - 1) * _RECORD.size
            if self.records[start : start + _ID] == wanted:
                return self._record(start)
            slot = (slot + 1) & mask
        return None

    def _record(self, start: int) -> KeyRecord:
        key_id, digest, scope_number, counts_as, expires_at_ns = _RECORD.unpack_from(self.records, start)
        scope = self.scopes[scope_number]
        return KeyRecord(
            id=key_id.rstrip(b"\0").decode(),
            digest=digest,
            tenant=scope.tenant,
            models=scope.models,
            operations=scope.operations,
            networks=scope.networks,
            expires_at_ns=expires_at_ns,
            counts_as=counts_as.rstrip(b"\0").decode(),
            user=scope.user,
        )


def pack(version: int, keys: Iterable[KeyRecord]) -> PackedPrincipals:
    """
    Pack keys, each with an id of its own of at most 12 ASCII characters.

    Raises:
        ValueError: an id is longer, or a digest has not 32 bytes.
    """
    scopes: dict[Scope, int] = {}
    records = bytearray()
    ids: list[bytes] = []
    for key in keys:
        scope = scopes.setdefault(_scope(key), len(scopes))
        key_id, counts_as = key.id.encode(), key.counts_as.encode()
        if max(len(key_id), len(counts_as)) > _ID or len(key.digest) != _DIGEST:
            raise ValueError("a key cannot be packed")
        ids.append(key_id.ljust(_ID, b"\0"))
        records += _RECORD.pack(key_id, key.digest, scope, counts_as, key.expires_at_ns)
    size = 1 << max(1, (2 * len(ids)).bit_length())  # at most half full
    table = memoryview(bytearray(size * 4)).cast("I")
    for number, key_id in enumerate(ids, 1):
        slot = crc32(key_id) & (size - 1)
        while table[slot]:
            slot = (slot + 1) & (size - 1)
        table[slot] = number
    return PackedPrincipals(version, tuple(scopes), bytes(records), table.tobytes())


def _scope(key: KeyRecord) -> Scope:
    return Scope(key.tenant, key.models, key.operations, key.networks, key.user)
