"""What a control sends to the gateways of other hosts: documents as they are written."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from types import MappingProxyType

import msgspec

from penstock.snapshot.config import Config
from penstock.snapshot.file import Document
from penstock.snapshot.packed import PackedPrincipals
from penstock.snapshot.principals import Principals

DOCUMENTS: Mapping[str, type[Document]] = MappingProxyType(
    {"base": PackedPrincipals, "principals": Principals, "config": Config}
)
"""By the names that they are asked for; in the order in which they are to be published, each before what needs it."""


class Bundle(msgspec.Struct, frozen=True):
    """Those of the documents that the receiver does not have."""

    documents: dict[str, bytes]


def tag(content: bytes) -> str:
    """Return what tells one content of a document from another: 32 hexadecimal digits."""
    return blake2b(content, digest_size=16).hexdigest()
