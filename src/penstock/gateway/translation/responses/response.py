"""The `response` object that answers a request for Responses, and the items of its output."""

from __future__ import annotations

import secrets
import time

import msgspec

from penstock.gateway.dialects.call import Call
from penstock.gateway.translation.responses.answer import Answer
from penstock.types.usage import Usage

_encode = msgspec.json.Encoder().encode
_NULL = msgspec.Raw(b"null")
_LATEST = 2**40  # seconds; no clock shows more
_TIERS = frozenset({"auto", "default", "flex", "scale", "priority"})
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Finish reasons of chats that leave an answer incomplete, in the words of Responses."""

# What a response repeats of its request, with what holds where the request did not say.
_REPEATED: tuple[tuple[str, msgspec.Raw], ...] = (
    ("instructions", _NULL),
    ("max_output_tokens", _NULL),
    ("parallel_tool_calls", msgspec.Raw(b"true")),
    ("reasoning", msgspec.Raw(b'{"effort":null,"summary":null}')),
    ("temperature", _NULL),
    ("text", msgspec.Raw(b'{"format":{"type":"text"}}')),
    ("tool_choice", msgspec.Raw(b'"auto"')),
    ("tools", msgspec.Raw(b"[]")),
    ("top_p", _NULL),
    ("user", _NULL),
    ("metadata", msgspec.Raw(b"{}")),
)


class Response:
    """
    One response, before and after its items are known. Belongs to one attempt.

    Attributes:
        identity: of the response and, with another prefix and a number, of its items.
    """

    __slots__ = ("_repeated", "created", "identity", "model", "tier")

    def __init__(self, call: Call) -> None:
        fields = call.document.fields
        self.identity = secrets.token_hex(16)
        self.created = int(time.time())
        self.model: str = call.model
        self.tier: str | None = None
        self._repeated = {
            name: _in_one_line(fields[name]) if name in fields and bytes(fields[name]) != b"null" else otherwise
            for name, otherwise in _REPEATED
        }

    def learn(self, answer: Answer) -> None:
        """Take over what an answer tells about itself."""
        created, tier = answer.created, answer.service_tier
        if isinstance(created, int) and 0 < created < _LATEST:
            self.created = created
        if isinstance(answer.model, str) and answer.model:
            self.model = answer.model
        if isinstance(tier, str) and tier in _TIERS:
            self.tier = tier

    def json(self, status: str, reason: str | None, output: list[msgspec.Raw], usage: Usage | None) -> bytes:
        """
        Return the response as JSON.

        Args:
            reason: why it is incomplete, if it is.
        """
        return _encode({
            "id": f"resp_{self.identity}",
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": reason} if reason else None,
            "model": self.model,
            "output": output,
            "previous_response_id": None,
            "service_tier": self.tier,
            "store": False,
            "top_logprobs": 0,
            "truncation": "disabled",
            "usage": _usage(usage) if usage is not None else None,
            **self._repeated,
        })  # fmt: skip


def _in_one_line(value: msgspec.Raw) -> msgspec.Raw:
    """Return JSON without line ends, which events cannot hold; between tokens they are white space."""
    given = bytes(value)
    if b"\n" in given or b"\r" in given:
        return msgspec.Raw(given.replace(b"\n", b" ").replace(b"\r", b" "))
    return value


def outcome(finish_reason: str | None) -> tuple[str, str | None]:
    """Return a finished response's status, and why it is incomplete if it is."""
    reason = _INCOMPLETE.get(finish_reason or "")
    return ("incomplete" if reason else "completed"), reason


def _usage(usage: Usage) -> dict[str, object]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
