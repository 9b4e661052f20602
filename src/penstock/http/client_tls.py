"""TLS as a client speaks it."""

from __future__ import annotations

import ssl


def client_context(ca: str | None) -> ssl.SSLContext:
    """
    Make a context that verifies the upstream's certificate and name, for TLS 1.2 and 1.3. Reads files: slow.

    Args:
        ca: path of a PEM file with the certificates to trust instead of the system's.
    Raises:
        OSError: the file cannot be read, or holds no certificate (`ssl.SSLError` is one).
    """
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
