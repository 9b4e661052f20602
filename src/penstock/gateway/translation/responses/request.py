"""A request for Responses, as one for chat completions."""

from __future__ import annotations

from itertools import islice

import msgspec

from penstock.gateway.dialects.call import OUTPUT_BOUND, Call
from penstock.gateway.dialects.fields import invalid, unsupported
from penstock.gateway.translation.fields import MAX_DROPPED, MAX_NAME
from penstock.gateway.translation.responses.messages import KINDS, Item, Message, messages_of, needed, no_item

_SAME = frozenset({
    "temperature", "top_p", "user", "service_tier",
    # Not in OpenAI's API; engines that speak Responses take them all the same.
    "frequency_penalty", "min_p", "presence_penalty", "repetition_penalty", "seed", "stop", "top_k",
})  # fmt: skip
"""Fields that chats have by the same name, passed as the bytes they came in."""

_READ = frozenset({
    "model", "input", "instructions", "stream", "max_output_tokens", "tools", "tool_choice", "parallel_tool_calls",
    "text", "reasoning",
    # What these ask for is what is done anyway, or they have been refused: the answer repeats the metadata.
    "metadata", "store", "include", "background", "previous_response_id", "conversation", "prompt", "moderation",
    "top_logprobs", "stream_options",
})  # fmt: skip
"""Fields that are acted on."""

_STATE = ("previous_response_id", "conversation", "prompt")
_HARMLESS = frozenset({b"null", b"false", b"{}", b"[]", b'""', b'"disabled"'})
_LOGPROBS = "message.output_text.logprobs"


class _Tool(msgspec.Struct):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str | None = None
    mode: str | None = None
    tools: list[_Tool] | None = None


class _Format(msgspec.Struct):
    type: str = "text"
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw = msgspec.Raw()
    strict: bool | None = None


class _Text(msgspec.Struct):
    format: _Format | None = None
    verbosity: str | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Request(msgspec.Struct):
    input: str | list[Item] | None = None
    instructions: str | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Choice | None = None
    parallel_tool_calls: bool | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    store: bool | None = None
    include: list[str] | None = None
    top_logprobs: int | None = None
    moderation: msgspec.Raw = msgspec.Raw(b"null")
    previous_response_id: msgspec.Raw = msgspec.Raw(b"null")
    conversation: msgspec.Raw = msgspec.Raw(b"null")
    prompt: msgspec.Raw = msgspec.Raw(b"null")


class _Kind(msgspec.Struct):
    type: str | None = None


class _Kinds(msgspec.Struct):
    input: list[_Kind]


_decode = msgspec.json.Decoder(_Request).decode
_decode_kinds = msgspec.json.Decoder(_Kinds).decode
_encode = msgspec.json.Encoder().encode


def translated(call: Call, model: str, cap_name: str, capped: bool) -> bytes:
    """
    Return the body for an upstream that speaks chat completions.

    Raises:
        InvalidRequest: see `Translation.request`.
    """
    request = _read(call.document.body)
    _refuse_state(request)
    chat: Message = {"model": model, "messages": messages_of(request.input, request.instructions)}
    if call.stream:
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    if call.max_output is not None or capped:
        chat[cap_name] = call.max_output or OUTPUT_BOUND
    _put_tools(request, chat)
    if request.text is not None:
        _put_text(request.text, chat)
    if request.reasoning is not None and request.reasoning.effort is not None:
        chat["reasoning_effort"] = request.reasoning.effort
    fields = call.document.fields
    for name, value in fields.items():
        if name in _SAME and bytes(value) != b"null":
            chat[name] = value
    return _encode(chat)


def dropped(call: Call) -> tuple[str, ...]:
    """Return the names of the fields that are left out, at most 32, in the order they came; null asks for nothing."""
    left = (
        name[:MAX_NAME]
        for name, value in call.document.fields.items()
        if name not in _READ and name not in _SAME and bytes(value) not in _HARMLESS
    )
    return tuple(islice(left, MAX_DROPPED))


def _read(body: bytes) -> _Request:
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        _refuse_items(body)  # other kinds of items have fields of the same names for other things
        raise invalid(error) from error


def _refuse_items(body: bytes) -> None:
    try:
        kinds = _decode_kinds(body).input
    except msgspec.ValidationError:
        return
    for position, item in enumerate(kinds):
        if item.type not in KINDS:
            raise no_item(position, item.type)


def _refuse_state(request: _Request) -> None:
    """Refuse what would need an upstream that keeps something between requests, and what changes what the answer is."""
    if request.store:
        raise unsupported("store", "This model's responses are not stored; store must be false")
    for name in _STATE:
        if bytes(getattr(request, name)) != b"null":
            raise unsupported(name, f"This model keeps no state between requests, so it does not take '{name}'")
    if bytes(request.moderation) != b"null":
        raise unsupported("moderation", "This model does not moderate")
    if request.top_logprobs:
        raise unsupported("top_logprobs", "This model does not tell log probabilities of responses")
    if _LOGPROBS in (request.include or ()):
        raise unsupported("include", "This model does not tell log probabilities of responses")


def _put_tools(request: _Request, chat: Message) -> None:
    """Put in what may be called; a choice among some of the tools leaves the others out."""
    tools, choice = request.tools or [], request.tool_choice
    wanted: object = choice
    allowed: set[str] | None = None
    if isinstance(choice, _Choice):
        if choice.type == "function":
            wanted = {"type": "function", "function": {"name": needed(choice.name, "tool_choice.name")}}
        elif choice.type == "allowed_tools":
            wanted = needed(choice.mode, "tool_choice.mode")
            allowed = {_function(tool, f"tool_choice.tools[{i}]") for i, tool in enumerate(choice.tools or [])}
        else:
            raise unsupported("tool_choice", f"This model has no tools of type {choice.type[:64]!r}")
    named = [(_function(tool, f"tools[{position}]"), tool) for position, tool in enumerate(tools)]
    functions = [_declared(tool, name) for name, tool in named if allowed is None or name in allowed]
    if functions:
        chat["tools"] = functions
        if request.parallel_tool_calls is not None:
            chat["parallel_tool_calls"] = request.parallel_tool_calls
    if wanted is not None and (functions or wanted not in ("auto", "none")):
        chat["tool_choice"] = wanted


def _function(tool: _Tool, where: str) -> str:
    if tool.type != "function":
        raise unsupported(f"{where}.type", f"This model has no tools of type {tool.type[:64]!r}, only functions")
    return needed(tool.name, f"{where}.name")


def _declared(tool: _Tool, name: str) -> Message:
    function: Message = {"name": name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters and bytes(tool.parameters) != b"null":
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _put_text(text: _Text, chat: Message) -> None:
    if text.verbosity is not None:
        chat["verbosity"] = text.verbosity
    wanted = text.format
    if wanted is None or wanted.type == "text":
        return
    if wanted.type == "json_object":
        chat["response_format"] = {"type": "json_object"}
        return
    if wanted.type != "json_schema":
        raise unsupported("text.format.type", f"This model has no format {wanted.type[:64]!r}")
    schema: Message = {"name": needed(wanted.name, "text.format.name")}
    if wanted.description is not None:
        schema["description"] = wanted.description
    if wanted.schema:
        schema["schema"] = wanted.schema
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    chat["response_format"] = {"type": "json_schema", "json_schema": schema}
