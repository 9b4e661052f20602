"""What the name of a GPT model tells of what it accepts; of other models that speak chat nothing is known."""

from __future__ import annotations

import re

# As OpenAI, Azure, OpenRouter or who fine-tunes one writes it: gpt-4o, gpt-35-turbo, openai/gpt-4.1, ft:gpt-4o-mini:us
_UNTHINKING = re.compile(r"(?:^|[/:])(?:chatgpt-4|gpt-4|gpt-3\.?5)(?![0-9])")


def takes_effort(model: str) -> bool:
    """Tell whether the model may be told how much to think; those that never do answer 400."""
    return _UNTHINKING.search(model) is None
