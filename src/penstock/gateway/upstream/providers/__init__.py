"""How each kind of upstream is spoken to. Adding one: a module here, a line in `PROVIDERS`, a contract test."""

from __future__ import annotations

from penstock.gateway.upstream.providers.anthropic import Anthropic
from penstock.gateway.upstream.providers.azure import Azure
from penstock.gateway.upstream.providers.bedrock import Bedrock
from penstock.gateway.upstream.providers.openai import OpenAI
from penstock.gateway.upstream.providers.provider import Provider
from penstock.gateway.upstream.providers.sagemaker import SageMaker
from penstock.gateway.upstream.providers.vertex import Vertex

PROVIDERS: dict[str, Provider] = {
    "openai": OpenAI(),
    "anthropic": Anthropic(),
    "azure": Azure(),
    "bedrock": Bedrock(),
    "sagemaker": SageMaker(),
    "vertex": Vertex(),
}
