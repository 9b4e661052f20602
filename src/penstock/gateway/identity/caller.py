"""From a request's credential to a principal."""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable, Mapping

import msgspec

from penstock.auth import keys
from penstock.snapshot.packed import PackedPrincipals
from penstock.snapshot.principals import KeyRecord
from penstock.types.errors import NotAllowed, Unauthenticated
from penstock.types.operation import Operation

_BEARER = b"Bearer "
_MOST_KNOWN = 10_000  # callers that are kept; the rest are made anew

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Bounds(msgspec.Struct, frozen=True):
    """
    What a key is bound to.

    Attributes:
        operations: what it may call models for; None means everything.
        networks: where it may be used from; None means everywhere.
    """

    operations: frozenset[Operation] | None
    networks: tuple[Network, ...] | None

    def check(self, operation: Operation, address: str) -> None:
        """
        Let a call pass, or not.

        Raises:
            NotAllowed: it is another operation, or comes from elsewhere.
        """
        if self.operations is not None and operation not in self.operations:
            named = ", ".join(sorted(self.operations))
            raise NotAllowed(f"This API key is not for {operation}; it is for {named}.")
        if self.networks is not None:
            came_from = ipaddress.ip_address(address.partition("%")[0])
            if isinstance(came_from, ipaddress.IPv6Address) and came_from.ipv4_mapped is not None:
                came_from = came_from.ipv4_mapped
            if not any(came_from in network for network in self.networks):
                raise NotAllowed("This API key may not be used from this address.")


class Caller(msgspec.Struct, frozen=True):
    """
    Who asks, and what they may use.

    Attributes:
        key: the public id of the key, or of the first of those that it has replaced, or `local` for this machine's user
            on the Unix socket.
        user: whose key it is, unlike any user of another tenant; for a key of nobody's, the key.
        models: names the caller may use; None means all.
        explained: who it is, for the explanation of an exchange.
        bounds: what else the key is bound to; None for nothing.
        expires_s: seconds since the epoch from which on it is not valid.
    """

    key: str
    tenant: str
    models: frozenset[str] | None = None
    explained: tuple[str, str] = ("identity", "")
    bounds: Bounds | None = None
    expires_s: float = math.inf
    user: str = ""

    def may_use(self, model: str) -> bool:
        """Tell whether this model exists for the caller."""
        return self.models is None or model in self.models


LOCAL = Caller("local", "default", None, ("identity", "key local of tenant default"), user="local")


class Callers:
    """
    The keys of one moment. A caller is made of a key when it first asks.

    Args:
        keys: by id, None for one that is not valid; they go before those of `base`.
    """

    def __init__(self, keys: Mapping[str, KeyRecord | None], base: PackedPrincipals | None = None) -> None:
        self._keys = keys
        self._base = base
        self._known: dict[bytes, tuple[bytes, Caller]] = {}

    def find(self, key_id: bytes) -> tuple[bytes, Caller] | None:
        """Return the digest of a key and its caller, by its public id; None when there is none."""
        known = self._known.get(key_id)
        if known is None:
            record = self._record(key_id)
            if record is None:
                return None
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            known = self._known[key_id] = record.digest, _caller(record)
        return known

    def _record(self, key_id: bytes) -> KeyRecord | None:
        name = key_id.decode("latin-1")
        if name in self._keys:
            return self._keys[name]
        return None if self._base is None else self._base.find(key_id)


def _caller(record: KeyRecord) -> Caller:
    bounds = None
    if record.operations is not None or record.networks is not None:
        operations = None if record.operations is None else frozenset(record.operations)
        networks = None if record.networks is None else tuple(map(ipaddress.ip_network, record.networks))
        bounds = Bounds(operations, networks)
    return Caller(
        key=record.counts_as or record.id,
        tenant=record.tenant,
        models=None if record.models is None else frozenset(record.models),
        explained=("identity", f"key {record.id} of tenant {record.tenant}"),
        bounds=bounds,
        expires_s=record.expires_at_ns / 1e9 if record.expires_at_ns else math.inf,
        user=f"{record.tenant}/{record.user}" if record.user else record.counts_as or record.id,
    )


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
    entry = known.find(keys.key_id(presented)) if len(presented) <= keys.MAX_KEY_BYTES else None
    if entry is None or not keys.matches(entry[0], digest(presented)):
        raise Unauthenticated("Incorrect API key provided.")
    caller = entry[1]
    if caller.expires_s != math.inf and time.time() >= caller.expires_s:
        raise Unauthenticated("This API key has expired.")
    return caller


def _presented(headers: Mapping[bytes, bytes]) -> bytes:
    authorization = headers.get(b"authorization")
    if authorization is not None:
        if authorization.startswith(_BEARER):
            return authorization[len(_BEARER) :].strip()
        scheme, _, value = authorization.partition(b" ")
        return value.strip() if scheme.lower() == b"bearer" else b""
    return headers.get(b"x-api-key") or headers.get(b"api-key") or b""
