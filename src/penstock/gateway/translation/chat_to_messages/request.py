"""A chat's request as one of Anthropic's dialect."""

from __future__ import annotations

import msgspec

from penstock.gateway.dialects.call import OUTPUT_BOUND, Call
from penstock.gateway.translation import chat, claude, messages, reading
from penstock.gateway.translation.chat_to_messages.turns import Turns
from penstock.gateway.translation.fields import Fields
from penstock.gateway.translation.reading import malformed, request, unsupported

_MAX_USER = 256  # characters of a `user_id`
_LEAST_BUDGET = 1024  # tokens
_SHARES = {"minimal": 0.1, "low": 0.2, "medium": 0.5, "high": 0.8, "xhigh": 0.95, "max": 0.95}
"""Shares of the cap that are for thought, where there is a budget for it, as OpenRouter documents them."""
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_TIERS = {"auto": "auto", "default": "standard_only", "priority": "auto"}
_NO_PARAMETERS = msgspec.Raw(b'{"type":"object","properties":{}}')

_READ = (
    "model messages max_tokens max_completion_tokens stream stream_options temperature top_p top_k stop tools"
    " tool_choice parallel_tool_calls reasoning_effort thinking response_format user safety_identifier service_tier"
    " cache_control"
)
_REFUSED = (
    "audio web_search_options moderation functions function_call guided_json guided_regex guided_choice guided_grammar"
    " structured_outputs grammar json_schema"
)
_SETTINGS = {"n": (b"1",), "logprobs": (), "top_logprobs": (b"0",), "modalities": (b'["text"]',)}
FIELDS = Fields(frozenset(_READ.split()), frozenset(_REFUSED.split()), _SETTINGS)


class _Given(msgspec.Struct, kw_only=True):
    messages: list[chat.Message]
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: str | list[str] | None = None
    tools: list[chat.Tool] | None = None
    tool_choice: str | chat.Choice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    thinking: msgspec.Raw = reading.ABSENT
    response_format: chat.Format | None = None
    user: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    cache_control: msgspec.Raw = reading.ABSENT


_decode = msgspec.json.Decoder(_Given).decode
_decode_config = msgspec.json.Decoder(messages.ThinkingConfig).decode
_encode = msgspec.json.Encoder().encode


def translated(call: Call, model: str) -> tuple[bytes, tuple[str, ...]]:
    """
    Return the request for the upstream, and the names of the fields that were left out or changed.

    Raises:
        InvalidRequest: it asks for what messages cannot express.
    """
    dropped = FIELDS.judged(call.document.fields)
    given = request(_decode, call.document.body)
    turns = Turns(given.messages)
    made = messages.Request(
        model=model,
        max_tokens=call.max_output or OUTPUT_BOUND,
        stream=True if call.stream else None,
        tools=[_tool(tool) for tool in given.tools] if given.tools else None,
        cache_control=given.cache_control,
        system=turns.system(),
        messages=turns.turns(),
    )
    if made.tools:
        made.tool_choice = _choice(given)
    _format(made, given)
    thinks = _think(made, given, turns, dropped)
    _sample(made, given, dropped, thinks=thinks)
    _stop(made, given, dropped)
    _describe(made, given, dropped)
    return _encode(made), tuple(dropped)


def _tool(tool: chat.Tool) -> messages.Tool:
    told = tool.function
    schema = told.parameters if reading.given(told.parameters) else _NO_PARAMETERS
    return messages.Tool(
        told.name, told.description, schema, True if told.strict else None, cache_control=tool.cache_control
    )


def _choice(given: _Given) -> messages.Choice | None:
    chosen, alone = given.tool_choice, True if given.parallel_tool_calls is False else None
    if isinstance(chosen, chat.Choice):
        return messages.Choice("tool", chosen.function.name, alone)
    if chosen == "none":
        return messages.Choice("none")
    if chosen == "required":
        return messages.Choice("any", disable_parallel_tool_use=alone)
    if chosen == "auto" or (chosen is None and alone):
        return messages.Choice("auto", disable_parallel_tool_use=alone)
    if chosen is None:
        return None
    raise malformed("tool_choice", "expected none, auto, required or a function")


