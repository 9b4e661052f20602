"""The APIs that the lab speaks, by path. One more is one module here and one line below."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from penstock.lab.dialect import Dialect
from penstock.lab.dialects import chat, completions, embeddings, messages

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "/v1/chat/completions": chat.DIALECT,
        "/v1/completions": completions.DIALECT,
        "/v1/embeddings": embeddings.DIALECT,
        "/v1/messages": messages.DIALECT,
        "/v1/messages/count_tokens": messages.COUNTING,
    }
)
