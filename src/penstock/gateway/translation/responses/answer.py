"""
What an upstream that speaks chat completions answers, as far as it is told on.

Texts stay the JSON strings that they came as: those of a stream are joined without being decoded.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

_ABSENT = msgspec.Raw()
_EMPTY = frozenset({b"", b"null", b'""', b"[]", b"{}"})
_QUOTE = b'"'


class Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: msgspec.Raw = _ABSENT


class ToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Message(msgspec.Struct, gc=False):
    """A message, or a part of one; vLLM and OpenRouter have `reasoning` for what others call `reasoning_content`."""

    content: msgspec.Raw = _ABSENT
    reasoning_content: msgspec.Raw = _ABSENT
    reasoning: msgspec.Raw = _ABSENT
    refusal: msgspec.Raw = _ABSENT
    tool_calls: list[ToolCall] | None = None


class Choice(msgspec.Struct, gc=False):
    index: int | None = 0
    delta: Message | None = None
    message: Message | None = None
    finish_reason: str | None = None


class Answer(msgspec.Struct, gc=False):
    """A whole reply, or one event of a stream."""

    choices: list[Choice] | None = None
    error: msgspec.Raw = _ABSENT
    created: Any = None
    model: Any = None
    service_tier: Any = None

    @property
    def failed(self) -> bool:
        """Tell whether this is an error in spite of the status 200."""
        return bytes(self.error) not in _EMPTY


class _Piece(msgspec.Struct):
    type: Any = None
    text: Any = None


_decode = msgspec.json.Decoder(Answer).decode
_decode_pieces = msgspec.json.Decoder(list[_Piece]).decode
_encode = msgspec.json.Encoder().encode

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)


def read(data: bytes) -> Answer:
    """
    Return what a reply or the data of an event says.

    Half of a surrogate pair, which clients read and msgspec does not, is told as U+FFFD.

    Raises:
        ValueError: it is not an answer.
    """
    try:
        if not data.isascii():
            data.decode()
        try:
            return _decode(data)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            return _decode(_ESCAPE.sub(_whole, data))
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _whole(match: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if match[1] else match[0]


def text_of(value: msgspec.Raw) -> bytes:
    """Return a text as what stands between the quotes of a JSON string; of a list of parts, their texts."""
    found = bytes(value)
    if found in _EMPTY:
        return b""
    if found.startswith(_QUOTE):
        return found[1:-1]
    if not found.startswith(b"["):
        return b""
    try:
        pieces = _decode_pieces(found)
    except msgspec.ValidationError:
        return b""
    return _encode("".join(piece.text for piece in pieces if isinstance(piece.text, str)))[1:-1]


def arguments_of(function: Function | None) -> bytes:
    """Return a call's arguments likewise; some engines give the object itself, and not a string that holds it."""
    found = bytes(function.arguments) if function is not None else b""
    if found.startswith(b"{"):
        return _encode(found.decode())[1:-1]
    return found[1:-1] if found.startswith(_QUOTE) else b""
