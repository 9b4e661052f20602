"""
An engine as a process, for tests: HTTP on a Unix socket. What it does is in its weights file, read anew each time:

    {"start": "ok" | "exit" | "mute" | "tokenless", "running": 0}
"""

from __future__ import annotations

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

from penstock.telemetry.parent import end_with_parent

SOCKET, WEIGHTS, PARENT = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])


def orders() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(WEIGHTS.read_text())
    return content


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/health":
            self.reply(503 if orders()["start"] == "mute" else 200, "{}")
        else:
            self.reply(200, json.dumps({"steps": 1, "running": orders()["running"], "waiting": 0}))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.reply(200, "" if orders()["start"] == "tokenless" else "token")

    def reply(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingUnixStreamServer):
    daemon_threads = True


if __name__ == "__main__":
    end_with_parent(PARENT)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if orders()["start"] == "exit":
        print("the cause", file=sys.stderr)
        sys.exit(4)
    Server(str(SOCKET), Answer).serve_forever(0.02)
