"""The OpenAI dialect: requests in, errors and model listings out."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from penstock.gateway.dialects import document
from penstock.gateway.dialects.call import OUTPUT_BOUND, Call
from penstock.gateway.dialects.fields import Alternatives, AnyObject, Model, Share, Temperature, Tokens, invalid, refuse
from penstock.gateway.dialects.references import Part, in_turns
from penstock.types.dialect import Dialect
from penstock.types.errors import InvalidRequest

_Choices = Annotated[int, msgspec.Meta(ge=1, le=128)]
_Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]

# Other names that engines have for what limits and budgets count by. llama.cpp takes `max_completion_tokens` before
# `max_tokens` for completions too; some versions of vLLM have `best_of` for chats.
_OTHER_CAPS = {"n_predict": "max_tokens", "n_cmpl": "n"}
_OTHER_NAMES = {
    Dialect.CHAT: _OTHER_CAPS | {"best_of": "n"},
    Dialect.COMPLETIONS: _OTHER_CAPS | {"max_completion_tokens": "max_tokens"},
}


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Message(msgspec.Struct):
    role: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    content: str | list[str | float | bool | Part | None] | None = None
    audio: msgspec.Raw = msgspec.Raw()


class _Sampling(msgspec.Struct, kw_only=True):
    model: Model
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: Tokens | None = None
    n: _Choices | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    stop: str | Annotated[list[str], msgspec.Meta(max_length=16)] | None = None
    seed: int | None = None
    user: str | None = None
    logit_bias: dict[str, Annotated[float, msgspec.Meta(ge=-100, le=100)]] | None = None


class _Chat(_Sampling, kw_only=True):
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Alternatives | None = None
    tools: list[AnyObject] | None = None
    tool_choice: str | AnyObject | None = None
    parallel_tool_calls: bool | None = None
    response_format: AnyObject | None = None


class _Completion(_Sampling, kw_only=True):
    prompt: str | Annotated[list[Any], msgspec.Meta(min_length=1)]
    best_of: _Choices | None = None


class _Embeddings(msgspec.Struct, kw_only=True):
    model: Model
    input: Annotated[str, msgspec.Meta(min_length=1)] | Annotated[list[Any], msgspec.Meta(min_length=1)]
    dimensions: Tokens | None = None


_decode_chat = msgspec.json.Decoder(_Chat).decode
_decode_completion = msgspec.json.Decoder(_Completion).decode
_decode_embeddings = msgspec.json.Decoder(_Embeddings).decode
_encode = msgspec.json.Encoder().encode


def parse(dialect: Dialect, body: bytes) -> Call:
    """
    Check a request's body as far as Penstock and every upstream agree on it; what it does not know passes unread, but
    for other names that engines have for what limits and budgets count by.

    Raises:
        InvalidRequest: with the field at fault in `param`.
    """
    found = document.read(body)
    refuse(_OTHER_NAMES.get(dialect, {}), found.fields)
    try:
        if dialect is Dialect.CHAT:
            chat = _decode_chat(body)
            cap = chat.max_tokens
            if chat.max_completion_tokens is not None:  # upstreams differ in which of the two counts
                cap = max(cap or 0, chat.max_completion_tokens)
            reference = in_turns(chat.messages) or _spoken(chat.messages) or _cached(found)
            return _sampled(dialect, chat, cap, chat.n or 1, found, reference)
        if dialect is Dialect.COMPLETIONS:
            completion = _decode_completion(body)
            choices = max(completion.n or 1, completion.best_of or 1) * _prompts(completion.prompt)
            return _sampled(dialect, completion, completion.max_tokens, choices, found)
        return Call(dialect, _decode_embeddings(body).model, False, False, None, 1, found)
    except msgspec.DecodeError as error:
        raise invalid(error) from error


def for_upstream(call: Call, model: str, cap_name: str | None) -> bytes:
    """
    Return the body for the upstream: its own model name, for a stream a request for usage, and a cap if one is due.

    Args:
        cap_name: what the upstream calls the cap of a chat's output; None where none is to be put in.
    """
    found, extra = call.document, dict[str, object]()
    if call.stream and not call.usage_wanted:
        options = found.fields.get("stream_options")
        given = msgspec.json.decode(options, type=dict[str, msgspec.Raw] | None) if options is not None else None
        extra["stream_options"] = {**(given or {}), "include_usage": True}
    if cap_name is not None and call.dialect is not Dialect.EMBEDDINGS:
        name = cap_name if call.dialect is Dialect.CHAT else "max_tokens"
        if call.max_output is None:
            extra[name] = OUTPUT_BOUND
        elif name == "max_tokens" and name not in found.fields:  # some know this one alone
            extra[name] = call.max_output
    if extra:
        return found.extended({"model": model, **extra})
    return found.body if model == call.model else found.patched("model", _encode(model))


def _prompts(prompt: str | list[Any]) -> int:
    """Return how many prompts a completion has; a list of numbers is one, as tokens."""
    return sum(isinstance(each, str | list) for each in prompt) or 1 if isinstance(prompt, list) else 1


def _cached(found: document.Document) -> str:
    """Return where a chat names what Google's account has cached, or nothing."""
    return "extra_body" if b"cached_content" in bytes(found.fields.get("extra_body", b"")) else ""


def _spoken(messages: list[_Message]) -> str:
    """Return where a message names sound that the account keeps of an earlier answer, or nothing."""
    for position, message in enumerate(messages):
        if message.audio and bytes(message.audio) != b"null":
            return f"messages[{position}].audio"
    return ""


def _sampled(
    dialect: Dialect, given: _Sampling, cap: int | None, choices: int, found: document.Document, reference: str = ""
) -> Call:
    stream = bool(given.stream)
    wanted = stream and given.stream_options is not None and bool(given.stream_options.include_usage)
    if given.stream_options is not None and not stream:
        raise InvalidRequest("stream_options is only allowed when stream is true", param="stream_options")
    return Call(dialect, given.model, stream, wanted, cap, choices, found, reference=reference)
