"""What else an entry of `model_list` may say, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from penstock.stack.litellm.cursor import Cursor
from penstock.stack.litellm.notes import Notes

MODES_NOT_SERVED: Final = frozenset(
    {
        "audio_speech",
        "audio_transcription",
        "image_edit",
        "image_generation",
        "moderation",
        "ocr",
        "realtime",
        "rerank",
        "search",
        "vector_store",
        "video_generation",
    }
)

# Read elsewhere, or without a meaning of their own.
_READ: Final = frozenset(
    {
        "api_base",
        "api_key",
        "azure_ad_token",
        "azure_password",
        "azure_username",
        "base_url",
        "client_id",
        "client_secret",
        "custom_llm_provider",
        "input_cost_per_token",
        "output_cost_per_token",
        "cache_read_input_token_cost",
        "cache_creation_input_token_cost",
        "cache_creation_input_token_cost_above_1hr",
        "output_cost_per_reasoning_token",
        "input_cost_per_audio_token",
        "output_cost_per_audio_token",
        "input_cost_per_token_batches",
        "output_cost_per_token_batches",
        "litellm_credential_name",
        "max_parallel_requests",
        "model",
        "order",
        "rpm",
        "stream_timeout",
        "tenant_id",
        "timeout",
        "tpm",
        "weight",
    }
)
_INFORMATION: Final = frozenset(
    {
        "created_at",
        "created_by",
        "db_model",
        "description",
        "id",
        "key",
        "litellm_provider",
        "max_input_tokens",
        "max_output_tokens",
        "max_tokens",
        "metadata",
        "mode",
        "output_vector_size",
        "supported_openai_params",
        "updated_at",
        "updated_by",
        "version",
    }
)

_CALL = "Penstock sends a client's parameters as they are, and adds none"
_HEADERS = "Penstock adds no headers of a deployment's own"
_TRIES = "a stack does not say how often to try again: Penstock does it by itself, and tries a model's fallback"
_ACCESS = "who may use a model is set with `penstock tenants models` and `penstock keys create`"
_MONEY = "a stack limits what keys, users, tenants and models spend, not deployments"
_CLOUD = "the stack has no such setting of a provider"
_COST = "a stack has prices per token, and of one size"

_PARAMETERS: Final[Mapping[str, str]] = {
    "api_version": "the address of the stack's base_url has no version",
    "budget_duration": _MONEY,
    "max_budget": _MONEY,
    "cooldown_time": _TRIES,
    "max_retries": _TRIES,
    "num_retries": _TRIES,
    "default_headers": _HEADERS,
    "extra_headers": _HEADERS,
    "headers": _HEADERS,
    "organization": _HEADERS,
    "mock_response": "Penstock makes no answers up; `penstock lab upstream` does, for drills",
    "tags": "no route of a stack goes by tags",
    "ssl_verify": "Penstock always checks certificates; `ca:` names others to trust",
}
_INFORMED: Final[Mapping[str, str]] = {
    "access_groups": _ACCESS,
    "team_id": _ACCESS,
    "base_model": "the price book goes by the model's name over there; else write a price",
    "supported_environments": "a stack is of one environment",
}
_BEGINNINGS: Final = (("aws_", _CLOUD), ("vertex_", _CLOUD), ("azure_", _CLOUD), ("s3_", _CLOUD))


def tell_rest(entry: Cursor, params: Cursor, own: frozenset[str], notes: Notes) -> None:
    """
    Say what an entry that was carried over has, and its deployment has not.

    Args:
        own: parameters that were read for its provider.
    """
    for key, value in entry.entries():
        if key not in {"model_name", "litellm_params", "model_info", *_READ}:
            notes.left_out(value, "Penstock knows no such key of a deployment")
    for key, value in params.entries():
        if key not in _READ | own and not value.off:
            notes.left_out(value, _PARAMETERS.get(key) or _by_beginning(key) or _CALL)
    info = entry.get("model_info")
    for key, value in () if info is None else info.entries():
        if key not in _READ | _INFORMATION and not key.startswith("supports_") and not value.off:
            told = _INFORMED.get(key) or (_COST if "cost" in key else None)
            notes.left_out(value, told or "Penstock has no use for it")


def _by_beginning(key: str) -> str | None:
    if "cost" in key:
        return _COST
    return next((told for beginning, told in _BEGINNINGS if key.startswith(beginning)), None)
