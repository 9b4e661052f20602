"""
The items of a response's output, as they come to be.

Each is told from its announcement to its end in the order in which OpenAI tells it, by the events that its methods
return: kind, and the JSON members that belong to this kind.
"""

from __future__ import annotations

import msgspec

_encode = msgspec.json.Encoder().encode

Event = tuple[bytes, bytes]
"""The kind of an event, and the members of its data but for type and number."""

TEXT, REFUSAL, THOUGHTS = b"output_text", b"refusal", b"reasoning_text"
"""Kinds of parts that an item's content has."""

_PARTS = {
    TEXT: b'{"type":"output_text","annotations":[],"logprobs":[],"text":"%b"}',
    REFUSAL: b'{"type":"refusal","refusal":"%b"}',
    THOUGHTS: b'{"type":"reasoning_text","text":"%b"}',
}
_DELTAS = {TEXT: b',"logprobs":[]', REFUSAL: b"", THOUGHTS: b""}
_WHOLES = {TEXT: b',"logprobs":[],"text":"%b"', REFUSAL: b',"refusal":"%b"', THOUGHTS: b',"text":"%b"'}
_MESSAGE = b'{"id":"%b","type":"message","status":"%b","content":[%b],"role":"assistant"}'
_REASONING = b'{"id":"%b","type":"reasoning","summary":[],"content":[%b],"status":"%b"}'
_CALL = b'{"id":"%b","type":"function_call","status":"%b","arguments":"%b","call_id":%b,"name":%b}'
_IN_PROGRESS = b"in_progress"


class Content:
    """
    A message, or what was thought. Its parts come one after the other.

    Attributes:
        place: in the output.
        thought: it is not a message.
    """

    __slots__ = ("_delta", "_id", "_kind", "_parts", "_texts", "place", "thought")

    def __init__(self, position: int, identity: str, *, thought: bool) -> None:
        self.thought = thought
        self.place = position
        self._id = b"%b_%b%d" % (b"rs" if thought else b"msg", identity.encode(), position)
        self._kind = b""
        self._texts: list[bytes] = []  # of the part that is open, as inside of a JSON string
        self._parts: list[bytes] = []
        self._delta = b""

    def json(self, status: bytes) -> bytes:
        """Return the item as far as it has come."""
        parts = b",".join(self._parts)
        return _REASONING % (self._id, parts, status) if self.thought else _MESSAGE % (self._id, status, parts)

    def opened(self) -> list[Event]:
        """Return what announces it."""
        return [(b"response.output_item.added", b'"output_index":%d,"item":%b' % (self.place, self.json(_IN_PROGRESS)))]

    def added(self, kind: bytes, text: bytes) -> list[Event]:
        """Return what tells more of its text."""
        if kind == self._kind:
            self._texts.append(text)
            return [(b"response.%b.delta" % kind, self._delta % text)]
        told = self._part_done()
        self._kind = kind
        self._texts.append(text)
        where = self._where()
        self._delta = b'%b,"delta":"%%b"%b' % (where, _DELTAS[kind])
        told.append((b"response.content_part.added", b'%b,"part":%b' % (where, _PARTS[kind] % b"")))
        told.append((b"response.%b.delta" % kind, self._delta % text))
        return told

    def done(self, status: bytes) -> list[Event]:
        """Return what tells its end."""
        told = self._part_done()
        told.append((b"response.output_item.done", b'"output_index":%d,"item":%b' % (self.place, self.json(status))))
        return told

    def _where(self) -> bytes:
        return b'"item_id":"%b","output_index":%d,"content_index":%d' % (self._id, self.place, len(self._parts))

    def _part_done(self) -> list[Event]:
        kind = self._kind
        if not kind:
            return []
        where, text = self._where(), b"".join(self._texts)
        part = _PARTS[kind] % text
        self._parts.append(part)
        self._texts.clear()
        return [
            (b"response.%b.done" % kind, where + _WHOLES[kind] % text),
            (b"response.content_part.done", b'%b,"part":%b' % (where, part)),
        ]


class Call:
    """
    A call of a function.

    Attributes:
        named: its name is known, so that it can be announced.
        call_id: as the upstream knows it.
    """

    __slots__ = ("_delta", "_id", "_name", "_texts", "call_id", "named", "place")

    def __init__(self, position: int, identity: str, call_id: str) -> None:
        self.call_id = call_id
        self.named = False
        self.place = position
        self._id = b"fc_%b%d" % (identity.encode(), position)
        self._name = b'""'
        self._texts: list[bytes] = []
        self._delta = b'"item_id":"%b","output_index":%d,"delta":"%%b"' % (self._id, position)

    @property
    def whole(self) -> bool:
        """Tell whether its arguments are a whole JSON object, so that nothing can follow."""
        text = b"".join(self._texts)
        if not text.endswith(b"}"):
            return False
        try:
            msgspec.json.decode(msgspec.json.decode(b'"%b"' % text, type=str), type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, RecursionError):
            return False
        return True

    def json(self, status: bytes) -> bytes:
        """Return the item as far as it has come."""
        return _CALL % (self._id, status, b"".join(self._texts), _encode(self.call_id), self._name)

    def opened(self, name: str) -> list[Event]:
        """Return what announces it, and what has come of it already."""
        self._name = _encode(name)
        self.named = True
        early = b"".join(self._texts)
        self._texts.clear()
        told = [(b"response.output_item.added", b'"output_index":%d,"item":%b' % (self.place, self.json(_IN_PROGRESS)))]
        return told + (self.added(early) if early else [])

    def added(self, arguments: bytes) -> list[Event]:
        """Return what tells more of its arguments."""
        self._texts.append(arguments)
        return [(b"response.function_call_arguments.delta", self._delta % arguments)] if self.named else []

    def done(self, status: bytes) -> list[Event]:
        """Return what tells its end."""
        rest = (self._id, self.place, b"".join(self._texts), self._name)
        return [
            (
                b"response.function_call_arguments.done",
                b'"item_id":"%b","output_index":%d,"arguments":"%b","name":%b' % rest,
            ),
            (b"response.output_item.done", b'"output_index":%d,"item":%b' % (self.place, self.json(status))),
        ]
