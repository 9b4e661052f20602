"""What an answer says: its text and the calls of tools, without ids, counts, thoughts and how it was cut up."""

from __future__ import annotations

import msgspec

from penstock.gateway.dialects import events
from penstock.types.dialect import Dialect

_UNSAID = frozenset({Dialect.EMBEDDINGS, Dialect.COUNT})  # numbers, of which there is nothing to read
_OWN_TEXT = -1  # in the place of a tool call's number
_SPOKEN = frozenset(  # events of Responses; the others are thoughts, sound, or repeat these
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.mcp_call_arguments.delta",
    }
)
_PER_PIECE = 32  # characters that a piece counts as at least, so that empty ones have a bound too


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    function: _Function | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Message | None = None
    delta: _Message | None = None
    text: str | None = None


class _Chat(msgspec.Struct):
    """Of OpenAI: a reply or an event, of chats or completions."""

    choices: list[_Choice] = []


class _Block(msgspec.Struct):
    text: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()


class _Delta(msgspec.Struct):
    text: str | None = None
    partial_json: str | None = None


class _Messages(msgspec.Struct):
    """Of Anthropic: a message or an event."""

    index: int = 0
    content: list[_Block] = []
    content_block: _Block | None = None
    delta: _Delta | None = None


class _Part(msgspec.Struct):
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct):
    type: str = ""
    content: list[_Part] | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None


class _Responses(msgspec.Struct):
    """Of OpenAI: a response or one of its events."""

    type: str = ""
    output_index: int = 0
    content_index: int = 0
    delta: msgspec.Raw = msgspec.Raw()
    item: _Item | None = None
    output: list[_Item] = []


_decode_chat = msgspec.json.Decoder(_Chat).decode
_decode_messages = msgspec.json.Decoder(_Messages).decode
_decode_responses = msgspec.json.Decoder(_Responses).decode
_decode_text = msgspec.json.Decoder(str).decode


class Transcript:
    """
    The text of one answer, as it comes. What is beyond its bound is left out.

    Args:
        most: characters that are kept.

    Attributes:
        whole: nothing was left out, and everything could be read.
    """

    __slots__ = ("_dialect", "_left", "_said", "whole")

    def __init__(self, dialect: Dialect, most: int) -> None:
        self._dialect = dialect
        self._left = most
        self._said: dict[tuple[int, int], list[str]] = {}  # by choice and tool call, or by block
        self.whole = dialect not in _UNSAID

    @property
    def text(self) -> str:
        """What was said so far: one choice, block or tool call after the other, a line each."""
        return "\n".join("".join(pieces) for _, pieces in sorted(self._said.items()))

    def hear(self, whole: bytes) -> None:
        """Take whole events of a stream; what is none of them is passed over."""
        for event in events.split(whole):
            data = events.data_of(event).lstrip()
            if data.startswith(b"{"):
                self.read(data)

    def read(self, document: bytes) -> None:
        """Take a reply, or the data of an event."""
        if self._dialect in _UNSAID:
            return
        if self._left <= 0:
            self.whole = False
            return
        try:
            if self._dialect is Dialect.MESSAGES:
                self._messages(_decode_messages(document))
            elif self._dialect is Dialect.RESPONSES:
                self._responses(_decode_responses(document))
            else:
                self._chat(_decode_chat(document))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.whole = False

    def _chat(self, chat: _Chat) -> None:
        for choice in chat.choices:
            self._add((choice.index, _OWN_TEXT), choice.text)
            message = choice.message or choice.delta
            if message is None:
                continue
            self._add((choice.index, _OWN_TEXT), message.content)
            self._add((choice.index, _OWN_TEXT), message.refusal)
            for number, call in enumerate(message.tool_calls or ()):
                if call.function is not None:
                    place = (choice.index, number if call.index is None else call.index)
                    self._add(place, call.function.name)
                    self._add(place, call.function.arguments)

    def _messages(self, message: _Messages) -> None:
        for number, block in enumerate(message.content):
            self._add((0, number), block.text)
            self._add((0, number), block.name)
            self._add((0, number), bytes(block.input).decode())
        if message.content_block is not None:  # its input is empty yet
            self._add((0, message.index), message.content_block.text)
            self._add((0, message.index), message.content_block.name)
        if message.delta is not None:
            self._add((0, message.index), message.delta.text)
            self._add((0, message.index), message.delta.partial_json)

    def _responses(self, response: _Responses) -> None:
        place = (response.output_index, response.content_index)
        if response.type in _SPOKEN:
            self._add(place, _decode_text(response.delta))
        elif response.type == "response.output_item.added" and response.item is not None:
            self._add(place, response.item.name)  # the rest of it is empty yet
        for number, item in enumerate(response.output):
            self._add((number, 0), item.name)
            self._add((number, 0), item.arguments)
            self._add((number, 0), item.input)
            for part, said in enumerate(item.content or () if item.type == "message" else ()):
                self._add((number, part), said.text)
                self._add((number, part), said.refusal)

    def _add(self, place: tuple[int, int], text: str | None) -> None:
        if not text:
            return
        if self._left <= 0:
            self.whole = False
            return
        kept = text[: self._left]
        self._left -= max(len(kept), _PER_PIECE)
        self.whole = self.whole and len(kept) == len(text)
        self._said.setdefault(place, []).append(kept)
