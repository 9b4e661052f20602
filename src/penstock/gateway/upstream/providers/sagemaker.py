"""Amazon SageMaker, by the OpenAI-compatible path of its real-time endpoints."""

from __future__ import annotations

from penstock.gateway.upstream.providers.openai import OpenAI
from penstock.types.address import Address
from penstock.types.dialect import Dialect


class SageMaker(OpenAI):
    """
    Chats only. The address names the endpoint, and the model is what its container calls it; both tokens that were made
    elsewhere and those of the deployment's credential are bearer tokens.
    """

    name = "aws.sagemaker"

    def speaks(self, _address: Address) -> frozenset[Dialect]:
        """Return chats."""
        return frozenset({Dialect.CHAT})
