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
_MAX_CALLS = 1024
_encode = msgspec.json.Encoder().encode


class _Call(msgspec.Struct):
    """A call of a tool. Its pieces of arguments are JSON strings, held until their turn."""

    id: str | None
    name: str
    held: list[bytes]


class Blocks:
    """
    The blocks of one stream; what its methods return is for the client, in whole events.

    Texts are JSON strings and are not decoded.

    Attributes:
        called: a tool is called in the answer.
    """

    __slots__ = ("_calls", "_first", "_held", "_index", "_kind", "_last", "_later", "called")

    def __init__(self) -> None:
        self.called = False
        self._index = -1  # of the block that is open or was last
        self._kind = b""  # of the block that is open
        self._calls: dict[int, _Call] = {}
        self._last = -1  # the index that the upstream gave last
        self._first: _Call | None = None  # the call that is passed on as it arrives
        self._held = 0  # bytes
        self._later: list[_Call | tuple[bytes, bytes]] = []  # what is to follow it: calls, and texts by their kind

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
            self._hold(arguments)
            found.held.append(arguments)
        return b""

    def end(self) -> bytes:
        """Tell what is held, and close the last block."""
        out = b""
        if self._first is not None and self._kind != b"tool_use":
            out += self._begin(self._first)
        out += self._close()
        self._first = None
        for each in self._later:
            if isinstance(each, _Call):
                out += self._begin(each) + self._close()
            else:
                out += self._tell(*each)
        self._later = []
        return out + self._close()

    def _new(self, index: int, name: str | None) -> _Call:
        if len(self._later) >= _MAX_CALLS:
            raise UpstreamFailed("the upstream called more than 1,024 tools in one answer")
        made = self._calls[index] = _Call(name, "", [])
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
            self._hold(arguments)
            call.held.append(arguments)
        return self._begin(call) if call.name else b""

    def _begin(self, call: _Call) -> bytes:
        block = messages.ToolUse(call.id or f"call_{self._index + 1}", call.name, msgspec.Raw(b"{}"))
        out = self._close() + self._open(b"tool_use", _encode(block))
        out += b"".join(map(self._arguments, call.held))
        call.held = []
        return out

    def _tell(self, kind: bytes, text: bytes) -> bytes:
        if self._first is not None:
            self._hold(text)
            self._later.append((kind, text))
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

    def _hold(self, piece: bytes) -> None:
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
