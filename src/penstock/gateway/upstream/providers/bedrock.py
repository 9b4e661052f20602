"""Amazon Bedrock, by its OpenAI-compatible endpoint."""

from __future__ import annotations

from penstock.gateway.upstream.providers.openai import OpenAI
from penstock.types.address import Address
from penstock.types.dialect import Dialect


class Bedrock(OpenAI):
    """Chats only. A Bedrock API key is a bearer token; a signature comes from the deployment's credential."""

    name = "aws.bedrock"

    def speaks(self, _address: Address) -> frozenset[Dialect]:
        """Return chats."""
        return frozenset({Dialect.CHAT})
