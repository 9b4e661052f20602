"""The APIs that the lab speaks, by path. One more is one module here and one line below."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from penstock.lab.dialect import Dialect
from penstock.lab.dialects import chat, completions, embeddings, messages, responses

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "/v1/chat/completions": chat.DIALECT,
        "/v1/completions": completions.DIALECT,
        "/v1/embeddings": embeddings.DIALECT,
        "/v1/responses": responses.DIALECT,
        "/v1/messages": messages.DIALECT,
        "/v1/messages/count_tokens": messages.COUNTING,
    }
)


def spoken(path: str, headers: Mapping[bytes, bytes]) -> Dialect:
    """Return the dialect that a request speaks, also where its path belongs to several: errors, ids, keys are so."""
    return DIALECTS.get(path) or (messages.DIALECT if b"anthropic-version" in headers else chat.DIALECT)
