"""The counts of an answer, as they are or as ordered, before a dialect names them."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from penstock.lab.orders import Order

HUGE = 10**18


class Tokens(NamedTuple):
    """Tokens, that is words: `cached` and `written` (to a cache) are part of `prompt`, `thought` of `completion`."""

    prompt: int
    completion: int
    cached: int
    written: int
    thought: int


def ordered(order: Order, prompt: int, completion: int) -> Tokens:
    """Return the counts that an order wants for an answer of so many tokens."""
    if order.usage in {"negative", "huge"}:
        prompt = completion = -1 if order.usage == "negative" else HUGE
    else:
        prompt = prompt if order.prompt_tokens is None else order.prompt_tokens
        completion = completion if order.completion_tokens is None else order.completion_tokens
    return Tokens(prompt, completion, order.cached_tokens, order.cache_write_tokens, order.thinking)


def worded(order: Order, fields: dict[str, object]) -> bytes | None:
    """Return a usage object's JSON, as strange as ordered; None when it is to be missing."""
    match order.usage:
        case "missing":
            return None
        case "null":
            return b"null"
        case "text":
            fields = {name: str(value) if isinstance(value, int) else value for name, value in fields.items()}
    return msgspec.json.encode(fields)
