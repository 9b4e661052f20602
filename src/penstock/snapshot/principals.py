"""Who may call: keys as public ids and keyed hashes."""

from __future__ import annotations

import msgspec


class KeyRecord(msgspec.Struct, frozen=True):
    """
    One key that is valid now; a revoked key is simply absent.

    Attributes:
        digest: `penstock.auth.keys.digest` of the key, 32 bytes.
        models: names the key may use; None means all.
    """

    id: str
    digest: bytes
    tenant: str
    models: tuple[str, ...] | None = None


class Principals(msgspec.Struct, frozen=True):
    """All valid keys by id. `version` grows with each change."""

    version: int
    keys: dict[str, KeyRecord]
