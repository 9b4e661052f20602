"""Anthropic, and everything that has its Messages API."""

from __future__ import annotations

from penstock.gateway.upstream.providers.openai import JSON_LINES
from penstock.types.address import Address
from penstock.types.dialect import Dialect

_TARGETS = {Dialect.MESSAGES: b"/messages", Dialect.COUNT: b"/messages/count_tokens"}
_VERSION = b"2023-06-01"  # of the API; the only one that there is


class Anthropic:
    """Its key has a header of its own."""

    name = "anthropic"

    def speaks(self, _address: Address) -> frozenset[Dialect]:
        """Return messages, and the counting of their tokens."""
        return frozenset(_TARGETS)

    def cap_name(self, _address: Address) -> str:
        """Return its name in messages, which always have one."""
        return "max_tokens"

    def target(self, dialect: Dialect) -> bytes:
        """Return the target; the base path (`/v1`) belongs to the address."""
        return _TARGETS[dialect]

    def headers(self, secret: str | None) -> bytes:
        """Return content type, version and key."""
        lines = JSON_LINES + b"anthropic-version: %b\r\n" % _VERSION
        return lines if secret is None else lines + b"x-api-key: " + secret.encode() + b"\r\n"
