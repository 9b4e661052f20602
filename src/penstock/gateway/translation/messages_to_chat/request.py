"""A request of Anthropic's dialect as a chat's."""

from __future__ import annotations

import msgspec

from penstock.gateway.dialects.call import OUTPUT_BOUND, Call
from penstock.gateway.translation import chat, gpt, reading
from penstock.gateway.translation.fields import Fields
from penstock.gateway.translation.messages import Choice, Format, Message, Metadata, Output, Text, ThinkingConfig, Tool
from penstock.gateway.translation.messages_to_chat import turns
from penstock.gateway.translation.reading import malformed, request, unsupported

_MAX_USER = 64  # characters
_OLD_CAP = "max_tokens"
_EFFORTS = ((2048, "low"), (8192, "medium"))
"""Budgets of thought, in tokens, up to which an effort is meant; more is `high`."""

_READ = (
    "model messages system max_tokens stream temperature top_p stop_sequences tools tool_choice thinking output_config"
    " output_format metadata service_tier cache_control"
)
_REFUSED = "container mcp_servers inference_geo"
FIELDS = Fields(frozenset(_READ.split()), frozenset(_REFUSED.split()), {})


class _Given(msgspec.Struct, kw_only=True):
    messages: list[Message]
    system: str | list[Text] | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None
    tools: list[Tool] | None = None
    tool_choice: Choice | None = None
    thinking: ThinkingConfig | None = None
    output_config: Output | None = None
    output_format: Format | None = None  # as a beta called what is now in `output_config`
    metadata: Metadata | None = None
    service_tier: str | None = None


_decode = msgspec.json.Decoder(_Given).decode
_encode = msgspec.json.Encoder().encode


def translated(call: Call, model: str, cap_name: str, *, capped: bool) -> tuple[bytes, tuple[str, ...]]:
    """
    Return the request for the upstream, and the names of the fields that were left out.

    Raises:
        InvalidRequest: it asks for what chat cannot express.
    """
    dropped = FIELDS.judged(call.document.fields)
    given = request(_decode, call.document.body)
    made = chat.Request(
        model=model,
        stream=True if call.stream else None,
        stream_options=chat.StreamOptions(include_usage=True) if call.stream else None,
        tools=[_tool(tool, place) for place, tool in enumerate(given.tools)] if given.tools else None,
        temperature=given.temperature,
        top_p=given.top_p,
        stop=given.stop_sequences or None,
        service_tier="default" if given.service_tier == "standard_only" else None,
        messages=turns.translated(given.system, given.messages),
    )
    cap = call.max_output or (OUTPUT_BOUND if capped else None)
    if cap_name == _OLD_CAP:
        made.max_tokens = cap
    else:
        made.max_completion_tokens = cap
    if made.tools and given.tool_choice is not None:
        made.tool_choice = _choice(given.tool_choice)
        made.parallel_tool_calls = False if given.tool_choice.disable_parallel_tool_use else None
    made.response_format = _format(given)
    if gpt.takes_effort(model):
        made.reasoning_effort = _effort(given)
    else:
        dropped += _thought(given)
    user = given.metadata.user_id if given.metadata is not None else None
    if user is not None and len(user) <= _MAX_USER:
        made.user = user
    elif user is not None:
        dropped.append("metadata")
    return _encode(made), tuple(dropped)


def _tool(tool: Tool, place: int) -> chat.Tool:
    if tool.type not in {None, "custom"}:
        raise unsupported(f"tools[{place}].type", "the tool is Anthropic's own")
    return chat.Tool(chat.Definition(tool.name, tool.description, tool.input_schema, tool.strict))


def _choice(chosen: Choice) -> str | chat.Choice:
    if chosen.type in {"auto", "none"}:
        return chosen.type
    if chosen.type == "any":
        return "required"
    if chosen.type == "tool" and chosen.name is not None:
        return chat.Choice(chat.Named(chosen.name))
    raise malformed("tool_choice", "expected auto, any, none or a tool's name")


def _format(given: _Given) -> chat.Format | None:
    wanted = (given.output_config and given.output_config.format) or given.output_format
    if wanted is None:
        return None
    if wanted.type != "json_schema" or not reading.given(wanted.schema):
        raise malformed("output_config.format", "expected a json_schema")
    return chat.Format("json_schema", chat.Schema("answer", wanted.schema, strict=True))


def _effort(given: _Given) -> str | None:
    """Return how much thought is wished, if that is told; whether there is any at all is for the model to know."""
    effort = given.output_config.effort if given.output_config is not None else None
    if effort is not None:
        return effort
    budget = given.thinking.budget_tokens if given.thinking is not None else None
    if budget is None:
        return None
    return next((word for most, word in _EFFORTS if budget <= most), "high")


def _thought(given: _Given) -> list[str]:
    """Return the names of what says how much thought is wished."""
    wished = given.thinking is not None and given.thinking.type != "disabled"
    effort = given.output_config is not None and given.output_config.effort is not None
    return ["thinking"] * wished + ["output_config.effort"] * effort
