"""
The lab upstream: a server with OpenAI's and Anthropic's APIs that answers at once, and well, unless ordered otherwise.

In a test, use `Upstream`; as a process, `python -m penstock.lab.upstream --listen 127.0.0.1:0`, which prints one line
when it listens and ends with SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TextIO

import uvloop

from penstock.lab.script import load
from penstock.lab.service import IDLE_S, MODELS, Upstream
from penstock.lab.units import parse_duration
from penstock.types.errors import PenstockError, StartError

__all__ = ["MODELS", "Upstream", "main", "run"]

_UNIX = "unix:"
_BACKLOG = 4096


async def run(
    listen: str = "127.0.0.1:0",
    script: Path | None = None,
    api_key: str | None = None,
    *,
    idle_s: float = IDLE_S,
    as_json: bool = False,
    out: TextIO = sys.stdout,
) -> None:
    """
    Serve until SIGTERM or SIGINT; prints one line when it listens.

    Args:
        listen: `host:port`, or `unix:/path/of/socket`.
        idle_s: how long a connection may be idle, in seconds.
        as_json: print `{"url": ..., "pid": ...}` instead of a sentence.
    Raises:
        OrderError: the script cannot be read. StartError: the address cannot be listened on.
    """
    rules = load(script) if script is not None else None
    upstream = Upstream(script=rules, api_key=api_key, idle_s=idle_s)
    sock, address = _bind(listen)
    await upstream.start(sock)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    line = json.dumps({"url": address, "pid": os.getpid()}) if as_json else f"lab upstream listens on {address}"
    out.write(line + "\n")
    out.flush()
    await stopped.wait()
    await upstream.stop()
    _unbind(listen)


def main(arguments: list[str] | None = None) -> int:
    """Run as a process; returns the exit code."""
    parser = argparse.ArgumentParser(prog="penstock lab upstream", description="An upstream that can be ordered about.")
    parser.add_argument("--listen", default="127.0.0.1:0", help="host:port or unix:/path (default 127.0.0.1:0)")
    parser.add_argument("--script", type=Path, help="YAML or JSON file with rules")
    parser.add_argument("--api-key", help="the key to demand under /v1/")
    parser.add_argument("--idle", help="close connections that are idle for so long, such as 5s")
    parser.add_argument("--json", action="store_true", help="print the address as JSON")
    given = parser.parse_args(arguments)
    try:
        idle_s = parse_duration(given.idle) if given.idle is not None else IDLE_S
        uvloop.run(run(given.listen, given.script, given.api_key, idle_s=idle_s, as_json=given.json))
    except (PenstockError, ValueError) as error:
        sys.stderr.write(f"penstock lab upstream: {error}\n")
        return 1
    return 0


def _bind(listen: str) -> tuple[socket.socket, str]:
    """Return a listening socket and its address as clients write it."""
    try:
        if listen.startswith(_UNIX):
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(listen.removeprefix(_UNIX))
            sock.listen(_BACKLOG)
            return sock, listen
        host, _, port = listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise StartError(f"`{listen}` is not an address such as 127.0.0.1:9000 or unix:/path")
        name = host.strip("[]")
        family = socket.AF_INET6 if ":" in name else socket.AF_INET
        sock = socket.create_server((name, int(port)), family=family, backlog=_BACKLOG)
    except OSError as error:
        told = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise StartError(f"cannot listen on {listen}: {told}") from error
    return sock, f"http://{host}:{sock.getsockname()[1]}"


def _unbind(listen: str) -> None:
    if listen.startswith(_UNIX):
        Path(listen.removeprefix(_UNIX)).unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
