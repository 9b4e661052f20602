"""Why an answer ended, in the words of either dialect."""

from __future__ import annotations

_TO_CHAT = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_TO_MESSAGES = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}


def to_chat(reason: str | None) -> str:
    """Return the `finish_reason` for a `stop_reason`; one that is not known is the end of a turn."""
    return _TO_CHAT.get(reason or "", "stop")


def to_messages(reason: str | None, *, tools: bool) -> str:
    """
    Return the `stop_reason` for a `finish_reason`.

    Args:
        tools: the answer calls tools; some engines say `stop` then.
    """
    found = _TO_MESSAGES.get(reason or "", "end_turn")
    return "tool_use" if tools and found == "end_turn" else found
