"""OpenAI's Responses: requests in."""

from __future__ import annotations

import msgspec

from penstock.gateway.dialects import document, references
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


_EMPTY = frozenset({b"", b"null", b'""'})
_NONE = frozenset[int]()


class _Item(references.Holder, gc=False):
    type: str | None = None
    id: msgspec.Raw = msgspec.Raw()
    role: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    encrypted_content: msgspec.Raw = msgspec.Raw()
    container_id: msgspec.Raw = msgspec.Raw()
    environment: msgspec.Raw = msgspec.Raw()

    @property
    def recalled(self) -> bool:
        """It is a thought without its content, to be looked up by its id."""
        if self.type != "reasoning" or bytes(self.id) in _EMPTY or _is_text(self.encrypted_content):
            return False
        said = self.content if isinstance(self.content, list) else [self.content]
        return not any(each.strip() if isinstance(each, str) else isinstance(each, references.Part) for each in said)


def _is_text(value: msgspec.Raw) -> bool:
    """Tell whether a member is a text with something in it."""
    given = bytes(value)
    return given.startswith(b'"') and bool(given.strip(b'" \t'))


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

    What goes on in the background is refused: its usage would be told to whoever asks for it later.

    Raises:
        InvalidRequest: with the field at fault in `param`.
    """
    found = document.read(body)
    refuse(_OTHER_NAMES, found.fields)
    try:
        request = _decode(body)
    except msgspec.DecodeError as error:
        raise invalid(error) from error
    if request.background:
        raise unsupported("background", "Responses in the background are not supported")
    stream = bool(request.stream)
    items = request.input if isinstance(request.input, list) else []
    if request.stream_options is not None and not stream:
        raise InvalidRequest("stream_options is only allowed when stream is true", param="stream_options")
    reference = _reference(request, found)
    if request.input is None and not reference and request.previous_response_id is None:
        raise InvalidRequest("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    return Call(
        dialect=Dialect.RESPONSES,
        model=request.model,
        stream=stream,
        usage_wanted=stream,  # it is in the last event of every stream
        max_output=request.max_output_tokens,
        choices=1,
        document=found,
        previous=request.previous_response_id,
        reference=reference,
        sealed=any(item.encrypted_content for item in items),
        recalled=frozenset(n for n, item in enumerate(items) if item.recalled) if items else _NONE,
        stored=request.store is not False,
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


def _reference(request: _Request, found: document.Document) -> str:
    """Return where a request names what its upstream's account keeps, but for the response that it goes on from."""
    for name in ("conversation", "prompt"):
        if name in found.fields and bytes(found.fields[name]) != b"null":
            return name
    if isinstance(request.input, list):
        for position, item in enumerate(request.input):
            if item.type == "item_reference" or (not item.type and bytes(item.role) in _EMPTY):
                return f"input[{position}]"
            if item.type == "image_generation_call" and bytes(item.result) in (b"", b"null"):
                return f"input[{position}]"
            if item.container_id and bytes(item.container_id) != b"null":  # tools go on in it
                return f"input[{position}].container_id"
            if b"container" in bytes(item.environment):  # that a shell has run in
                return f"input[{position}].environment"
        if inner := references.file_in(request.input, "input"):
            return inner
    return references.tools(request.tools or ())
