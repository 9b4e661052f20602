"""A chat's messages as the system prompt and turns of Anthropic's dialect."""

from __future__ import annotations

import re

import msgspec

from penstock.gateway.translation import chat, media, messages, reading

_ID = re.compile(r"[^a-zA-Z0-9_-]")  # what the id of a tool call may not hold there; engines write `functions.f:0`
_SHORT = 64  # a text that is nothing but blanks is this short

_Block = messages.Block
_Thought = messages.Thinking | messages.Redacted
_decode_thought = msgspec.json.Decoder(_Thought).decode
_NOTHING = msgspec.Raw(b"{}")


class _Turn(msgspec.Struct):
    """One turn. The results of tools are the first of its blocks."""

    of_user: bool
    blocks: list[_Block]
    results: int = 0


class Turns:
    """
    The turns of a conversation, built message by message.

    Roles alternate: neighbours of one role become one turn, in which tool results stand first, as Anthropic asks. There
    is one system prompt; it holds what system and developer messages say, wherever they stood.

    Attributes:
        calls_unthought: the last turn of the assistant's calls tools and has nothing of what was thought before.
    """

    __slots__ = ("_system", "_turns", "calls_unthought")

    def __init__(self, given: list[chat.Message]) -> None:
        """
        Raises:
            InvalidRequest: a part has no counterpart.
        """
        self._system: list[messages.Text] = []
        self._turns: list[_Turn] = []
        self.calls_unthought = False
        for position, message in enumerate(given):
            self._add(message, f"messages[{position}]")
        if self._turns and not self._turns[-1].blocks:
            self._turns.pop()
        if not self._turns:  # Anthropic wants a turn, and what is said first is the user's
            if not self._system:
                raise reading.malformed("messages", "nothing is said in them")
            self._turns.append(_Turn(True, [*self._system]))
            self._system = []

    def system(self) -> str | list[messages.Text] | None:
        """Return the system prompt: a string where there is one text and nothing to note about it."""
        if not self._system:
            return None
        return self._system[0].text if _plain(self._system) else self._system

    def turns(self) -> list[messages.Message]:
        """Return the turns."""
        made: list[messages.Message] = []
        for turn in self._turns:
            first, blocks = turn.blocks[0], turn.blocks
            content = first.text if isinstance(first, messages.Text) and _plain(blocks) else blocks
            made.append(messages.User(content) if turn.of_user else messages.Assistant(content))
        return made

    def _add(self, message: chat.Message, where: str) -> None:
        if isinstance(message, chat.User):
            blocks = _blocks(message.content, where)
            _note(blocks, message.cache_control)
            self._turn(True).blocks.extend(blocks)
        elif isinstance(message, chat.Assistant):
            self._add_answer(message, where)
        elif isinstance(message, chat.ToolResult):
            self._add_result(message, where)
        else:
            said = [block for block in _blocks(message.content, where) if isinstance(block, messages.Text)]
            _note(said, message.cache_control)
            self._system += said

    def _add_answer(self, message: chat.Assistant, where: str) -> None:
        thought = _thought(message, where)
        said = _blocks(message.content or message.refusal or None, where)
        calls: list[_Block] = [
            messages.ToolUse(
                _ID.sub("_", call.id), call.function.name, _input(call.function.arguments, where, position)
            )
            for position, call in enumerate(message.tool_calls or ())
        ]
        blocks = [*thought, *said, *calls]
        _note(blocks, message.cache_control)
        self._turn(False).blocks.extend(blocks)
        self.calls_unthought = bool(calls) and not thought

    def _add_result(self, message: chat.ToolResult, where: str) -> None:
        content = message.content
        said: str | list[messages.Text | messages.Image | messages.Document] | None = None
        if isinstance(content, str):
            said = content or None
        elif content is not None:
            found = _blocks(content, where)
            said = [
                each for each in found if isinstance(each, messages.Text | messages.Image | messages.Document)
            ] or None
        turn = self._turn(True)
        result = messages.ToolResult(_ID.sub("_", message.tool_call_id), said, cache_control=message.cache_control)
        turn.blocks.insert(turn.results, result)
        turn.results += 1

    def _turn(self, of_user: bool) -> _Turn:
        """Return the turn that a message of this role belongs to."""
        turns = self._turns
        if turns and turns[-1].of_user is not of_user and not turns[-1].blocks:
            turns.pop()  # nothing was said in it
        if not turns or turns[-1].of_user is not of_user:
            turns.append(_Turn(of_user, []))
        return turns[-1]


def _plain(blocks: list[messages.Text] | list[_Block]) -> bool:
    """Tell whether this is one block, without a note on caching."""
    return len(blocks) == 1 and not getattr(blocks[0], "cache_control", None)


def _blocks(content: str | list[chat.Text] | list[chat.Part] | None, where: str) -> list[_Block]:
    """Return the blocks for a message's content; texts of blanks alone, which Anthropic refuses, are left out."""
    if isinstance(content, str):
        return [messages.Text(content)] if _speaks(content) else []
    blocks: list[_Block] = []
    for position, part in enumerate(content or ()):
        if isinstance(part, chat.Text):
            if _speaks(part.text):
                blocks.append(messages.Text(part.text, part.cache_control))
        elif isinstance(part, chat.Image):
            blocks.append(media.image_to_messages(part, f"{where}.content[{position}]"))
        elif isinstance(part, chat.File):
            blocks.append(media.file_to_messages(part, f"{where}.content[{position}]"))
        elif _speaks(part.refusal):
            blocks.append(messages.Text(part.refusal))
    return blocks


def _speaks(text: str) -> bool:
    return len(text) > _SHORT or bool(text.strip())


def _note(blocks: list[messages.Text] | list[_Block], cache: msgspec.Raw) -> None:
    """Put a message's own note on caching on its last block."""
    if blocks and cache:
        last = blocks[-1]
        if not isinstance(last, _Thought):
            last.cache_control = cache


def _thought(message: chat.Assistant, where: str) -> list[_Block]:
    """Return what was thought and is signed; what is not, Anthropic would not take back."""
    given = message.thinking_blocks
    if not given:
        return []
    blocks = [
        reading.request(_decode_thought, bytes(each), f"{where}.thinking_blocks[{position}]")
        for position, each in enumerate(given)
    ]
    return [block for block in blocks if isinstance(block, messages.Redacted) or block.signature]


def _input(arguments: str, where: str, position: int) -> msgspec.Raw:
    """Return a call's arguments as the object they are, in the bytes they came in."""
    if not arguments.strip():
        return _NOTHING
    text = arguments.encode()
    if not reading.is_object(text):
        param = f"{where}.tool_calls[{position}].function.arguments"
        raise reading.malformed(param, "expected a JSON object")
    return msgspec.Raw(text)
