"""The system prompt and turns of Anthropic's dialect as a chat's messages."""

from __future__ import annotations

from penstock.gateway.translation import chat, media, messages
from penstock.gateway.translation.reading import malformed, unsupported

_PARAGRAPH = "\n\n"
_ERROR = "Error: "  # chat has no mark for a call that failed, so the result says it


def translated(system: str | list[messages.Text] | None, given: list[messages.Message]) -> list[chat.Message]:
    """
    Return the messages.

    Raises:
        InvalidRequest: a block has no counterpart.
    """
    made: list[chat.Message] = []
    if system:
        made.append(chat.System(_joined(system)))
    for position, message in enumerate(given):
        if isinstance(message, messages.System):
            made.append(chat.System(_joined(message.content)))
        elif isinstance(message.content, str):
            text = message.content
            made.append(chat.Assistant(text) if isinstance(message, messages.Assistant) else chat.User(text))
        elif isinstance(message, messages.Assistant):
            made.append(_answer(message.content, f"messages[{position}]"))
        else:
            made += _asked(message.content, f"messages[{position}]")
    return made


def _joined(texts: str | list[messages.Text]) -> str:
    return texts if isinstance(texts, str) else _PARAGRAPH.join(each.text for each in texts)


def _asked(blocks: list[messages.Block], where: str) -> list[chat.Message]:
    """Return the results of calls, and then what the user says; images in results are the user's here."""
    made: list[chat.Message] = []
    seen, said = list[chat.Part](), list[chat.Part]()
    for position, block in enumerate(blocks):
        at = f"{where}.content[{position}]"
        if isinstance(block, messages.ToolResult):
            made.append(_result(block, seen, at))
        elif isinstance(block, messages.Text | messages.Image | messages.Document):
            said += _parts(block, at)
        else:
            raise unsupported(f"{at}.type", "a user does not think or call tools")
    parts = seen + said
    if len(parts) == 1 and isinstance(parts[0], chat.Text):
        made.append(chat.User(parts[0].text))
    elif parts or not made:
        made.append(chat.User(parts or ""))
    return made


def _result(block: messages.ToolResult, seen: list[chat.Part], where: str) -> chat.Message:
    content = block.content
    if not isinstance(content, str):
        texts = []
        for position, each in enumerate(content or ()):
            for part in _parts(each, f"{where}.content[{position}]"):
                if isinstance(part, chat.Text):
                    texts.append(part.text)
                else:
                    seen.append(part)
        content = "\n".join(texts)
    if block.is_error and not content.startswith(_ERROR):
        content = _ERROR + content
    return chat.ToolResult(block.tool_use_id, content)


def _parts(block: messages.Text | messages.Image | messages.Document, where: str) -> list[chat.Part]:
    if isinstance(block, messages.Text):
        return [chat.Text(block.text)]
    if isinstance(block, messages.Image):
        return [media.image_to_chat(block)]
    return media.document_to_chat(block, where)


def _answer(blocks: list[messages.Block], where: str) -> chat.Message:
    said, thought, calls = list[str](), list[str](), list[chat.ToolCall]()
    for position, block in enumerate(blocks):
        if isinstance(block, messages.Text):
            said.append(block.text)
        elif isinstance(block, messages.ToolUse):
            arguments = bytes(block.input)
            if not arguments.startswith(b"{"):
                raise malformed(f"{where}.content[{position}].input", "expected an object")
            calls.append(chat.ToolCall(block.id, chat.Function(block.name, arguments.decode())))
        elif isinstance(block, messages.Thinking):
            # What is signed only its author can read again; what is not came from an upstream that speaks chat.
            if block.thinking and not block.signature:
                thought.append(block.thinking)
        elif not isinstance(block, messages.Redacted):
            raise unsupported(f"{where}.content[{position}].type", "an assistant gives text and calls tools")
    text = "".join(said)
    return chat.Assistant(
        text if text or not calls else None,
        calls or None,
        reasoning_content="".join(thought) or None,
    )
