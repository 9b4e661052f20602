"""The IP addresses of one host, resolved again as they grow old."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from penstock.types.errors import UpstreamUnreachable

FRESH_S: Final = 30.0
"""How long an answer of the resolver is used."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""From host and port to IP addresses in order of preference; raises OSError when there is none."""


async def resolve_with_loop(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver, outside the loop's thread. Raises `socket.gaierror`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Names:
    """
    Belongs to one pool. However many connections are being made, one query runs at a time.

    An IP address is its own answer and is never looked up.
    """

    def __init__(
        self,
        host: str,
        port: int,
        clock: Callable[[], float],
        changed: Callable[[frozenset[str]], None],
        resolve: Resolve | None = None,
    ) -> None:
        """
        Args:
            changed: called with all current addresses after a query whose answer differs from the one before.
        """
        self._host = host
        self._port = port
        self._clock = clock
        self._changed = changed
        self._resolve = resolve or resolve_with_loop
        self._addresses: tuple[str, ...] = ()
        self._fresh_until = self._ask_at = float("-inf")
        self._problem: Exception | None = None
        self._query: asyncio.Task[None] | None = None
        try:
            self._addresses = (str(ipaddress.ip_address(host)),)
            self._fresh_until = self._ask_at = float("inf")
        except ValueError:
            pass  # a name

    async def addresses(self) -> tuple[str, ...]:
        """
        Give the addresses, at most `FRESH_S` old.

        Raises:
            UpstreamUnreachable: the name has none.
        """
        if self._clock() >= self._fresh_until:
            # Not awaited itself: this caller's cancellation must not end a query that others wait for, nor the reverse.
            await asyncio.wait((self._start(),))
            if self._problem is not None:
                raise UpstreamUnreachable(f"The name {self._host} could not be resolved.") from self._problem
        if not self._addresses:
            raise UpstreamUnreachable(f"The name {self._host} has no address.")
        return self._addresses

    def refresh(self) -> None:
        """Start a query if the last one was too long ago, without waiting for it."""
        if self._clock() >= self._ask_at:
            self._start()

    async def aclose(self) -> None:
        """End a query in progress."""
        if self._query is not None:
            self._query.cancel()
            await asyncio.wait((self._query,))

    def _start(self) -> asyncio.Task[None]:
        if self._query is None or self._query.done():
            self._query = asyncio.get_running_loop().create_task(self._ask(), name=f"resolve {self._host}")
        return self._query

    async def _ask(self) -> None:
        self._ask_at = self._clock() + FRESH_S
        try:
            found = tuple(dict.fromkeys(await self._resolve(self._host, self._port)))
        except (OSError, UnicodeError) as error:  # UnicodeError: not a host name at all
            self._problem = error.with_traceback(None)
            self._fresh_until = float("-inf")
            return
        self._problem = None
        self._fresh_until = self._clock() + FRESH_S
        if found != self._addresses:
            self._addresses = found
            self._changed(frozenset(found))
