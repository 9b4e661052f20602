"""What becomes of the top-level fields of a request that are not read."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from penstock.gateway.dialects import document
from penstock.gateway.translation.reading import unsupported

MAX_DROPPED = 32
MAX_NAME = 64  # characters
_UNSAID = frozenset({b"null", b"false", b"[]", b"{}"})


class Fields(msgspec.Struct, frozen=True):
    """
    The fields of one dialect, for one other.

    Attributes:
        read: a translation reads them.
        refused: they change what the answer is, or what is done with it, and cannot be expressed.
        settings: the same, but for these values of theirs, as JSON without blanks.
    """

    read: frozenset[str]
    refused: frozenset[str]
    settings: Mapping[str, tuple[bytes, ...]]

    def judged(self, given: document.Fields) -> list[str]:
        """
        Return the names of the fields that are left out, at most 32.

        Raises:
            InvalidRequest: one of them must not be left out.
        """
        dropped = []
        for name, raw in given.items():
            if name in self.read or (value := bytes(raw)) in _UNSAID:
                continue
            allowed = self.settings.get(name)
            if name in self.refused or (allowed is not None and b"".join(value.split()) not in allowed):
                raise unsupported(name)
            if allowed is None:
                dropped.append(name[:MAX_NAME])
        return dropped[:MAX_DROPPED]