def _format(made: messages.Request, given: _Given) -> None:
    wanted = given.response_format
    if wanted is None or wanted.type == "text":
        return
    if wanted.type != "json_schema":
        raise unsupported("response_format", "only json_schema has a counterpart")
    if wanted.json_schema is None or not reading.given(wanted.json_schema.schema):
        raise malformed("response_format.json_schema", "expected a schema")
    made.output_config = messages.Output(format=messages.Format("json_schema", wanted.json_schema.schema))


def _think(made: messages.Request, given: _Given, turns: Turns, dropped: list[str]) -> bool:
    """
    Ask for thought in the form that the model knows, an effort or a budget of tokens; tell whether it was.

    It is left out where Anthropic would refuse it: beside a tool that must be called, in the middle of calls that were
    made without thought, and where the cap leaves no room for the least budget.
    """
    if reading.given(given.thinking):  # Anthropic's own words, which clients put in beside OpenAI's
        made.thinking = given.thinking
        if given.reasoning_effort is not None:
            dropped.append("reasoning_effort")
        return request(_decode_config, bytes(given.thinking), "thinking").type != "disabled"
    effort = given.reasoning_effort
    if effort is None:
        return False
    if effort == "none":
        made.thinking = messages.ThinkingConfig("disabled")
        return False
    if effort not in _EFFORTS:
        raise malformed("reasoning_effort", f"expected none, {', '.join(_EFFORTS)}")
    forced = made.tool_choice is not None and made.tool_choice.type in {"any", "tool"}
    if claude.thinks_adaptively(made.model):
        made.output_config = made.output_config or messages.Output()
        made.output_config.effort = _EFFORTS[effort]
        if not forced:
            made.thinking = messages.ThinkingConfig("adaptive")
        return not forced
    cap = made.max_tokens or OUTPUT_BOUND
    budget = max(_LEAST_BUDGET, int(cap * _SHARES[effort]))
    if forced or turns.calls_unthought or budget >= cap:
        dropped.append("reasoning_effort")
        return False
    made.thinking = messages.ThinkingConfig("enabled", budget)
    return True


def _sample(made: messages.Request, given: _Given, dropped: list[str], *, thinks: bool) -> None:
    """Set temperature and its like, which Anthropic refuses beside thought, and for its newer models altogether."""
    refused = thinks or not claude.takes_sampling(made.model)
    if given.temperature is not None:
        if refused or given.temperature > 1.0:
            dropped.append("temperature")
        if not refused:
            made.temperature = min(given.temperature, 1.0)
    if given.top_p is not None:
        if refused or (made.temperature is not None and not claude.takes_temperature_and_top_p(made.model)):
            dropped.append("top_p")
        else:
            made.top_p = given.top_p
    if given.top_k is not None:
        if refused or given.top_k < 0:  # engines mean all of them by -1
            dropped.append("top_k")
        else:
            made.top_k = given.top_k


def _stop(made: messages.Request, given: _Given, dropped: list[str]) -> None:
    wanted = [given.stop] if isinstance(given.stop, str) else given.stop or []
    taken = [each for each in wanted if each.strip()]  # Anthropic refuses blanks
    made.stop_sequences = taken or None
    if len(taken) < len(wanted):
        dropped.append("stop")


def _describe(made: messages.Request, given: _Given, dropped: list[str]) -> None:
    """Set who asks and in what haste."""
    name = "safety_identifier" if given.safety_identifier is not None else "user"
    user = given.safety_identifier if given.safety_identifier is not None else given.user
    if user is not None:
        if len(user) <= _MAX_USER:
            made.metadata = messages.Metadata(user)
        else:
            dropped.append(name)
    if given.service_tier is not None:
        made.service_tier = _TIERS.get(given.service_tier)
        if made.service_tier is None:
            dropped.append("service_tier")
