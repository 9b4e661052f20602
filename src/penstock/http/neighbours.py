"""
The listeners of the other workers on the same port. The kernel gives each connection to one listener for good; what
that worker leaves waiting, because it is dead, blocked or draining, is taken by whoever looks first.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from typing import Any

from penstock.http.connection import Connection
from penstock.http.server import Server
from penstock.http.tls import ServerTls

_BEGINNING_S = 0.5  # for handshakes that are under way when this ends
_MOST = 256  # connections that are taken from one listener at one look


class Neighbours:
    """
    Belongs to one server, which serves what is taken. `look` is called from a timer; `close` ends it.

    Args:
        listeners: bound, listening and non-blocking; they belong to this from here on.
    """

    def __init__(self, server: Server, listeners: Iterable[socket.socket], tls: ServerTls | None = None) -> None:
        self._server = server
        self._listeners = list(listeners)
        self._options: dict[str, Any] = {}
        if tls is not None:
            limits = server.limits
            self._options = {"ssl": tls.context, "ssl_handshake_timeout": limits.head_s}
            self._options |= {"ssl_shutdown_timeout": limits.write_s}
        self._beginning: set[asyncio.Task[Any]] = set()

    def look(self) -> None:
        """
        Take what waits, as far as there is room; a full worker would only refuse it.

        Never blocks; where nothing waits, it costs one system call for each listener.
        """
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            room = self._server.limits.max_connections - self._server.connections - len(self._beginning)
            for _ in range(min(_MOST, room)):
                try:
                    connection, _ = listener.accept()
                except OSError:  # nothing waits; or no descriptor is left, and then it waits on
                    break
                connection.setblocking(False)
                beginning = loop.create_task(
                    loop.connect_accepted_socket(
                        lambda: Connection(self._server, loop, False), connection, **self._options
                    )
                )
                self._beginning.add(beginning)
                beginning.add_done_callback(self._begun)

    async def aclose(self) -> None:
        """Take nothing more, and wait until the server knows of what was taken, which is served on."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        if self._beginning:
            await asyncio.wait(self._beginning, timeout=_BEGINNING_S)

    def _begun(self, task: asyncio.Task[Any]) -> None:
        self._beginning.discard(task)
        if not task.cancelled():
            task.exception()  # a client that left or failed in the handshake is nobody's concern
