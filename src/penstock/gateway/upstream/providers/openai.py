"""OpenAI and everything that speaks like it, our engines among them."""

from __future__ import annotations

from penstock.gateway.dialects import openai as dialect
from penstock.gateway.dialects.call import Call
from penstock.types.dialect import Dialect

_TARGETS = {
    Dialect.CHAT: b"/chat/completions",
    Dialect.COMPLETIONS: b"/completions",
    Dialect.EMBEDDINGS: b"/embeddings",
}


class OpenAI:
    """Same dialect on both sides: bodies are patched, not translated."""

    name = "openai"

    def target(self, dialect: Dialect) -> bytes:
        """Return the target; the base path (`/v1`) belongs to the address."""
        return _TARGETS[dialect]

    def headers(self, secret: str | None) -> bytes:
        """Return content type and bearer token."""
        lines = b"content-type: application/json\r\naccept-encoding: identity\r\n"
        return lines if secret is None else lines + b"authorization: Bearer " + secret.encode() + b"\r\n"

    def body(self, call: Call, model: str, cap_name: str | None) -> bytes:
        """Return the client's bytes with the model's name exchanged, usage asked for in streams, and a cap if due."""
        return dialect.for_upstream(call, model, cap_name)
