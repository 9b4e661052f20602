"""The kinds of call to a model."""

from __future__ import annotations

from enum import StrEnum


class Operation(StrEnum):
    """The kinds of call, with the names telemetry uses for them (`gen_ai.operation.name`)."""

    CHAT = "chat"
    COMPLETION = "text_completion"
    EMBEDDINGS = "embeddings"
