"""
The connections to one upstream: kept warm, bounded, each used by one exchange at a time.

    with await pool.request(b"POST", b"/chat/completions", headers, body, timeouts) as reply:
        while data := await reply.chunk():
            ...

Leaving the block gives the connection back when the reply has come to its end, and cuts it otherwise, which is how an
abandoned stream frees the upstream. A process calls `sweep` of all its pools from one timer; deadlines are as exact as
that timer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import msgspec

from penstock.http.dial import Dialer, authority_of, name_of
from penstock.http.names import Resolve
from penstock.http.proxy import parse_proxy
from penstock.http.upstream import NEVER, Connection, Taker
from penstock.types.address import Address
from penstock.types.errors import NoCapacity, UpstreamFailed, UpstreamUnreachable, UpstreamUnusable


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """
    In seconds; None means no limit.

    Attributes:
        connect_s: for name, connection, proxy and TLS together.
        first_byte_s: from the request being written (or its last piece that the upstream took) to the first byte of
            the reply's head.
        head_s: from the call to the end of the reply's head, whatever it is spent on.
        idle_s: silence between bytes of the reply, while the reader waits for them.
        total_s: from the call to the last byte.
    """

    connect_s: float | None = 5.0
    first_byte_s: float | None = 60.0
    head_s: float | None = None
    idle_s: float | None = 60.0
    total_s: float | None = 600.0


class Reply:
    """
    A reply whose head is there and whose body arrives. Made by `Pool.request`; an async context manager.

    Attributes:
        headers: names in lower case, repeated ones joined by a comma.
        reused: it came over a connection that had served before.
    """

    __slots__ = ("_connection", "_give_back", "_name", "headers", "reused", "status")

    def __init__(self, connection: Connection, give_back: Callable[[Connection], None], reused: bool) -> None:
        self.status, self.headers = connection.head
        self.reused = reused
        self._name = connection.name
        self._connection: Connection | None = connection
        self._give_back = give_back

    async def chunk(self, taker: Taker | None = None) -> bytes:
        """
        Wait for the next bytes of the body, as they arrived; what had been waiting comes joined.

        Args:
            taker: is called with bytes that come while this waits. What it takes is not returned, and costs no turn of
                the task that waits.
        Returns:
            b"" at the end of the body.
        Raises:
            UpstreamFailed: the body was cut or malformed, or the reply is closed; all before it was handed out.
            UpstreamTimeout: likewise.
        """
        while connection := self._connection:
            data = connection.take()
            if data is not None:
                return data
            await connection.more(taker)
        raise UpstreamFailed(self._closed())

    async def read(self, limit: int) -> bytes:
        """
        Read the whole body.

        Raises:
            UpstreamFailed: as `chunk`.
            UpstreamUnusable: the body is over `limit` bytes.
            UpstreamTimeout: as `chunk`.
        """
        chunks: list[bytes] = []
        size = 0
        while connection := self._connection:
            data = connection.take()
            if data is None:
                await connection.more(None)
                continue
            size += len(data)
            if size > limit:
                raise UpstreamUnusable(f"The answer of the {self._name} is over {limit} bytes.")
            if not data:
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)
            chunks.append(data)
        raise UpstreamFailed(self._closed())

    def _closed(self) -> str:
        return f"The answer of the {self._name} was closed on our side."

    def close(self) -> None:
        """Give the connection back if the reply has come to its end, else cut it. May be repeated."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._give_back(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Pool:
    """
    Belongs to one event loop. Must be closed.

    Attributes:
        host: what the `host` line says.
    """

    def __init__(
        self,
        address: Address,
        *,
        max_connections: int = 1024,
        max_idle: int = 64,
        idle_s: float = 30.0,
        clock: Callable[[], float] | None = None,
        proxy: str | None = None,
        resolve: Resolve | None = None,
    ) -> None:
        """
        Args:
            max_connections: requests at a time; one more gets NoCapacity.
            max_idle: connections that are kept for later.
            idle_s: for how long; shorter than the upstream keeps them is best.
            clock: seconds, monotonic; the deadlines of everything but connecting follow it.
            proxy: URL, see `penstock.http.proxy.proxy_for`.
            resolve: how names are looked up, if not by the loop.
        Raises:
            StartError: the proxy is not one that we can speak to.
        """
        self._name = name_of(address)
        self._max_connections = max_connections
        self._max_idle = max_idle
        self._idle_s = idle_s
        self._clock = clock or time.monotonic
        by = None if proxy is None or address.unix is not None else parse_proxy(proxy)
        self._dialer = Dialer(address, by, self._clock, self._retire, resolve)
        authority = authority_of(address)
        host = authority.rpartition(b":")[0] if address.port in (0, 443 if address.tls else 80) else authority
        self.host = host
        self._prefix = address.path.encode()
        self._lines = b"host: %b\r\n" % host
        if by is not None and not address.tls:  # a plain upstream: the proxy forwards what is asked in absolute form
            self._prefix = b"http://%b%b" % (host, self._prefix)
            self._lines += by.authorization
        self._open: set[Connection] = set()
        self._idle: dict[Connection, float] = {}  # since when; the longest idle first
        self._busy = 0
        self._closed = False
        self._emptied: asyncio.Future[None] | None = None

    @property
    def idle(self) -> int:
        """Connections that wait for a request."""
        return len(self._idle)

    @property
    def busy(self) -> int:
        """Requests in progress: connecting, waiting, or with a reply that is not closed yet."""
        return self._busy

    async def request(self, method: bytes, target: bytes, headers: bytes, body: bytes, timeouts: Timeouts) -> Reply:
        """
        Send a request and wait for the head of its reply. Interim replies (1xx) are skipped.

        A request that meets a kept connection which the upstream had meanwhile closed is sent once more, on a fresh
        one; no other is ever sent twice.

        Args:
            target: what follows the path of the address; as it is sent, so without spaces or line ends.
            headers: whole lines `name: value\\r\\n`. `host` and `content-length` are added.
        Raises:
            NoCapacity: `max_connections` requests are in progress.
            UpstreamUnreachable: no connection could be made; the upstream has not seen the request.
            UpstreamFailed: the connection broke, or the reply was malformed.
            UpstreamTimeout: a deadline passed.
        """
        if self._closed:
            raise UpstreamUnreachable(f"The {self._name} is no longer used.")
        if self._busy >= self._max_connections:
            raise NoCapacity(
                f"The {self._name} has {self._busy} requests in progress, as many as it may.", retry_after=1.0
            )
        no_body = method == b"HEAD"
        length = b"" if not body and (no_body or method == b"GET") else b"content-length: %d\r\n" % len(body)
        head = b"%b %b%b HTTP/1.1\r\n%b%b%b\r\n" % (method, self._prefix, target, self._lines, headers, length)
        now = self._clock()
        deadlines = (
            NEVER if timeouts.first_byte_s is None else timeouts.first_byte_s,
            NEVER if timeouts.idle_s is None else timeouts.idle_s,
            NEVER if timeouts.head_s is None else now + timeouts.head_s,
            NEVER if timeouts.total_s is None else now + timeouts.total_s,
        )
        self._busy += 1
        connection = self._take(now)
        reused = connection is not None
        try:
            if connection is None:
                connection = await self._connect(timeouts)
            while not (connection.ask(head, body, no_body, *deadlines) and await connection.answered(body)):
                if not reused:
                    raise connection.error()
                reused = False
                connection = await self._connect(timeouts)
        except BaseException:  # cancellation too: nothing of an unfinished exchange may stay
            self._busy -= 1
            if connection is not None:
                connection.cut()
            raise
        return Reply(connection, self._give_back, reused)

    def sweep(self) -> None:
        """Enforce the deadlines of what is in progress, close what idled too long, look names up again."""
        now = self._clock()
        for connection in [connection for connection in self._open if connection.due <= now]:
            connection.expire(now)
        for connection, since in list(self._idle.items()):
            if connection.idle and now - since < self._idle_s:
                break
            del self._idle[connection]
            connection.close()
        if self._open:
            self._dialer.refresh()

    async def aclose(self) -> None:
        """Close everything and wait until it is gone, a second at most; requests in progress fail."""
        self._closed = True
        for connection in self._open:
            if connection.idle:
                connection.close()
            else:
                connection.cut()
        self._idle.clear()
        await self._dialer.aclose()
        if self._open:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied

    def _take(self, now: float) -> Connection | None:
        """The kept connection that was used last, if there is a good one."""
        while self._idle:
            connection, since = self._idle.popitem()
            if connection.idle and now - since < self._idle_s:
                return connection
            connection.close()
        return None

    async def _connect(self, timeouts: Timeouts) -> Connection:
        limits = [limit for limit in (timeouts.connect_s, timeouts.head_s, timeouts.total_s) if limit is not None]
        connection = await self._dialer.dial(self._make, min(limits, default=None))
        if self._closed:
            connection.cut()
            raise UpstreamUnreachable(f"The {self._name} is no longer used.")
        if connection.idle:  # else it was lost again already, which `send` will find
            self._open.add(connection)
        return connection

    def _make(self) -> Connection:
        return Connection(self._name, self._clock, self._forget)

    def _give_back(self, connection: Connection) -> None:
        self._busy -= 1
        if connection.reusable and len(self._idle) < self._max_idle and not self._closed:
            connection.rest()
            self._idle[connection] = self._clock()
        else:
            connection.cut()

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._idle.pop(connection, None)
        if not self._open and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def _retire(self, addresses: frozenset[str]) -> None:
        """The name has other addresses now: leave connections to former ones when they are free."""
        for connection in self._open:
            connection.retired = connection.peer not in addresses
        for connection in [connection for connection in self._idle if connection.retired]:
            del self._idle[connection]
            connection.close()
