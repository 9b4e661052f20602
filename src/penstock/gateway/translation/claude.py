"""What the name of a Claude model tells of what it accepts; other models that speak messages take the older forms."""

from __future__ import annotations

import re

_VERSION = re.compile(r"claude-(?:[a-z]{1,16}-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_NEWEST = (99, 0)
_ADAPTIVE = (4, 6)  # the first that thinks as much as it finds right; since 4.7 budgets are refused
_EITHER = (4, 1)  # the first that refuses `temperature` beside `top_p`
_UNSAMPLED = (4, 7)  # the first that refuses `temperature`, `top_p` and `top_k`


def thinks_adaptively(model: str) -> bool:
    """Tell whether thinking is asked for by an effort and not by a budget of tokens."""
    return _version(model) >= _ADAPTIVE


def takes_sampling(model: str) -> bool:
    """Tell whether the model accepts a temperature and its like."""
    return _version(model) < _UNSAMPLED


def takes_temperature_and_top_p(model: str) -> bool:
    """Tell whether the model accepts both at once."""
    return _version(model) < _EITHER


def _version(model: str) -> tuple[int, int]:
    """Return the version in a name as Anthropic, Bedrock, Vertex AI or OpenRouter write it; (0, 0) for other models."""
    found = _VERSION.search(model)
    if found is not None:
        return int(found[1]), int(found[2] or 0)
    return _NEWEST if "claude" in model else (0, 0)
