"""
Clients that speak OpenAI's Responses in front of upstreams that speak chat completions, as most engines do.

Nothing is kept between requests, so what would need that is refused; nothing is told of a stream before its first
content, so that until then another deployment may answer. A whole reply is put together by the same steps as a stream.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.gateway.dialects import errors, events
from penstock.gateway.dialects.call import Call
from penstock.gateway.dialects.usage import reported
from penstock.gateway.translation.responses import answer, request
from penstock.gateway.translation.responses.items import Event
from penstock.gateway.translation.responses.output import Output
from penstock.gateway.translation.responses.response import Response, outcome
from penstock.types.errors import UpstreamFailed, UpstreamUnusable
from penstock.types.usage import Usage

_BROKEN = frozenset({"abort", "error"})
"""Finish reasons by which vLLM, SGLang and OpenRouter tell that they failed."""

CLIENTS_NAMES: Mapping[str, str] = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning",
    "response_format": "text",
    "verbosity": "text",
}
"""What Responses call the fields of chats that they have by another name."""

_UNREADABLE = "the upstream sent an event that cannot be read"


class ResponsesToChat:
    """See `Translation`."""

    usage: Usage | None
    dropped: tuple[str, ...]

    def __init__(self, call: Call, model: str, cap_name: str, capped: bool) -> None:
        self.usage = None
        self.dropped = request.dropped(call)
        self._call = call
        self._model = model
        self._cap_name = cap_name
        self._capped = capped
        self._response = Response(call)
        self._output = Output(self._response.identity)
        self._number = 0  # of the next event
        self._finish_reason: str | None = None
        self._over = False

    def request(self) -> bytes:
        """See `Translation`."""
        return request.translated(self._call, self._model, self._cap_name, self._capped)

    def reply(self, body: bytes) -> bytes:
        """See `Translation`."""
        try:
            found = answer.read(body)
        except ValueError as error:
            raise UpstreamUnusable("the upstream's reply is not a chat completion") from error
        if found.failed:
            raise UpstreamUnusable("the upstream's reply is an error in spite of its status 200")
        choice = next(iter(found.choices or ()), None)
        if choice is None or choice.message is None:
            raise UpstreamUnusable("the upstream's reply has no message")
        if choice.finish_reason in _BROKEN:
            raise UpstreamUnusable("the upstream told that it failed")
        self.usage = reported(body)
        self._response.learn(found)
        for index, part in enumerate(choice.message.tool_calls or ()):
            part.index = index
        status, reason = outcome(choice.finish_reason)
        try:
            self._output.take(choice.message)
            self._output.close(status.encode())
        except ValueError as error:
            raise UpstreamUnusable(f"the upstream's reply cannot be translated: {error}") from error
        return self._response.json(status, reason, self._output.items(), self.usage)

    def events(self, whole: bytes) -> bytes:
        """See `Translation`."""
        return b"".join([self._event(event) for event in events.split(whole)])

    def end(self) -> bytes:
        """See `Translation`."""
        if self._over:
            return b""
        if self._finish_reason is None:
            raise UpstreamFailed("the upstream's stream was cut off")
        return self._completed()

    def _event(self, event: bytes) -> bytes:
        data = events.data_of(event)
        if self._over or not data:
            return b""
        if not data.lstrip().startswith(b"{"):
            return self._completed() if data.strip() == b"[DONE]" else b""
        try:
            found = answer.read(data)
        except ValueError as error:
            raise UpstreamFailed(_UNREADABLE) from error
        if found.failed:
            raise errors.in_band(data)
        if b'"prompt_tokens"' in data:
            self.usage = reported(data, self.usage) or self.usage
        told: list[Event] = []
        for choice in found.choices or ():
            if choice.index:
                continue  # one answer was asked for
            if choice.finish_reason in _BROKEN:
                raise UpstreamFailed("the upstream told that it failed")
            self._finish_reason = choice.finish_reason or self._finish_reason
            if choice.delta is not None:
                try:
                    told += self._output.take(choice.delta)
                except ValueError as error:
                    raise UpstreamFailed(f"the upstream's stream cannot be translated: {error}") from error
        if not self._number:
            self._response.learn(found)
        return self._begun() + self._told(told) if told else b""

    def _begun(self) -> bytes:
        """Return what is told before anything else, once."""
        if self._number:
            return b""
        begun = b'"response":' + self._response.json("in_progress", None, [], None)
        return self._told([(b"response.created", begun), (b"response.in_progress", begun)])

    def _completed(self) -> bytes:
        """Return the end of everything."""
        status, reason = outcome(self._finish_reason)
        begun = self._begun()
        try:
            told = self._output.close(status.encode())
        except ValueError as error:
            raise UpstreamFailed(f"the upstream's stream cannot be translated: {error}") from error
        whole = self._response.json(status, reason, self._output.items(), self.usage)
        self._over = True
        return begun + self._told([*told, (b"response." + status.encode(), b'"response":' + whole)])

    def _told(self, told: list[Event]) -> bytes:
        number = self._number
        self._number += len(told)
        return b"".join(
            [
                b'event: %b\ndata: {"type":"%b","sequence_number":%d,%b}\n\n' % (kind, kind, at, members)
                for at, (kind, members) in enumerate(told, number)
            ]
        )
