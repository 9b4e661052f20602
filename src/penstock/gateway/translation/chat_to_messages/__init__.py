"""The client speaks OpenAI's chat, the upstream Anthropic's messages."""

from __future__ import annotations

import time

from penstock.gateway.dialects.call import Call
from penstock.gateway.translation.chat_to_messages import reply, request
from penstock.gateway.translation.chat_to_messages.stream import Stream
from penstock.types.usage import Usage


class ChatToMessages:
    """See `Translation`. A cap is always put in where the client set none, for Anthropic asks for one."""

    __slots__ = ("_call", "_created", "_model", "_stream", "dropped", "usage")

    def __init__(self, call: Call, model: str, cap_name: str, capped: bool) -> None:  # noqa: ARG002 - of `Translation`
        self.dropped: tuple[str, ...] = ()
        self.usage: Usage | None = None
        self._call = call
        self._model = model
        self._created = int(time.time())
        self._stream = Stream(model, self._created, call.usage_wanted)

    def request(self) -> bytes:
        """See `Translation.request`."""
        body, self.dropped = request.translated(self._call, self._model)
        return body

    def reply(self, body: bytes) -> bytes:
        """See `Translation.reply`."""
        made, self.usage = reply.translated(body, self._created)
        return made

    def events(self, whole: bytes) -> bytes:
        """See `Translation.events`."""
        out = self._stream.events(whole)
        self.usage = self._stream.usage
        return out

    def end(self) -> bytes:
        """See `Translation.end`."""
        return self._stream.end()
