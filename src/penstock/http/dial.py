"""Making a connection to an upstream: TCP, TLS and Unix sockets, directly or through a proxy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final

from penstock.http.client_tls import client_context
from penstock.http.names import Names, Resolve
from penstock.http.proxy import Proxy, Tunnel
from penstock.http.upstream import Connection
from penstock.types.address import Address
from penstock.types.errors import UpstreamUnreachable

_GOODBYE_S: Final = 1.0
"""How long a TLS connection that we close may wait for the other side's goodbye."""


class Dialer:
    """Belongs to one pool; knows the way to its upstream."""

    def __init__(
        self,
        address: Address,
        proxy: Proxy | None,
        clock: Callable[[], float],
        moved: Callable[[frozenset[str]], None],
        resolve: Resolve | None = None,
    ) -> None:
        """
        Args:
            moved: called with the current IP addresses (of the proxy, if there is one) when they have changed.
        """
        self._address = address
        self._proxy = proxy
        self._context: ssl.SSLContext | None = None
        self._name = name_of(address)
        first = proxy or address
        self._host, self._port = first.host, first.port
        self._names = None if address.unix is not None else Names(self._host, self._port, clock, moved, resolve)

    async def dial(self, make: Callable[[], Connection], limit_s: float | None) -> Connection:
        """
        Connect; when a name has several addresses, try one after the other.

        Raises:
            UpstreamUnreachable: with the reason in its sentence.
        """
        try:
            async with asyncio.timeout(limit_s):
                if self._address.tls and self._context is None:
                    self._context = await self._trust()
                if self._names is None:
                    return await self._attempt("", make, None)
                addresses = await self._names.addresses()
                share_s = None if limit_s is None else limit_s / len(addresses)
                for ip in addresses[:-1]:
                    try:
                        return await self._attempt(ip, make, share_s)
                    except (OSError, UpstreamUnreachable):
                        continue
                return await self._attempt(addresses[-1], make, None)
        except OSError as error:
            raise UpstreamUnreachable(self._sentence(error, limit_s)) from error

    def refresh(self) -> None:
        """Look up the upstream's addresses again, if it is time, in the background."""
        if self._names is not None:
            self._names.refresh()

    async def aclose(self) -> None:
        """End what runs in the background."""
        if self._names is not None:
            await self._names.aclose()

    async def _trust(self) -> ssl.SSLContext:
        try:
            return await asyncio.to_thread(client_context, self._address.ca)
        except OSError as error:
            file = self._address.ca or "of the system"
            raise UpstreamUnreachable(f"The trusted certificates {file} cannot be read: {error.strerror}.") from error

    async def _attempt(self, ip: str, make: Callable[[], Connection], limit_s: float | None) -> Connection:
        connection = make()
        connection.peer = ip
        try:
            async with asyncio.timeout(limit_s):
                if self._proxy is not None and self._names is not None:
                    await self._open_proxied(self._proxy, ip, connection)
                else:
                    await self._open(ip, connection)
        except BaseException:
            connection.cut()
            raise
        return connection

    async def _open(self, ip: str, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        address = self._address
        server_name = address.host if address.tls else None
        goodbye_s = _GOODBYE_S if address.tls else None
        context = self._context if address.tls else None
        if address.unix is not None:
            await loop.create_unix_connection(
                lambda: connection,
                address.unix,
                ssl=context,
                server_hostname=server_name,
                ssl_shutdown_timeout=goodbye_s,
            )
        else:
            await loop.create_connection(
                lambda: connection,
                ip,
                address.port,
                ssl=context,
                server_hostname=server_name,
                ssl_shutdown_timeout=goodbye_s,
            )

    async def _open_proxied(self, proxy: Proxy, ip: str, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        context = await asyncio.to_thread(client_context, None) if proxy.tls else None
        server_name = proxy.host if proxy.tls else None
        if not self._address.tls:
            await loop.create_connection(lambda: connection, ip, proxy.port, ssl=context, server_hostname=server_name)
            return
        tunnel = Tunnel()
        try:
            await loop.create_connection(lambda: tunnel, ip, proxy.port, ssl=context, server_hostname=server_name)
            transport = await tunnel.open(authority_of(self._address), proxy.authorization)
            assert self._context is not None
            secured = await loop.start_tls(
                transport,
                connection,
                self._context,
                server_hostname=self._address.host,
                ssl_shutdown_timeout=_GOODBYE_S,
            )
        except BaseException:
            if tunnel.transport is not None:
                tunnel.transport.abort()
            raise
        assert secured is not None
        connection.connection_made(secured)

    def _sentence(self, error: OSError, limit_s: float | None) -> str:
        name = self._name
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"The TLS certificate of the {name} is not accepted: {error.verify_message}."
        if isinstance(error, ssl.SSLError):
            return f"TLS with the {name} failed: {error.reason or 'the connection was closed'}."
        if self._proxy is not None:
            name = f"proxy {self._host}:{self._port}"
        if isinstance(error, TimeoutError) and error.errno is None:
            return f"The {name} did not accept a connection within {limit_s:g} s."
        if isinstance(error, ConnectionRefusedError):
            return f"The {name} refuses connections."
        if isinstance(error, FileNotFoundError):
            return f"The {name} does not exist."
        return f"The {name} could not be reached: {error.strerror or type(error).__name__}."


def name_of(address: Address) -> str:
    """Name an upstream in the middle of a sentence."""
    if address.unix is not None:
        return f"upstream socket {address.unix}"
    return f"upstream {authority_of(address).decode()}"


def authority_of(address: Address) -> bytes:
    """`host:port`, with the brackets that an IPv6 address needs."""
    host = address.host.encode("ascii" if address.host.isascii() else "idna")
    return b"%b:%d" % (b"[%b]" % host if b":" in host else host, address.port)
