"""What is taken for OpenAI's own service, or Azure's, which is more than others that speak like it."""

from __future__ import annotations

import pytest

from penstock.gateway.upstream.providers.openai import OpenAI
from penstock.types.address import Address
from penstock.types.dialect import Dialect


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("api.openai.com", True),
        ("acme.openai.azure.com", True),
        ("acme.openai.azure.us", True),
        ("acme.services.ai.azure.com", True),
        ("acme.cognitiveservices.azure.us", True),
        ("vllm.example.com", False),
        ("openai.azure.com.example", False),
    ],
)
def test_newer_names_and_responses_are_for_own_services(host: str, own: bool) -> None:
    address = Address(host=host, port=443, tls=True, path="/v1")
    assert (Dialect.RESPONSES in OpenAI().speaks(address)) is own
    assert (OpenAI().cap_name(address) == "max_completion_tokens") is own
    assert Dialect.CHAT in OpenAI().speaks(address)
