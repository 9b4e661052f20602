"""Who may call: keys as public ids and keyed hashes."""

from __future__ import annotations

import msgspec

from penstock.types.operation import Operation


class KeyRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    One key that is valid now; a revoked key is simply absent.

    Attributes:
        digest: `penstock.auth.keys.digest` of the key, 32 bytes.
        models: names the key may use; None means all.
        operations: what it may call models for; None means everything.
        networks: where it may be used from, in CIDR notation; None means everywhere.
        expires_at_ns: from when on it is not valid, nanoseconds since the epoch; 0 for never.
        user: whose key it is, or empty.
        counts_as: the id that limits and the ledger know it by, if that is not its own.
    """

    id: str
    digest: bytes
    tenant: str
    models: tuple[str, ...] | None = None
    operations: tuple[Operation, ...] | None = None
    networks: tuple[str, ...] | None = None
    expires_at_ns: int = 0
    counts_as: str = ""
    user: str = ""


class Principals(msgspec.Struct, frozen=True, omit_defaults=True):
    """
    Who may call. `version` grows with each change.

    Attributes:
        keys: by id; None for one that is not valid any more. They go before those of `base`.
        base: version of the `PackedPrincipals` that has all other keys; 0 when there are none. A later one has these
            changes too.
    """

    version: int
    keys: dict[str, KeyRecord | None]
    base: int = 0
