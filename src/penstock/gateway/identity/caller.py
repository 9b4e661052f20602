"""From a request's credential to a principal."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from penstock.auth import keys
from penstock.snapshot.principals import KeyRecord
from penstock.types.errors import Unauthenticated


class Caller(msgspec.Struct, frozen=True):
    """
    Who asks, and what they may use.

    Attributes:
        key: the public id of the key, or `local` for this machine's user on the Unix socket.
        models: names the caller may use; None means all.
    """

    key: str
    tenant: str
    models: frozenset[str] | None = None

    def may_use(self, model: str) -> bool:
        """Tell whether this model exists for the caller."""
        return self.models is None or model in self.models


LOCAL = Caller("local", "default")


def compile_callers(records: Mapping[str, KeyRecord]) -> dict[str, tuple[bytes, Caller]]:
    """Return the look-up from key id to digest and caller; done once per snapshot."""
    return {
        record.id: (
            record.digest,
            Caller(record.id, record.tenant, None if record.models is None else frozenset(record.models)),
        )
        for record in records.values()
    }


def authenticate(headers: Mapping[bytes, bytes], known: Mapping[str, tuple[bytes, Caller]], pepper: bytes) -> Caller:
    """
    Find the caller from `Authorization: Bearer`, `x-api-key` or `api-key`.

    Raises:
        Unauthenticated: no key, or not a valid one; the message never repeats what was presented.
    """
    presented = _presented(headers)
    if not presented:
        raise Unauthenticated("You didn't provide an API key; send it as 'Authorization: Bearer KEY'.")
    key_id = keys.key_id(presented.decode("latin-1")) if len(presented) <= keys.MAX_KEY_BYTES else None
    entry = known.get(key_id) if key_id is not None else None
    if entry is None or not keys.matches(entry[0], keys.digest(pepper, presented)):
        raise Unauthenticated("Incorrect API key provided.")
    return entry[1]


def _presented(headers: Mapping[bytes, bytes]) -> bytes:
    authorization = headers.get(b"authorization")
    if authorization is not None:
        scheme, _, value = authorization.partition(b" ")
        return value.strip() if scheme.lower() == b"bearer" else b""
    return headers.get(b"x-api-key") or headers.get(b"api-key") or b""
