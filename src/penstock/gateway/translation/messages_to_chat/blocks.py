"""
The content blocks of a streamed message, one after the other.

Chat may tell several calls of tools at once, piece by piece in turns. A message has one open block at a time. So the
call that comes first is passed on as it arrives, and what comes beside it is held until the answer is over.
"""

from __future__ import annotations

import msgspec

from penstock.gateway.dialects.events import MAX_EVENT
from penstock.gateway.translation import messages
from penstock.types.errors import UpstreamFailed

_MAX_HELD = MAX_EVENT
_EACH_HELD = 256  # bytes that holding a text costs besides its own, about
_MAX_CALLS = 1024
_encode = msgspec.json.Encoder().encode


class _Held:
    """Pieces of text, each a JSON string, as one."""

    __slots__ = ("_text",)

    def __init__(self) -> None:
        self._text = bytearray(b'""')

    def add(self, piece: bytes) -> None:
        del self._text[-1:]
        self._text += piece[1:]

    def take(self) -> bytes:
        """Return what is held, which may be nothing, and hold nothing more."""
        text, self._text = bytes(self._text), bytearray(b'""')
        return text if len(text) > len(b'""') else b""


class _Text(msgspec.Struct):
    """What is said, or thought, behind the first call."""

    kind: bytes
    held: _Held


class _Call(msgspec.Struct):
    """A call of a tool, with the arguments that wait for their turn."""

    id: str | None
    name: str
    held: _Held


class Blocks:
    """
    The blocks of one stream; what its methods return is for the client, in whole events.

    Texts are JSON strings and are not decoded.

    Attributes:
        called: a tool is called in the answer.
    """

    __slots__ = ("_calls", "_count", "_first", "_held", "_index", "_kind", "_last", "_later", "called")

    def __init__(self) -> None:
        self.called = False
        self._index = -1  # of the block that is open or was last
        self._kind = b""  # of the block that is open
        self._calls: dict[int, _Call] = {}
        self._last = -1  # the index that the upstream gave last
        self._first: _Call | None = None  # the call that is passed on as it arrives
        self._count = 0  # calls
        self._held = 0  # bytes
        self._later: list[_Call | _Text] = []  # what is to follow it

    def say(self, text: bytes) -> bytes:
        """Tell a piece of the answer."""
        return self._tell(b"text", text)

    def think(self, text: bytes) -> bytes:
        """Tell a piece of thought."""
        return self._tell(b"thinking", text)

    def sign(self, signature: str) -> bytes:
        """Tell the signature of the thought that is open."""
        if self._kind != b"thinking" or not signature:
            return b""
        return self._delta(b'"signature_delta","signature":%b' % _encode(signature)) + self._close()

    def redacted(self, block: messages.Redacted) -> bytes:
        """Tell a thought that is not to be read."""
        if self._first is not None:
            return b""
        return self._open(b"", _encode(block)) + self._close()

    def call(self, index: int | None, name: str | None, tool: str | None, arguments: bytes) -> bytes:
        """
        Tell a piece of a call.

        Args:
            index: the upstream's number of the call; some do not number them, and begin each with an id.
            name: the call's id, where it is told.
            tool: the tool's name, where it is told.
            arguments: a piece of the arguments, or nothing.

        Raises:
            UpstreamFailed: more than 8 MiB would have to be held, or there are more than 1,024 calls.
        """
        if index is None:
            index = self._last + 1 if name or self._last < 0 else self._last
        self._last = index
        found = self._calls.get(index)
        if found is None or (name and found.id and name != found.id):
            found = self._new(index, name)
        found.id = found.id or name
        found.name = found.name or tool or ""
        if found is self._first:
            return self._passed(found, arguments)
        if arguments:
            self._hold(found.held, arguments)
        return b""

    def end(self) -> bytes:
        """Tell what is held, and close the last block."""
        out = []
        if self._first is not None and self._kind != b"tool_use":
            out.append(self._begin(self._first))
        self._first = None
        out += [
            self._begin(each) if isinstance(each, _Call) else self._tell(each.kind, each.held.take())
            for each in self._later
        ]
        self._later = []
        out.append(self._close())
        return b"".join(out)

    def _new(self, index: int, name: str | None) -> _Call:
        self._count += 1
        if self._count > _MAX_CALLS:
            raise UpstreamFailed("the upstream called more than 1,024 tools in one answer")
        made = self._calls[index] = _Call(name, "", _Held())
        self.called = True
        if self._first is None:
            self._first = made
        else:
            self._later.append(made)
        return made

    def _passed(self, call: _Call, arguments: bytes) -> bytes:
        """Pass on a piece of the first call; its block cannot begin before the tool's name is known."""
        if self._kind == b"tool_use":
            return self._arguments(arguments) if arguments else b""
        if arguments:
            self._hold(call.held, arguments)
        return self._begin(call) if call.name else b""

    def _begin(self, call: _Call) -> bytes:
        block = messages.ToolUse(call.id or f"call_{self._index + 1}", call.name, msgspec.Raw(b"{}"))
        out = self._close() + self._open(b"tool_use", _encode(block))
        held = call.held.take()
        return out + self._arguments(held) if held else out

    def _tell(self, kind: bytes, text: bytes) -> bytes:
        if self._first is not None:
            last = self._later[-1] if self._later else None
            if not isinstance(last, _Text) or last.kind != kind:
                last = _Text(kind, _Held())
                self._later.append(last)
                self._held += _EACH_HELD
            self._hold(last.held, text)
            return b""
        out = b""
        if self._kind != kind:
            empty = b'"text":""' if kind == b"text" else b'"thinking":"","signature":""'
            out = self._close() + self._open(kind, b'{"type":"%b",%b}' % (kind, empty))
        if kind == b"text":
            return out + self._delta(b'"text_delta","text":%b' % text)
        return out + self._delta(b'"thinking_delta","thinking":%b' % text)

    def _arguments(self, piece: bytes) -> bytes:
        return self._delta(b'"input_json_delta","partial_json":%b' % piece)

    def _hold(self, held: _Held, piece: bytes) -> None:
        held.add(piece)
        self._held += len(piece)
        if self._held > _MAX_HELD:
            raise UpstreamFailed("the upstream told more than 8 MiB of several calls at once")

    def _open(self, kind: bytes, block: bytes) -> bytes:
        out = self._close()
        self._kind = kind or b"-"
        self._index += 1
        return out + (
            b'event: content_block_start\ndata: {"type":"content_block_start","index":%d,"content_block":%b}\n\n'
            % (self._index, block)
        )

    def _delta(self, delta: bytes) -> bytes:
        return (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b}}\n\n'
            % (self._index, delta)
        )

    def _close(self) -> bytes:
        if not self._kind:
            return b""
        self._kind = b""
        return b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % self._index
