"""What the gateway asks of a provider."""

from __future__ import annotations

from typing import Protocol

from penstock.types.address import Address
from penstock.types.dialect import Dialect


class Provider(Protocol):
    """Speaks to one kind of upstream. Stateless, made once, shared by all exchanges."""

    @property
    def name(self) -> str:
        """Value of `gen_ai.provider.name` in telemetry."""

    def speaks(self, address: Address) -> frozenset[Dialect]:
        """Return the dialects that it understands at an address, unless the stack says otherwise."""

    def cap_name(self, address: Address) -> str:
        """Return what it calls the cap of a chat's output at an address."""

    def target(self, dialect: Dialect) -> bytes:
        """Return the request target below the upstream's base path."""

    def headers(self, secret: str | None) -> bytes:
        """Return the ready-made header lines that each request carries, the credential among them."""
