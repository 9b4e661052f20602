"""
LiteLLM's providers (the part of `model:` before the first slash), and how each is reached from a stack.

Addresses and variables are those that LiteLLM documents for the provider. One that gets a protocol of its own in
Penstock is one entry here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

_BY_RESPONSES: Final = "responses/"


class Upstream(msgspec.Struct, frozen=True):
    """
    Attributes:
        model: its name over there.
        responses: LiteLLM asks it by the Responses API, whatever the client speaks.
    """

    model: str
    responses: bool


class Provider(msgspec.Struct, frozen=True):
    """
    Attributes:
        address: where it is when no `api_base` is given; empty when one has to be.
        key: the variable that holds its credential when no `api_key` is given; empty when it needs none.
        protocol: `provider:` of the stack.
        suffix: what comes after an `api_base`, which LiteLLM adds itself.
        hosts: endings of the hosts that are its own, where there may be others.
        routes: what may stand before the model's name and says how LiteLLM asks it.
        remark: what a person should know who uses it.
    """

    address: str = ""
    key: str = ""
    protocol: str = "openai"
    suffix: str = ""
    hosts: tuple[str, ...] = ()
    routes: tuple[str, ...] = (_BY_RESPONSES,)
    remark: str = ""

    def upstream(self, model: str, mode: str) -> Upstream:
        """
        Read the model's name without the routes before it.

        Args:
            mode: of `model_info`; `responses` says the same as that route.
        """
        responses = mode == "responses" and _BY_RESPONSES in self.routes
        while route := next((route for route in self.routes if model.startswith(route)), None):
            model = model.removeprefix(route)
            responses = responses or route == _BY_RESPONSES
        return Upstream(model, responses)


_SELF_HOSTED: Final = Provider()
_OLLAMA: Final = Provider(address="http://localhost:11434/v1", suffix="/v1")

PROVIDERS: Final[Mapping[str, Provider]] = {
    "openai": Provider("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "text-completion-openai": Provider("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": Provider(
        "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", protocol="anthropic", suffix="/v1", routes=()
    ),
    "azure": Provider(
        key="AZURE_API_KEY",
        suffix="/openai/v1",
        hosts=(
            ".openai.azure.com",
            ".services.ai.azure.com",
            ".cognitiveservices.azure.com",
            ".openai.azure.us",
            ".cognitiveservices.azure.us",
        ),
        routes=(_BY_RESPONSES, "o_series/", "gpt5_series/"),
        protocol="azure",
        remark="is asked at Azure's v1 API (…/openai/v1), which has no api_version",
    ),
    "gemini": Provider(
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "GEMINI_API_KEY",
        remark="is asked at Google's OpenAI-compatible endpoint, where LiteLLM speaks Gemini's own protocol",
    ),
    "cerebras": Provider("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "codestral": Provider("https://codestral.mistral.ai/v1", "CODESTRAL_API_KEY"),
    "deepinfra": Provider("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    "deepseek": Provider("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "fireworks_ai": Provider("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    "friendliai": Provider("https://api.friendli.ai/serverless/v1", "FRIENDLIAI_API_KEY"),
    "groq": Provider("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "meta_llama": Provider("https://api.llama.com/compat/v1", "LLAMA_API_KEY"),
    "mistral": Provider("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "nvidia_nim": Provider("https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
    "openrouter": Provider("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "perplexity": Provider("https://api.perplexity.ai", "PERPLEXITYAI_API_KEY"),
    "sambanova": Provider("https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    "together_ai": Provider("https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    "volcengine": Provider("https://ark.cn-beijing.volces.com/api/v3", "VOLCENGINE_API_KEY"),
    "xai": Provider("https://api.x.ai/v1", "XAI_API_KEY"),
    "ollama": _OLLAMA,
    "ollama_chat": _OLLAMA,
    "custom_openai": _SELF_HOSTED,
    "hosted_vllm": _SELF_HOSTED,
    "litellm_proxy": _SELF_HOSTED,
    "llamafile": Provider("http://127.0.0.1:8080/v1"),
    "lm_studio": _SELF_HOSTED,
    "openai_like": _SELF_HOSTED,
    "vllm": _SELF_HOSTED,
    "xinference": _SELF_HOSTED,
}

_OWN = "has a protocol and credentials of its own"
_CONTAINER = "where the container speaks like OpenAI, add it by hand, as provider: sagemaker; see docs/providers.md"
_MANTLE = (
    "is another endpoint of Bedrock: add the model by hand, as provider: bedrock with its region and"
    " base_url: https://bedrock-mantle.REGION.api.aws/v1, or …/openai/v1 where the model's card at AWS says so"
)

NOT_CARRIED: Final[Mapping[str, str]] = {
    "azure_ai": f"azure_ai {_OWN}; where the model has an OpenAI-compatible address, add it as provider: openai",
    "bedrock_mantle": f"bedrock_mantle {_MANTLE}",
    "sagemaker": f"sagemaker is asked by the protocol of its container; {_CONTAINER}",
    "sagemaker_nova": f"sagemaker_nova is asked by the protocol of its container; {_CONTAINER}",
}

# What people write where a client wants a key and the server none.
NO_KEY: Final = frozenset(
    {"", "none", "null", "empty", "na", "n/a", "dummy", "fake", "fake-key", "not-needed", "anything"}
)

# How LiteLLM knows the provider of a model that names none: it has a list of models, which these beginnings stand for.
_BEGINNINGS: Final = (
    ("anthropic", ("claude-",)),
    ("openai", ("gpt-", "chatgpt-", "o1", "o3", "o4", "ft:gpt-", "text-embedding-", "davinci", "babbage")),
)


def split(model: str, custom: str | None) -> tuple[str | None, str]:
    """
    Return the provider of a `model:` and the model's name over there.

    Args:
        custom: `custom_llm_provider`, which goes before what the model's name says.
    Returns:
        None for the provider when nobody says it.
    """
    first, slash, rest = model.partition("/")
    if custom is not None:
        return custom, rest if slash and first == custom else model
    if slash:
        return first, rest
    for provider, beginnings in _BEGINNINGS:
        if model.startswith(beginnings):
            return provider, model
    return None, model
