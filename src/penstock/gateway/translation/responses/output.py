"""
The output of a response, put together from the messages of a chat or the parts of one.

An item is ended when another begins, as OpenAI does it. Only a call whose arguments are not whole by then stays open:
some upstreams tell the arguments of several calls by turns.
"""

from __future__ import annotations

import msgspec

from penstock.gateway.translation.responses.answer import Message, ToolCall, arguments_of, text_of
from penstock.gateway.translation.responses.items import REFUSAL, TEXT, THOUGHTS, Call, Content, Event

MAX_OUTPUT = 16 * 1024 * 1024  # bytes that are kept of an answer, since its last events repeat it
_ITEM_BYTES = 1024  # what an item counts beside its text

_COMPLETED = b"completed"
_decode_text = msgspec.json.Decoder(str).decode


class Output:
    """Belongs to one answer."""

    __slots__ = ("_by_index", "_call_ids", "_calls", "_content", "_count", "_done", "_identity", "_kept", "_latest")

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._count = 0
        self._kept = 0
        self._content: Content | None = None  # the one that is open
        self._calls: dict[int, Call] = {}  # those that are open, by their place in the output
        self._by_index: dict[int, int] = {}  # their places by the index that the upstream gives them
        self._latest: int | None = None  # the place of the call that began last
        self._call_ids: dict[str, int] = {}
        self._done: dict[int, msgspec.Raw] = {}

    def take(self, message: Message) -> list[Event]:
        """
        Return what is told on a message, or a part of one.

        Raises:
            ValueError: it contradicts what came before, or all of it is longer than 16 MiB.
        """
        told: list[Event] = []
        if thoughts := text_of(message.reasoning_content) or text_of(message.reasoning):
            told += self._say(THOUGHTS, thoughts)
        if text := text_of(message.content):
            told += self._say(TEXT, text)
        if refusal := text_of(message.refusal):
            told += self._say(REFUSAL, refusal)
        for part in message.tool_calls or ():
            told += self._call(part)
        return told

    def close(self, status: bytes) -> list[Event]:
        """
        Return what ends everything that is open.

        Args:
            status: `incomplete` where the answer is cut short.
        Raises:
            ValueError: a call has no name.
        """
        told = self._close_content(status)
        for place, call in list(self._calls.items()):
            told += self._close_call(place, _COMPLETED if call.whole else status)
        return told

    def items(self) -> list[msgspec.Raw]:
        """Return the items that were ended, in the order they began."""
        return [self._done[place] for place in sorted(self._done)]

    def _say(self, kind: bytes, text: bytes) -> list[Event]:
        self._keep(len(text))
        content = self._content
        if content is not None and content.thought == (kind is THOUGHTS):
            return content.added(kind, text)
        place, told = self._begin()
        self._content = content = Content(place, self._identity, thought=kind is THOUGHTS)
        return told + content.opened() + content.added(kind, text)

    def _call(self, part: ToolCall) -> list[Event]:
        name = part.function.name if part.function is not None else None
        arguments = arguments_of(part.function)
        self._keep(len(arguments))
        place, told = self._place_of(part, name), list[Event]()
        if place is None:
            place, told = self._begin()
            known = bool(part.id) and part.id not in self._call_ids
            call_id = part.id if part.id and known else f"call_{self._identity}{place}"
            self._call_ids[part.id or call_id] = place
            self._calls[place] = Call(place, self._identity, call_id)
            self._latest = place
            if part.index is not None:
                self._by_index[part.index] = place
        call = self._calls.get(place)
        if call is None:
            if _decode_text(b'"%b"' % arguments).strip():
                raise ValueError("the arguments of a call go on behind their end")
            return told
        if arguments:
            told += call.added(arguments)
        if name and not call.named:
            told += call.opened(name)
        return told

    def _place_of(self, part: ToolCall, name: str | None) -> int | None:
        """Return the place of the call that a part belongs to, None for a new one."""
        place = self._latest if part.index is None else self._by_index.get(part.index)
        if name and (part.id or part.index is None) and self._call_ids.get(part.id or "") != place:
            return None  # engines exist that give all calls the same index, or none
        return place

    def _begin(self) -> tuple[int, list[Event]]:
        """Return the place of a new item, and what ends those before it."""
        self._keep(_ITEM_BYTES)
        told = self._close_content(_COMPLETED)
        latest = self._latest
        if latest is not None and (call := self._calls.get(latest)) is not None and call.named and call.whole:
            told += self._close_call(latest, _COMPLETED)
        place = self._count
        self._count += 1
        return place, told

    def _close_content(self, status: bytes) -> list[Event]:
        content, self._content = self._content, None
        if content is None:
            return []
        told = content.done(status)
        self._done[content.place] = msgspec.Raw(content.json(status))
        return told

    def _close_call(self, place: int, status: bytes) -> list[Event]:
        call = self._calls.pop(place)
        if not call.named:
            raise ValueError("a call has no name")
        self._done[place] = msgspec.Raw(call.json(status))
        return call.done(status)

    def _keep(self, size: int) -> None:
        self._kept += size
        if self._kept > MAX_OUTPUT:
            raise ValueError("the answer is longer than 16 MiB")
