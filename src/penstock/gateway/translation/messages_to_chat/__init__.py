"""The client speaks Anthropic's messages, the upstream OpenAI's chat."""

from __future__ import annotations

import msgspec

from penstock.gateway.dialects.call import Call
from penstock.gateway.translation.messages_to_chat import reply, request
from penstock.gateway.translation.messages_to_chat.stream import Stream
from penstock.types.usage import Usage

_decode_stops = msgspec.json.Decoder(list[str] | None).decode


class MessagesToChat:
    """See `Translation`."""

    __slots__ = ("_call", "_cap_name", "_capped", "_model", "_stops", "_stream", "dropped", "usage")

    def __init__(self, call: Call, model: str, cap_name: str, capped: bool) -> None:
        self.usage: Usage | None = None
        self.dropped: tuple[str, ...] = ()
        self._call = call
        self._model = model
        self._cap_name = cap_name
        self._capped = capped
        self._stops = _stops_of(call)
        self._stream = Stream(model, self._stops)

    def request(self) -> bytes:
        """See `Translation.request`."""
        body, self.dropped = request.translated(self._call, self._model, self._cap_name, capped=self._capped)
        return body

    def reply(self, body: bytes) -> bytes:
        """See `Translation.reply`."""
        made, self.usage = reply.translated(body, self._model, self._stops)
        return made

    def events(self, whole: bytes) -> bytes:
        """See `Translation.events`."""
        out = self._stream.events(whole)
        self.usage = self._stream.usage
        return out

    def end(self) -> bytes:
        """See `Translation.end`."""
        return self._stream.end()


def _stops_of(call: Call) -> list[str]:
    """Return the client's stop sequences; `request` complains where they are malformed."""
    try:
        return _decode_stops(call.document.fields.get("stop_sequences", b"null")) or []
    except msgspec.DecodeError:
        return []
