"""A translation by way of a third dialect, chat completions, where there is none between two directly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from penstock.gateway.dialects import openai
from penstock.gateway.dialects.call import Call
from penstock.gateway.translation.translation import Translation
from penstock.types.dialect import Dialect
from penstock.types.errors import InvalidRequest
from penstock.types.usage import Usage


class Chain:
    """
    See `Translation`. A pair of dialects that needs two steps is a subclass that names them.

    Attributes:
        near: from the client's dialect to chat completions.
        far: from chat completions to the upstream's dialect.
        names: what the client calls the fields of chat completions that have another name in its dialect.
    """

    near: ClassVar[type[Translation]]
    far: ClassVar[type[Translation]]
    names: ClassVar[Mapping[str, str]] = {}

    usage: Usage | None
    dropped: tuple[str, ...]

    def __init__(self, call: Call, model: str, cap_name: str, capped: bool) -> None:
        self.usage = None
        self._near = self.near(call, model, cap_name, capped)
        self.dropped = self._near.dropped
        self._far: Translation | None = None
        self._model = model
        self._cap_name = cap_name
        self._capped = capped

    def request(self) -> bytes:
        """See `Translation`."""
        between = self._near.request()
        try:
            call = openai.parse(Dialect.CHAT, between)
            self._far = self.far(call, self._model, self._cap_name, self._capped)
            body = self._far.request()
        except InvalidRequest as error:
            raise InvalidRequest(str(error), param=self._clients_name(error.param), code=error.code) from error
        added = (self._clients_name(name) for name in self._far.dropped)
        self.dropped = tuple(dict.fromkeys([*self._near.dropped, *(name for name in added if name)]))
        return body

    def reply(self, body: bytes) -> bytes:
        """See `Translation`."""
        return self._near.reply(self._between(lambda far: far.reply(body)))

    def events(self, whole: bytes) -> bytes:
        """See `Translation`."""
        between = self._between(lambda far: far.events(whole))
        return self._near.events(between) if between else b""

    def end(self) -> bytes:
        """See `Translation`."""
        between = self._between(lambda far: far.end())
        return (self._near.events(between) if between else b"") + self._near.end()

    def _between(self, step: Callable[[Translation], bytes]) -> bytes:
        """Return what a step of the translation nearer to the upstream gives, and take over the usage it knows then."""
        far = self._far
        assert far is not None, "the request comes first"
        try:
            return step(far)
        finally:
            self.usage = far.usage

    def _clients_name(self, param: str | None) -> str | None:
        """Return what the client calls a field; where what is inside is another's, the field as a whole."""
        if param is None:
            return None
        field = param.partition(".")[0].partition("[")[0]
        return self.names.get(field, param)
