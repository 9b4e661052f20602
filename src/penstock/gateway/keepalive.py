"""
What a client hears while nothing has come for it yet.

After `commit_after` of silence the status line of a stream goes out with a comment, and a comment after each further
silence, so that no proxy on the way gives up. From then on failures are told in-band. The silence is that of the whole
exchange: waiting for a replica, for an upstream's head, for its first content, or for another deployment.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from penstock.gateway.dialects import events
from penstock.gateway.exchange import Exchange

_OK = 200
HEADERS = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"


class KeepAlive:
    """
    Breaks the silence of one streamed exchange for as long as its block lasts, or until `commit`.

    For exchanges that are not streamed it does nothing.
    """

    __slots__ = ("_after_s", "_exchange", "_timer")

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._after_s = exchange.view.settings.commit_after_s
        self._timer: asyncio.TimerHandle | None = None

    def commit(self) -> None:
        """Begin the answer, unless that has happened: content is there."""
        self._stop()
        exchange = self._exchange
        if not exchange.responder.started:
            exchange.account.status = _OK
            exchange.responder.start(_OK, exchange.headers() + HEADERS)

    def _break_silence(self) -> None:
        exchange = self._exchange
        if not exchange.responder.started:
            exchange.account.status = _OK
            exchange.account.explain("stream", f"200 and comments after {self._after_s:g} s of silence")
            exchange.responder.start(_OK, exchange.headers() + HEADERS)
        exchange.responder.put(events.KEEP_ALIVE)
        self._timer = asyncio.get_running_loop().call_later(self._after_s, self._break_silence)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __enter__(self) -> None:
        if self._exchange.call.stream:
            self._timer = asyncio.get_running_loop().call_later(self._after_s, self._break_silence)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
