"""Where an upstream is."""

from __future__ import annotations

import msgspec


class Address(msgspec.Struct, frozen=True):
    """
    An upstream base address, taken apart once.

    Attributes:
        host: name or IP for TCP; for a Unix socket only what goes into the Host header.
        port: TCP port; 0 for a Unix socket.
        tls: speak TLS.
        unix: path of the Unix socket, or None.
        path: prefix for request paths, without a trailing slash (`/v1`).
        ca: path of a PEM file with the certificates to trust instead of the system's.
    """

    host: str = "localhost"
    port: int = 0
    tls: bool = False
    unix: str | None = None
    path: str = ""
    ca: str | None = None
