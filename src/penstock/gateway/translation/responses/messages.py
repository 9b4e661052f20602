"""
The input of a request for Responses, as the messages of a chat.

Chats have one message for what a model says in a turn, its calls included, where Responses have an item for each; and
many chat templates know neither `developer` nor a system message behind the first one, so the instructions and what the
input begins with in these roles become one system message.
"""

from __future__ import annotations

import msgspec

from penstock.gateway.dialects.fields import unsupported
from penstock.types.errors import InvalidRequest

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}

KINDS = frozenset({None, "message", "function_call", "function_call_output", "reasoning"})
"""Items that can be said in a chat, or left out."""

Message = dict[str, object]


class Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    input_audio: msgspec.Raw = msgspec.Raw()


class Item(msgspec.Struct):
    type: str | None = None
    role: str | None = None
    content: str | list[Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[Part] | None = None


def no_item(position: int, kind: str | None) -> InvalidRequest:
    """Say that an item of the input cannot be said in a chat."""
    return unsupported(f"input[{position}].type", f"This model does not take items of type {(kind or '')[:64]!r}")


def needed(value: str | None, param: str) -> str:
    """Return what must be there."""
    if value is None:
        raise InvalidRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    return value


def messages_of(given: str | list[Item] | None, instructions: str | None) -> list[Message]:
    """
    Return the messages that instructions and input come to.

    Raises:
        InvalidRequest: an item is malformed, or cannot be said in a chat.
    """
    opening = [instructions] if instructions else []
    items = [Item(role="user", content=given)] if isinstance(given, str) else given or []
    messages: list[Message] = []
    for position, item in enumerate(items):
        if item.type is None or item.type == "message":
            _put_message(messages, opening, item, f"input[{position}]")
        elif item.type == "function_call":
            _put_call(messages, item, f"input[{position}]")
        elif item.type == "function_call_output":
            where = f"input[{position}]"
            identity = needed(item.call_id, f"{where}.call_id")
            output = "" if item.output is None else item.output
            content = output if isinstance(output, str) else _parts(output, f"{where}.output")
            messages.append({"role": "tool", "tool_call_id": identity, "content": content})
        elif item.type != "reasoning":  # what was thought is for models that can check it
            raise no_item(position, item.type)
    if opening:
        messages.insert(0, {"role": "system", "content": "\n\n".join(opening)})
    if not messages:
        raise InvalidRequest("the input has no message", param="input", code="invalid_value")
    return messages


def _put_message(messages: list[Message], opening: list[str], item: Item, where: str) -> None:
    role = _ROLES.get(needed(item.role, f"{where}.role"))
    if role is None:
        raise InvalidRequest(f"Invalid value for '{where}.role'.", param=f"{where}.role", code="invalid_value")
    content = item.content or ""
    if role == "user":
        said = content if isinstance(content, str) else _parts(content, f"{where}.content")
        messages.append({"role": role, "content": said})
        return
    text, refusal = (content, "") if isinstance(content, str) else _spoken(content, f"{where}.content")
    if role == "system":
        if messages:
            messages.append({"role": role, "content": text})
        else:
            opening.append(text)
        return
    last = messages[-1] if messages else {}
    if last.get("role") == role:
        text = f"{last['content'] or ''}{text}"
    else:
        last = {"role": role}
        messages.append(last)
    last["content"] = text
    if refusal:
        last["refusal"] = f"{last.get('refusal', '')}{refusal}"


def _put_call(messages: list[Message], item: Item, where: str) -> None:
    """Add a call to the assistant's turn, or begin one with it."""
    call = {
        "id": needed(item.call_id, f"{where}.call_id"),
        "type": "function",
        "function": {
            "name": needed(item.name, f"{where}.name"),
            "arguments": needed(item.arguments, f"{where}.arguments"),
        },
    }
    last = messages[-1] if messages else {}
    if last.get("role") != "assistant":
        last = {"role": "assistant", "content": None}
        messages.append(last)
    calls = last.setdefault("tool_calls", [])
    assert isinstance(calls, list)
    calls.append(call)


def _spoken(parts: list[Part], where: str) -> tuple[str, str]:
    """Return the text and the refusals of a message that cannot hold anything else."""
    text, refusal = [], []
    for position, part in enumerate(parts):
        if part.type in ("input_text", "output_text", "text"):
            text.append(part.text or "")
        elif part.type == "refusal":
            refusal.append(part.refusal or "")
        else:
            raise unsupported(f"{where}[{position}].type", f"This message cannot hold {part.type[:64]!r}")
    return "".join(text), "".join(refusal)


def _parts(parts: list[Part], where: str) -> str | list[Message]:
    """Return a message's content; a single text as such, which also engines understand that know no parts."""
    if len(parts) == 1 and parts[0].type == "input_text":
        return parts[0].text or ""
    return [_part(part, f"{where}[{position}]") for position, part in enumerate(parts)]


def _part(part: Part, where: str) -> Message:
    if part.type in ("input_text", "output_text", "text"):
        return {"type": "text", "text": part.text or ""}
    if part.file_id is not None:
        raise unsupported(f"{where}.file_id", "This model has no files to refer to; send the file's data")
    if part.type == "input_image":
        image = {"url": needed(part.image_url, f"{where}.image_url")}
        return {"type": "image_url", "image_url": image | ({"detail": part.detail} if part.detail else {})}
    if part.type == "input_file":
        if part.file_url is not None:
            raise unsupported(f"{where}.file_url", "This model does not fetch files; send the file's data")
        data = needed(part.file_data, f"{where}.file_data")
        return {"type": "file", "file": {"filename": part.filename or "file", "file_data": data}}
    if part.type == "input_audio" and part.input_audio:
        return {"type": "input_audio", "input_audio": part.input_audio}
    raise unsupported(f"{where}.type", f"This model does not take {part.type[:64]!r}")
