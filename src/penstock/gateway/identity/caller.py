"""From a request's credential to a principal."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from penstock.auth import keys
from penstock.snapshot.principals import KeyRecord
from penstock.types.errors import Unauthenticated

_BEARER = b"Bearer "


class Caller(msgspec.Struct, frozen=True):
    """
    Who asks, and what they may use.

    Attributes:
        key: the public id of the key, or `local` for this machine's user on the Unix socket.
        models: names the caller may use; None means all.
        explained: who it is, for the explanation of an exchange.
    """

    key: str
    tenant: str
    models: frozenset[str] | None = None
    explained: tuple[str, str] = ("identity", "")

    def may_use(self, model: str) -> bool:
        """Tell whether this model exists for the caller."""
        return self.models is None or model in self.models


Callers = Mapping[bytes, tuple[bytes, Caller]]
"""From the public id of a key to its digest and its caller."""


def _caller(key: str, tenant: str, models: tuple[str, ...] | None) -> Caller:
    named = None if models is None else frozenset(models)
    return Caller(key, tenant, named, ("identity", f"key {key} of tenant {tenant}"))


LOCAL = _caller("local", "default", None)


def compile_callers(records: Mapping[str, KeyRecord]) -> Callers:
    """Return the look-up of callers; done once per snapshot."""
    return {
        record.id.encode(): (record.digest, _caller(record.id, record.tenant, record.models))
        for record in records.values()
    }


def authenticate(headers: Mapping[bytes, bytes], known: Callers, digest: Callable[[bytes], bytes]) -> Caller:
    """
    Find the caller from `Authorization: Bearer`, `x-api-key` or `api-key`.

    Args:
        digest: `auth.keys.Digester` of this installation.
    Raises:
        Unauthenticated: no key, or not a valid one; the message never repeats what was presented.
    """
    presented = _presented(headers)
    if not presented:
        raise Unauthenticated("You didn't provide an API key; send it as 'Authorization: Bearer KEY'.")
    entry = known.get(keys.key_id(presented)) if len(presented) <= keys.MAX_KEY_BYTES else None
    if entry is None or not keys.matches(entry[0], digest(presented)):
        raise Unauthenticated("Incorrect API key provided.")
    return entry[1]


def _presented(headers: Mapping[bytes, bytes]) -> bytes:
    authorization = headers.get(b"authorization")
    if authorization is not None:
        if authorization.startswith(_BEARER):
            return authorization[len(_BEARER) :].strip()
        scheme, _, value = authorization.partition(b" ")
        return value.strip() if scheme.lower() == b"bearer" else b""
    return headers.get(b"x-api-key") or headers.get(b"api-key") or b""
