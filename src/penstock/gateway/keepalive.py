"""
What a client hears while nothing comes for it.

After `commit_after` of silence the status line of a stream goes out with a comment, and a comment after each further
silence, so that no proxy on the way gives up. From then on failures are told in-band. The silence is that of the whole
exchange: waiting for a replica, for an upstream's head, for its first content, for another deployment, or for the next
event. Only whole events are relayed, so a comment never falls into one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from penstock.gateway.dialects import events
from penstock.gateway.exchange import Exchange

_OK = 200
HEADERS = b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"


class KeepAlive:
    """
    Breaks the silences of one streamed exchange for as long as its block lasts; what another one before it has counted
    of the silence goes on in it.

    It has one timer, which is not set anew for what is sent: when it is due, it looks how long ago that was.

    Attributes:
        spoke: clock time at which the client was last sent something; set by whoever sends it.
    """

    __slots__ = ("_after_s", "_clock", "_exchange", "_timer", "spoke")

    def __init__(self, exchange: Exchange, clock: Callable[[], float]) -> None:
        self._exchange = exchange
        self._after_s = exchange.view.settings.commit_after_s
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self.spoke = 0.0

    def commit(self) -> None:
        """Begin the answer, unless that has happened: content is there."""
        exchange = self._exchange
        self.spoke = self._clock()
        if not exchange.responder.started:
            exchange.account.status = _OK
            exchange.responder.start(_OK, exchange.headers() + HEADERS)

    def _look(self) -> None:
        exchange, responder = self._exchange, self._exchange.responder
        if responder.ended:
            return
        now = self._clock()
        left = self.spoke + self._after_s - now
        if left <= 0:
            if not responder.started:
                exchange.account.explain("stream", f"200 and comments after {self._after_s:g} s of silence")
                self.commit()
            responder.put(events.KEEP_ALIVE)
            self.spoke = now
            left = self._after_s
        self._timer = asyncio.get_running_loop().call_later(left, self._look)

    def __enter__(self) -> Self:
        now = self._clock()
        self.spoke = self._exchange.spoke or now
        self._timer = asyncio.get_running_loop().call_later(max(0.0, self.spoke + self._after_s - now), self._look)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exchange.spoke = self.spoke
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
