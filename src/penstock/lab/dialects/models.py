"""The lists of models, as OpenAI words them, or as Anthropic does."""

from __future__ import annotations

import msgspec

from penstock.lab.dialects.openai import CREATED

_CREATED_AT = "2023-11-14T22:13:20Z"  # the same second as `CREATED`


def models_body(names: tuple[str, ...], *, anthropic: bool) -> bytes:
    """Return the list of models."""
    data = [_model(name, anthropic=anthropic) for name in names]
    if anthropic:
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return msgspec.json.encode({"data": data, "has_more": False, **ends})
    return msgspec.json.encode({"object": "list", "data": data})


def model_body(name: str, *, anthropic: bool) -> bytes:
    """Return one model."""
    return msgspec.json.encode(_model(name, anthropic=anthropic))


def _model(name: str, *, anthropic: bool) -> dict[str, object]:
    if anthropic:
        return {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": _CREATED_AT,
            "lifecycle": "active",
        }
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "penstock-lab"}
