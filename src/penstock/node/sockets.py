"""
Listening sockets: opened by the node, handed to its children, kept open when these die.

A connection made while no child listens waits in the kernel's queue and is served by the next one. On the data port
each worker has a listener of its own, so that the kernel spreads connections evenly: of 32 that come at once to one
listener, the first worker to wake up may take all. What a worker leaves waiting the others take (`http.neighbours`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from pathlib import Path

from penstock.types.errors import StartError

BACKLOG = 4096  # the kernel lowers it to net.core.somaxconn
_RETRY_S = 0.05


def listen_tcp(
    address: tuple[str, int], setting: str, patience_s: float = 0.0, *, shared: bool = False
) -> socket.socket:
    """
    Listen on a host and port; port 0 takes a free one.

    Args:
        setting: where a person changes the address; ends the messages (`gateway.listen in penstock.yaml`).
        patience_s: how long to try again while the port is taken.
        shared: others of our own user may listen there too, if they say so as well.

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
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
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


def listen_tcp_for(
    count: int, address: tuple[str, int], setting: str, patience_s: float = 0.0
) -> tuple[socket.socket, ...]:
    """
    Listen on a host and port with a listener for each of `count` workers; the kernel spreads connections evenly.

    Raises:
        StartError: as `listen_tcp`.
    """
    # Alone first: a shared listener would not notice another Penstock on the same port.
    alone = listen_tcp(address, setting, patience_s)
    if count == 1:
        return (alone,)
    port: int = alone.getsockname()[1]
    alone.close()
    with contextlib.ExitStack() as stack:
        listeners = [
            stack.enter_context(listen_tcp((address[0], port), setting, patience_s, shared=True)) for _ in range(count)
        ]
        stack.pop_all()
        return tuple(listeners)


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
