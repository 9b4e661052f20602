"""Azure OpenAI and Microsoft Foundry, by their v1 API, which has no `api-version`."""

from __future__ import annotations

from penstock.gateway.upstream.providers.openai import JSON_LINES, OpenAI


class Azure(OpenAI):
    """OpenAI's dialects; the model is the name of a deployment over there. A key has a header line of its own."""

    name = "azure.ai.openai"

    def headers(self, secret: str | None) -> bytes:
        """Return content type and key; a token of Entra's comes from the deployment's credential."""
        return JSON_LINES if secret is None else JSON_LINES + b"api-key: " + secret.encode() + b"\r\n"
