"""OpenAI and everything that speaks like it, our engines among them."""

from __future__ import annotations

from penstock.types.address import Address
from penstock.types.dialect import Dialect

JSON_LINES = b"content-type: application/json\r\naccept-encoding: identity\r\n"
_TARGETS = {
    Dialect.CHAT: b"/chat/completions",
    Dialect.COMPLETIONS: b"/completions",
    Dialect.EMBEDDINGS: b"/embeddings",
    Dialect.RESPONSES: b"/responses",
    Dialect.MESSAGES: b"/messages",  # some that speak like OpenAI speak like Anthropic too, at the same base path
    Dialect.COUNT: b"/messages/count_tokens",
}
_COMMON = frozenset({Dialect.CHAT, Dialect.COMPLETIONS, Dialect.EMBEDDINGS})

_OWN = (
    "api.openai.com",
    *(
        f"{service}.azure.{end}"
        for service in (".openai", ".cognitiveservices", ".services.ai")
        for end in ("com", "us")
    ),
)


class OpenAI:
    """Bearer token; what others than OpenAI itself do not have is left to translations."""

    name = "openai"

    def speaks(self, address: Address) -> frozenset[Dialect]:
        """Return what all have, and Responses where it is OpenAI's own service."""
        return _COMMON | {Dialect.RESPONSES} if address.host.endswith(_OWN) else _COMMON

    def cap_name(self, address: Address) -> str:
        """OpenAI's newer models refuse the old name, and some of those that speak like it the new one."""
        return "max_completion_tokens" if address.host.endswith(_OWN) else "max_tokens"

    def target(self, dialect: Dialect) -> bytes:
        """Return the target; the base path (`/v1`) belongs to the address."""
        return _TARGETS[dialect]

    def headers(self, secret: str | None) -> bytes:
        """Return content type and bearer token."""
        return JSON_LINES if secret is None else JSON_LINES + b"authorization: Bearer " + secret.encode() + b"\r\n"
