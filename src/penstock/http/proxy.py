"""HTTP proxies between us and an upstream: which one, and the tunnel through it."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import unquote, urlsplit

from penstock.types.address import Address
from penstock.types.errors import StartError, UpstreamUnreachable

_ANSWER_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Proxy:
    """
    Where a proxy is.

    Attributes:
        tls: speak TLS to the proxy itself.
        authorization: the line `proxy-authorization: …\\r\\n`, or b"". A secret.
    """

    host: str
    port: int
    tls: bool
    authorization: bytes = field(default=b"", repr=False)


def parse_proxy(url: str) -> Proxy:
    """
    Read `http://user:password@host:port`, as the proxy variables of the environment have it.

    Raises:
        StartError: it is something else; the sentence does not repeat it, as there may be a password in it.
    """
    if "://" not in url:
        url = f"http://{url}"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise StartError("The address of the proxy is malformed; it should look like http://host:port.") from None
    if parts.scheme not in ("http", "https"):
        raise StartError(f"A proxy is spoken to over http or https, not {parts.scheme}.")
    if not host:
        raise StartError("The address of the proxy has no host; it should look like http://host:port.")
    tls = parts.scheme == "https"
    line = b""
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        line = b"proxy-authorization: Basic %b\r\n" % base64.b64encode(login.encode())
    return Proxy(host=host, port=port or (443 if tls else 80), tls=tls, authorization=line)


def proxy_for(address: Address, environ: Mapping[str, str]) -> str | None:
    """
    Choose the proxy for an upstream by `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` (or the same in lower case, which
    win). Unix sockets and this machine are always spoken to directly.

    Returns:
        a URL for `Pool`; it may hold a password, so it must not be logged.
    """
    if address.unix is not None:
        return None
    names = ("https_proxy", "HTTPS_PROXY") if address.tls else ("http_proxy", "HTTP_PROXY")
    url = next((environ[name] for name in names if environ.get(name)), None)
    if url is None or _is_local(address.host):
        return None
    exceptions = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if any(_matches(rule.strip().lower(), address) for rule in exceptions.split(",")):
        return None
    return url


def _is_local(host: str) -> bool:
    ip = _ip(host)
    return ip.is_loopback if ip is not None else host.lower() == "localhost"


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None


def _matches(rule: str, address: Address) -> bool:
    """A rule is `*`, a name (its subdomains match too) with `:port` if wanted, an IP address or a network."""
    host = address.host.lower()
    if rule == "*":
        return True
    if not rule:
        return False
    ip = _ip(host)
    if ip is not None and "/" in rule:
        try:
            return ip in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    if _ip(rule) is None and ":" in rule:
        rule, _, port = rule.rpartition(":")
        if port != str(address.port):
            return False
    if ip is not None:
        return _ip(rule) == ip
    name = rule.removeprefix("*").removeprefix(".")
    return host == name or host.endswith(f".{name}")


class Tunnel(asyncio.Protocol):
    """Asks a proxy for a connection to an upstream (CONNECT). Its transport then belongs to whoever made it."""

    def __init__(self) -> None:
        self._answer = b""
        self._problem: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.transport: asyncio.Transport | None = None

    async def open(self, authority: bytes, authorization: bytes) -> asyncio.Transport:
        """
        Args:
            authority: `host:port` of the upstream.
            authorization: see `Proxy`.
        Raises:
            UpstreamUnreachable: the proxy refused, or its answer was malformed.
        """
        transport = self.transport
        assert transport is not None
        self._waiter = asyncio.get_running_loop().create_future()
        transport.write(b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (authority, authority, authorization))
        await self._waiter
        if b"\r\n\r\n" not in self._answer and len(self._answer) <= _ANSWER_BYTES:
            raise UpstreamUnreachable("The proxy closed the connection without an answer.") from self._problem
        status, _, rest = self._answer.partition(b"\r\n")
        words = status.split(b" ", 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise UpstreamUnreachable("The proxy did not answer with HTTP.")
        if not words[1].startswith(b"2"):
            raise UpstreamUnreachable(f"The proxy refused to connect: it answered {words[1].decode()}.")
        if not rest.endswith(b"\r\n\r\n") and rest != b"\r\n":
            raise UpstreamUnreachable("The proxy sent more than its answer.")
        return transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if b"\r\n\r\n" in self._answer or len(self._answer) > _ANSWER_BYTES:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._problem = exc
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
