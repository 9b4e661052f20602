"""OpenAI's Responses: requests in."""

from __future__ import annotations

import msgspec

from penstock.gateway.dialects import document
from penstock.gateway.dialects.call import OUTPUT_BOUND, Call
from penstock.gateway.dialects.fields import (
    Alternatives,
    AnyObject,
    Model,
    Share,
    Temperature,
    Tokens,
    invalid,
    refuse,
    unsupported,
)
from penstock.types.dialect import Dialect
from penstock.types.errors import InvalidRequest

# Other names that engines have, behind this API too, for what limits and budgets count by.
_OTHER_NAMES = {
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "n_predict": "max_output_tokens",
    "n": None,
    "n_cmpl": None,
    "best_of": None,
}
_STATE = ("previous_response_id", "conversation", "prompt")
"""
What an upstream keeps, or has been given by whoever owns its account: input that no hold of a budget has seen, of any
tenant who knows its name.
"""


class _Item(msgspec.Struct):
    type: str | None = None


class _StreamOptions(msgspec.Struct):
    include_obfuscation: bool | None = None


class _Request(msgspec.Struct, kw_only=True):
    model: Model
    input: str | list[_Item] | None = None
    instructions: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_output_tokens: Tokens | None = None
    max_tool_calls: Tokens | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_logprobs: Alternatives | None = None
    tools: list[AnyObject] | None = None
    tool_choice: str | AnyObject | None = None
    parallel_tool_calls: bool | None = None
    text: AnyObject | None = None
    reasoning: AnyObject | None = None
    metadata: dict[str, str] | None = None
    include: list[str] | None = None
    truncation: str | None = None
    user: str | None = None
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None


_decode = msgspec.json.Decoder(_Request).decode
_encode = msgspec.json.Encoder().encode


def parse(body: bytes) -> Call:
    """
    Check a request's body as far as Penstock and every upstream agree on it; what it does not know passes unread.

    What goes on in the background is refused: its usage would be told to whoever asks for it later. So is what refers
    to something that the upstream keeps.

    Raises:
        InvalidRequest: with the field at fault in `param`.
    """
    found = document.read(body)
    refuse(_OTHER_NAMES, found.fields)
    try:
        request = _decode(body)
    except msgspec.DecodeError as error:
        raise invalid(error) from error
    for name in _STATE:
        if _given(found, name):
            raise unsupported(name, f"'{name}' is not supported; send the whole input")
    if request.background:
        raise unsupported("background", "Responses in the background are not supported")
    stream = bool(request.stream)
    if request.stream_options is not None and not stream:
        raise InvalidRequest("stream_options is only allowed when stream is true", param="stream_options")
    if request.input is None:
        raise InvalidRequest("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    return Call(
        dialect=Dialect.RESPONSES,
        model=request.model,
        stream=stream,
        usage_wanted=stream,  # it is in the last event of every stream
        max_output=request.max_output_tokens,
        choices=1,
        document=found,
    )


def for_upstream(call: Call, model: str, cap_name: str | None) -> bytes:
    """
    Return the body for an upstream that speaks Responses too, with its own name for the model.

    Args:
        cap_name: None where no cap of `OUTPUT_BOUND` tokens is to be put in for a client that set none.
    """
    found = call.document
    if cap_name is not None and call.max_output is None:
        return found.extended({"model": model, "max_output_tokens": OUTPUT_BOUND})
    return found.body if model == call.model else found.patched("model", _encode(model))


def _given(found: document.Document, name: str) -> bool:
    return name in found.fields and bytes(found.fields[name]) != b"null"
