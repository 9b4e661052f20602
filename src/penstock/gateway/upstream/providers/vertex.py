"""Vertex AI, by its OpenAI-compatible endpoint."""

from __future__ import annotations

from penstock.gateway.upstream.providers.openai import OpenAI
from penstock.types.address import Address
from penstock.types.dialect import Dialect


class Vertex(OpenAI):
    """Chats only. The model is `publisher/model`; a token of Google's comes from the deployment's credential."""

    name = "gcp.vertex_ai"

    def speaks(self, _address: Address) -> frozenset[Dialect]:
        """Return chats."""
        return frozenset({Dialect.CHAT})
