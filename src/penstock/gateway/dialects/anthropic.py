"""Anthropic's dialect: requests to its Messages API."""

from __future__ import annotations

from typing import Annotated

import msgspec

from penstock.gateway.dialects import document
from penstock.gateway.dialects.call import Call
from penstock.gateway.dialects.fields import AnyObject, Model, Share, Tokens, invalid, refuse
from penstock.gateway.dialects.references import Part, in_turns
from penstock.types.dialect import Dialect
from penstock.types.errors import InvalidRequest

# Other names that engines have, behind this API too, for what limits and budgets count by.
_OTHER_NAMES = {
    "max_completion_tokens": "max_tokens",
    "n_predict": "max_tokens",
    "n": None,
    "n_cmpl": None,
    "best_of": None,
}


class _Message(msgspec.Struct):
    role: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    content: str | list[str | float | bool | Part | None]


class _Counted(msgspec.Struct, kw_only=True):
    model: Model
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    system: str | list[msgspec.Raw] | None = None
    tools: list[AnyObject] | None = None
    tool_choice: AnyObject | None = None
    thinking: AnyObject | None = None


class _Request(_Counted, kw_only=True):
    max_tokens: Tokens
    stream: bool | None = None
    temperature: Share | None = None
    top_p: Share | None = None
    top_k: int | None = None
    stop_sequences: Annotated[list[str], msgspec.Meta(max_length=64)] | None = None
    metadata: AnyObject | None = None


_decode = msgspec.json.Decoder(_Request).decode
_decode_counted = msgspec.json.Decoder(_Counted).decode


def parse(body: bytes) -> Call:
    """
    Check the body of a request for a message, as far as Penstock and every upstream agree on it.

    Raises:
        InvalidRequest: with the field at fault in `param`.
    """
    found = document.read(body)
    refuse(_OTHER_NAMES, found.fields)
    try:
        asked = _decode(body)
    except msgspec.DecodeError as error:
        raise invalid(error) from error
    stream = bool(asked.stream)
    reference = _reference(asked, found)
    return Call(Dialect.MESSAGES, asked.model, stream, stream, asked.max_tokens, 1, found, reference=reference)


def parse_count(body: bytes) -> Call:
    """
    Check the body of a request for the number of a prompt's tokens.

    Raises:
        InvalidRequest: with the field at fault in `param`.
    """
    found = document.read(body)
    try:
        asked = _decode_counted(body)
    except msgspec.DecodeError as error:
        raise invalid(error) from error
    if "max_tokens" in found.fields or "stream" in found.fields:
        name = "max_tokens" if "max_tokens" in found.fields else "stream"
        raise InvalidRequest(f"'{name}' has no place where tokens are only counted", param=name, code="invalid_value")
    return Call(Dialect.COUNT, asked.model, False, False, None, 1, found, reference=_reference(asked, found))


def for_upstream(call: Call, model: str, _cap_name: str | None) -> bytes:
    """Return the body for the upstream, with its own model name; every request says how much it wants at most."""
    found = call.document
    return found.body if model == call.model else found.patched("model", msgspec.json.encode(model))


def _reference(asked: _Counted, found: document.Document) -> str:
    """Return where a request names what its upstream's account keeps."""
    if "container" in found.fields and bytes(found.fields["container"]) != b"null":
        return "container"
    return in_turns(asked.messages)
