"""What a request asks for: only what the lab acts on. Each dialect reads its own bodies into it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

_MAX_ECHO = 4096
_COUNTED_WHOLE = 1024 * 1024
PROMPT = "lab: {"  # a prompt that begins so begins with an order


class AskedError(ValueError):
    """The body is not a request; the text says why."""


class Tool(msgspec.Struct, frozen=True):
    """A tool that the answer may call; `parameters` is the JSON Schema of its arguments, if it has one."""

    name: str
    parameters: dict[str, Any] | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """
    Attributes:
        text: the last user message, the results of the tools if they come last, or the prompt.
        prompt_tokens: words in all messages, or in all inputs; an image or a file is one.
        max_tokens: the cap on the answer's words, or None.
        inputs: the texts to embed.
        base64: embeddings as base64 instead of numbers.
        previous: the id of the response that it goes on from, or None.
        stored: the response is to be kept.
        sealed: contents of items that were sealed before.
        seals: thoughts are to be sealed.
        seal: what with; empty until the lab's memory has been asked.
    """

    model: str = "unknown"
    text: str = ""
    prompt_tokens: int = 0
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    tools: tuple[Tool, ...] = ()
    inputs: tuple[str, ...] = ()
    dimensions: int = 8
    base64: bool = False
    previous: str | None = None
    stored: bool = False
    sealed: tuple[str, ...] = ()
    seals: bool = False
    seal: str = ""

    @property
    def echo(self) -> str:
        """The answer when none is ordered: deterministic, bounded, and different for different prompts."""
        return f"echo: {self.text[:_MAX_ECHO]}"

    def without_order(self, text: str) -> Asked:
        """Return the same request with a prompt of which an order was the first part."""
        return msgspec.structs.replace(self, text=text)

    def going_on(self, before: int, seal: str) -> Asked:
        """Return the same request with the tokens of what it goes on from, and with what to seal thoughts with."""
        if not before and not seal:
            return self
        return msgspec.structs.replace(self, prompt_tokens=self.prompt_tokens + before, seal=seal)


class Turn(NamedTuple):
    """One message: the ids of the tool calls that it makes, and of those whose results it brings."""

    calls: frozenset[str]
    results: frozenset[str]


NO_TOOLS = Turn(frozenset(), frozenset())


def check_results(turns: Iterable[Turn]) -> None:
    """
    Refuse a conversation whose tool calls and results do not fit together, as the real APIs do.

    Raises:
        AskedError: a result of what was not called just before, or a call that was gone on from without its result.
    """
    awaited: frozenset[str] = frozenset()
    for index, turn in enumerate(turns):
        if strange := turn.results - awaited:
            raise AskedError(f"messages.{index}: the result of a tool call that was not made before: {min(strange)!r}")
        awaited -= turn.results
        if awaited and not turn.results:
            raise AskedError(f"messages.{index}: the result of a tool call is missing before it: {min(awaited)!r}")
        awaited |= turn.calls


def count_words(text: str) -> int:
    """Count tokens as the lab understands them: words, or, in texts over a million characters, spaces."""
    return len(text.split()) if len(text) <= _COUNTED_WHOLE else text.count(" ") + 1
