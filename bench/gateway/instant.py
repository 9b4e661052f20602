"""The instant upstream, a ready answer from nginx; and nginx as a plain proxy, the yardstick."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.gateway import process
from bench.gateway.probe import await_answer
from penstock.lab.running import free_port

_ANSWER = json.dumps(
    {
        "id": "chatcmpl-7f4a1c0b9d2e4f68a1b3c5d7e9f01234",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "chat",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello! How can I help you today? This answer is about as long as a normal short one.",
                },
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 26, "total_tokens": 46},
    },
    separators=(",", ":"),
)
_COMMON = """
worker_processes 1; daemon off; pid nginx.pid; error_log nginx.err;
events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 100000000;
 client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
 {inner}
}}
"""
_INSTANT = """server {{ listen 127.0.0.1:{port} backlog=4096; location / {{
  default_type application/json; return 200 '{answer}'; }} }}"""
_PROXY = """upstream u {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 100000000; }}
 server {{ listen 127.0.0.1:{port} backlog=4096; location / {{
  proxy_pass http://u; proxy_http_version 1.1; proxy_set_header connection ""; proxy_buffering {buffering}; }} }}"""


@contextlib.contextmanager
def upstream(core: int, directory: Path) -> Iterator[int]:
    """Serve a ready answer to every request on a core; yields the port."""
    port = free_port()
    config = _INSTANT.format(port=port, answer=_ANSWER.replace("'", ""))
    running = process.spawn(command(directory, config), core, directory)
    try:
        await_answer(port, b"", "chat", running, directory)
        yield port
    finally:
        process.end(running)


def proxy_command(directory: Path, port: int, upstream_port: int, streams: bool) -> list[str]:
    """Return what runs nginx as a plain proxy. Only streams go unbuffered: that is how each is run in earnest."""
    return command(directory, _PROXY.format(port=port, upstream=upstream_port, buffering="off" if streams else "on"))


def command(directory: Path, inner: str) -> list[str]:
    """Write a configuration and return the command that runs it."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "nginx.conf"
    path.write_text(_COMMON.format(inner=inner))
    return ["nginx", "-p", str(directory), "-e", "nginx.err", "-c", str(path)]


def version() -> str:
    """Return nginx's version, or nothing when it is not there."""
    with contextlib.suppress(FileNotFoundError):
        told = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr
        return told.rpartition("/")[2].strip()
    return ""
