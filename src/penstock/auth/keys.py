"""
Client and admin keys.

A key is `sk-ps-<id>-<secret>` (`sk-psadmin-<id>-<secret>` for the admin API). The id is public: logs, rows and limits
name it. The secret is never kept; what is kept is a keyed BLAKE2b hash of the whole key under the pepper that
`penstock.auth.pepper` reads. A keyed hash rather than a slow KDF is enough because the secret is 256 random bits.
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import blake2b

import msgspec

CLIENT_PREFIX = "sk-ps-"
ADMIN_PREFIX = "sk-psadmin-"
MAX_KEY_BYTES = 256

_ID_ALPHABET = "0123456789abcdefghijkmnpqrstuvwxyz"
_ID_LENGTH = 12
_ANY = b"sk-ps"  # how all keys begin


class NewKey(msgspec.Struct, frozen=True):
    """A key at the only moment it exists in the clear: show `key` once, keep `id` and `digest`."""

    id: str
    key: str
    digest: bytes


def create(pepper: bytes, prefix: str = CLIENT_PREFIX) -> NewKey:
    """Make a key with a random id (12 characters, no dash) and 256 random bits of secret."""
    key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))
    key = f"{prefix}{key_id}-{secrets.token_urlsafe(32)}"
    return NewKey(key_id, key, digest(pepper, key.encode()))


def key_id(key: bytes) -> bytes:
    """Return the public id inside a key; of anything else, bytes that are the id of nothing."""
    start = key.find(b"-", len(_ANY)) + 1
    return key[start : start + _ID_LENGTH]


class Digester:
    """Hashes keys under one pepper. For whoever does so often: the pepper is taken in once."""

    __slots__ = ("_keyed",)

    def __init__(self, pepper: bytes) -> None:
        self._keyed = blake2b(key=pepper, digest_size=32)

    def __call__(self, key: bytes) -> bytes:
        """Return the keyed hash of a key: 32 bytes."""
        hashed = self._keyed.copy()
        hashed.update(key)
        return hashed.digest()


def digest(pepper: bytes, key: bytes) -> bytes:
    """Return the keyed hash of a key: 32 bytes."""
    return Digester(pepper)(key)


def matches(expected: bytes, presented: bytes) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(expected, presented)
