"""What the gateway asks of a provider."""

from __future__ import annotations

from typing import Protocol

from penstock.gateway.dialects.call import Call
from penstock.types.dialect import Dialect


class Provider(Protocol):
    """Speaks to one kind of upstream. Stateless, made once, shared by all exchanges."""

    @property
    def name(self) -> str:
        """Value of `gen_ai.provider.name` in telemetry."""

    def target(self, dialect: Dialect) -> bytes:
        """Return the request target below the upstream's base path."""

    def headers(self, secret: str | None) -> bytes:
        """Return the ready-made header lines that each request carries, the credential among them."""

    def body(self, call: Call, model: str, cap_name: str | None) -> bytes:
        """
        Return the call's body for the upstream, asking for `model`, with usage in streams.

        Args:
            cap_name: what this deployment calls the cap of a chat's output; None where none is to be put in.
        """
