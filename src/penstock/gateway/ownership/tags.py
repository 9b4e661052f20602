"""
Tags: what shows whose something is that an upstream keeps, without anybody having to remember it.

Upstreams keep responses, and seal what a model thought, in one account for all tenants. Clients name such things, so
the name that a client gets ends with a tag: a keyed hash of what it is, of its tenant, its owner and its name. All
workers and hosts of an installation can tell it again, also after a restart; nobody without the secret can make one.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from enum import Enum
from hashlib import blake2b

import msgspec

from penstock.gateway.dialects.call import MOST_ID

MOST_GIVEN = 2 * MOST_ID
"""Characters of the name of a response as a client gives it; what is longer has no tag of ours."""

_SIZE = 16  # bytes of a tag
_LENGTH = -(-_SIZE * 8 // 6)  # characters of it
_encode = msgspec.json.Encoder().encode


class Kind(Enum):
    """
    What is tagged. The value stands between a name and its tag.

    Clients and proxies may check that ids have no other characters than letters, digits, `_` and `-`. What is sealed is
    in base64, as a rule, and is to be told from what has no tag.
    """

    RESPONSE = "-"
    SEALED = "~"


class Tags:
    """
    Makes tags and tells owners by them. One per worker.

    Args:
        pepper: the installation's secret; all its workers have the same.
    """

    def __init__(self, pepper: bytes) -> None:
        self._keyed = blake2b(key=pepper, digest_size=_SIZE, person=b"penstock-owner")

    def tagged(self, kind: Kind, tenant: str, owner: str, name: str) -> str:
        """
        Return a name with its tag.

        Args:
            owner: the endpoint, by name.
        """
        return f"{name}{kind.value}{self._tag(kind, tenant, owner, _digest(name))}"

    def owner(self, kind: Kind, tenant: str, owners: Iterable[str], given: str) -> tuple[str, str | None]:
        """
        Return what stands in front of the tag, and which of these owners it names for this tenant; None for none.
        """
        name, tag = split(kind, given)
        if not tag:
            return name, None
        presented, digest = tag.encode(), _digest(name)
        for owner in owners:
            if hmac.compare_digest(self._tag(kind, tenant, owner, digest).encode(), presented):
                return name, owner
        return name, None

    def _tag(self, kind: Kind, tenant: str, owner: str, digest: bytes) -> str:
        hashed = self._keyed.copy()
        hashed.update(digest)  # of constant length
        hashed.update(_encode((kind.value, tenant, owner)))
        return urlsafe_b64encode(hashed.digest())[:_LENGTH].decode()


def _digest(name: str) -> bytes:
    """Return what stands for a name, which may be a megabyte and is read once, however many owners there may be."""
    return blake2b(name.encode(), digest_size=32).digest()


def split(kind: Kind, given: str) -> tuple[str, str]:
    """Return a name and what stands in the place of its tag; of one that can have none, all of it and nothing."""
    if len(given) <= _LENGTH + 1 or given[-_LENGTH - 1] != kind.value:
        return given, ""
    return given[: -_LENGTH - 1], given[-_LENGTH:]
