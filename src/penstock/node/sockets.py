"""
Listening sockets: opened by the node, handed to its children, kept open when these die.

A connection made while no child listens waits in the kernel's queue and is served by the next one.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from pathlib import Path

from penstock.types.errors import StartError

BACKLOG = 4096  # the kernel lowers it to net.core.somaxconn
_RETRY_S = 0.05


def listen_tcp(address: tuple[str, int], setting: str, patience_s: float = 0.0) -> socket.socket:
    """
    Listen on a host and port; port 0 takes a free one.

    Args:
        setting: where a person changes the address; ends the messages (`gateway.listen in penstock.yaml`).
        patience_s: how long to try again while the port is taken.

    Raises:
        StartError: the port is taken, or the address is not one we can listen on.
    """
    host, port = address
    where = f"{f'[{host}]' if ':' in host else host}:{port}"
    try:
        family, kind, protocol, _, resolved = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise StartError(f"{where} is not an address of this machine ({setting})") from error
    deadline = time.monotonic() + patience_s
    while True:
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setblocking(False)
            listener.bind(resolved)
            listener.listen(BACKLOG)
            return listener
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(_RETRY_S)
                continue
            raise StartError(f"{where} {_reason(error)} ({setting})") from error


def listen_unix(path: Path) -> socket.socket:
    """
    Listen on a Unix socket that only our own user may connect to, in place of one that a dead process left.

    The directory is ours alone (`directory.prepare`) and belongs to one node (`lock.hold`).

    Raises:
        StartError: it cannot be made.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)
        listener.setblocking(False)
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(f"cannot listen on {path}: {error.strerror or error}") from error
    return listener


def _reason(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "is in use by another program"
        case errno.EACCES:
            return "may not be used by this user"
        case errno.EADDRNOTAVAIL:
            return "is not an address of this machine"
        case _:
            return f"cannot be listened on: {error.strerror}"
