"""Where a server listens, as written in the stack."""

from __future__ import annotations

import ipaddress
import re

import msgspec

_TCP = re.compile(r"(?:\[(?P<six>[^\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}\.?)*")


class Listen(msgspec.Struct, frozen=True):
    """
    A listening address.

    Attributes:
        host: IP address or name.
        port: TCP port; 0 lets the system choose one.
    """

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse(text: str) -> Listen:
    """
    Read `127.0.0.1:8080`, `[::1]:8080` or `localhost:0`.

    Raises:
        ValueError: anything else, as a sentence.
    """
    if text.startswith("unix:"):
        raise ValueError(
            "listening on a Unix socket of your choice is not supported yet; write host:port "
            "(run/ in the data directory has a socket of the data port and of the admin port in any case)"
        )
    match = _TCP.fullmatch(text)
    if match is None:
        raise ValueError("an address is written 127.0.0.1:8080 or [::1]:8080")
    port = int(match["port"])
    if port > 65535:
        raise ValueError("a port is a number from 0 to 65535")
    if match["six"] is not None:
        try:
            return Listen(str(ipaddress.IPv6Address(match["six"])), port)
        except ValueError:
            raise ValueError("what is in brackets is not an IPv6 address") from None
    host = match["host"]
    if host in {"", "*"}:
        raise ValueError(f"say where to listen: 127.0.0.1:{port} for this machine, 0.0.0.0:{port} for all interfaces")
    return Listen(_host(host), port)


def _host(host: str) -> str:
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError("the host is not an IPv4 address") from None
    if not _HOST_NAME.fullmatch(host):
        raise ValueError("the host is neither an IP address nor a host name")
    return host.lower()
