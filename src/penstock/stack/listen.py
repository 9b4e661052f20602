"""Where a server listens, as written in the stack."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import msgspec

_TCP = re.compile(r"(?:\[(?P<six>[^\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}\.?)*")
_LONGEST_UNIX = 107  # bytes; what Linux keeps in sockaddr_un without the closing zero


class Listen(msgspec.Struct, frozen=True):
    """
    A listening address.

    Attributes:
        host: IP address or name; empty for a Unix socket.
        port: TCP port; 0 lets the system choose one.
        unix: absolute path of a Unix socket, or None.
    """

    host: str = ""
    port: int = 0
    unix: str | None = None

    def __str__(self) -> str:
        if self.unix is not None:
            return f"unix:{self.unix}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse(text: str, directory: Path) -> Listen:
    """
    Read `127.0.0.1:8080`, `[::1]:8080`, `localhost:0` or `unix:/path`.

    Args:
        directory: what a relative socket path is relative to.
    Raises:
        ValueError: anything else, as a sentence.
    """
    if text.startswith("unix:"):
        if not text[5:]:
            raise ValueError("unix: needs the path of a socket, such as unix:/run/penstock.sock")
        path = str(directory / text[5:])
        if len(path.encode()) > _LONGEST_UNIX:
            raise ValueError(f"the path of a Unix socket has at most {_LONGEST_UNIX} bytes")
        return Listen(unix=path)
    match = _TCP.fullmatch(text)
    if match is None:
        raise ValueError("an address is written 127.0.0.1:8080, [::1]:8080 or unix:/path")
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
