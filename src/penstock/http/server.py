"""
The HTTP/1.1 server: listeners, the sweep that enforces time limits, and draining.

`Server(handler, refuse)` serves sockets that somebody else has bound. The handler answers each request; `refuse` says
how an error that needs no handler (a malformed head, a slow body) is answered in the shape the clients expect.
"""

from __future__ import annotations

import asyncio
import select
import socket
import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from penstock.http.connection import Connection, Handler, Refusal
from penstock.http.limits import Limits
from penstock.http.request import Request
from penstock.http.responder import Responder
from penstock.http.tls import ServerTls
from penstock.types.errors import ExchangeError

__all__ = ["Handler", "Refusal", "Request", "Responder", "Server"]

SWEEP_S = 0.5
_BACKLOG = 4096
_LAST_WORD_S = 1.0  # what clients get to take the last word of a handler that is cancelled at the end of a drain
_CLEAN_UP_S = 5.0  # what cancelled handlers get at the end of a drain
_ENDED = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class Server:
    """
    One per worker process, used from one event loop. `drain` ends it.

    `clock` gives seconds and defaults to the loop's time; tests pass one they move.
    """

    def __init__(
        self,
        handler: Handler,
        refuse: Callable[[ExchangeError], Refusal],
        limits: Limits = Limits(),  # noqa: B008  frozen, so it can be shared
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.handler = handler
        self.refuse = refuse
        self.limits = limits
        self.clock = clock or time.monotonic
        self.draining = False
        self.lines = self.last_lines = b""
        self._stamp()
        self._listeners: list[asyncio.AbstractServer] = []
        self._tls: list[ServerTls] = []
        self._connections: set[Connection] = set()
        self._empty = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    @property
    def active(self) -> int:
        """How many of them have a request in progress."""
        return sum(connection.busy for connection in self._connections)

    async def listen(self, sock: socket.socket, *, local: bool = False, tls: ServerTls | None = None) -> None:
        """
        Serve a bound and listening socket, TCP or Unix; it belongs to the server from here on.

        May be called for several. `local` is passed on with each request; `tls` is for TCP and Unix alike.
        """
        loop = asyncio.get_running_loop()

        def accept() -> Connection:
            return Connection(self, loop, local)

        unix = sock.family == socket.AF_UNIX
        options: dict[str, Any] = {"sock": sock, "backlog": _BACKLOG}
        if tls is not None:
            options |= {"ssl": tls.context, "ssl_handshake_timeout": self.limits.head_s}
            options |= {"ssl_shutdown_timeout": self.limits.write_s}
        if unix and sys.version_info >= (3, 13):
            options["cleanup_socket"] = False  # the path is still served by whoever else has the socket
        listener = await (loop.create_unix_server if unix else loop.create_server)(accept, **options)
        self._listeners.append(listener)
        if tls is not None and tls not in self._tls:
            self._tls.append(tls)
        if self._timer is None:
            self._timer = loop.call_later(SWEEP_S, self._tick)

    def sweep(self) -> None:
        """Enforce all time limits, notice peers that left behind unread input, look for renewed certificates."""
        self._stamp()
        now = self.clock()
        for connection in tuple(self._connections):
            connection.check(now)
        self._notice_ends()
        for tls in self._tls:
            tls.reload_if_changed()

    async def drain(self, limit_s: float, resting_s: float = 0.0) -> int:
        """
        Accept no more, close idle connections, let answers in progress end for `limit_s` seconds, then cut them.

        Args:
            resting_s: how long idle connections stay open first, for a client may be sending its next request just now.
                Such a request is answered, and its connection ends with the answer.

        Returns:
            How many answers were cut: not complete, or not taken by the client.
        """
        self.draining = True
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        await asyncio.sleep(0)  # what has just been accepted begins
        resting_s = min(resting_s, limit_s)
        await self._emptied(resting_s)
        for connection in tuple(self._connections):
            connection.retire()
        await self._emptied(limit_s - resting_s)
        cut = sum(connection.busy or connection.waiting > 0 for connection in self._connections)
        for connection in tuple(self._connections):
            connection.end()
        await self._emptied(_LAST_WORD_S)
        for connection in tuple(self._connections):
            connection.abort()
        await self._emptied(_CLEAN_UP_S)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return cut

    def admit(self, connection: Connection) -> bool:
        """Count a new connection; False when there are too many."""
        if len(self._connections) >= self.limits.max_connections:
            return False
        self._connections.add(connection)
        self._empty.clear()
        return True

    def forget(self, connection: Connection) -> None:
        """A connection has closed and its task has ended."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    async def _emptied(self, limit_s: float) -> None:
        if not self._connections:
            return
        try:
            async with asyncio.timeout(limit_s):
                await self._empty.wait()
        except TimeoutError:
            return

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._tick)
        self.sweep()

    def _stamp(self) -> None:
        self.lines = f"date: {formatdate(usegmt=True)}\r\n".encode()
        self.last_lines = self.lines + b"connection: close\r\n"

    def _notice_ends(self) -> None:
        """Ask the kernel about connections whose input is held back: it reports an end even behind unread bytes."""
        blind = {connection.descriptor(): connection for connection in self._connections if connection.blind}
        blind.pop(-1, None)
        if not blind:
            return
        poll = select.poll()
        for descriptor in blind:
            poll.register(descriptor, select.POLLRDHUP)
        for descriptor, events in poll.poll(0):
            if events & _ENDED:
                blind[descriptor].abort()
