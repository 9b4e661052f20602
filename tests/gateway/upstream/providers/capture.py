"""A server that keeps what it is sent, for comparing what we send with what vendors' SDKs send."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

_CHAT = {
    "id": "x", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip
_TOKEN = {"access_token": "granted", "expires_in": 3600, "token_type": "Bearer"}
_CHUNK = {
    "id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
    "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}],
}  # fmt: skip


@dataclass(frozen=True)
class Captured:
    """One request. Header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Capture:
    """
    Answers chats, and requests for tokens where the path says so. A context manager.

    Attributes:
        requests: chats, in order.
        exchanges: requests for tokens.
        refuse_tokens: answer these with an error.
        refuse: answer chats with this status, unless it is 0.
    """

    def __init__(self) -> None:
        self.requests: list[Captured] = []
        self.exchanges: list[Captured] = []
        self.refuse_tokens = False
        self.refuse = 0
        capture = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Captured(self.command, self.path, headers, body)
                if self.path.endswith("token"):
                    capture.exchanges.append(request)
                    if capture.refuse_tokens:
                        self._send(401, "application/json", b'{"error":"invalid_client","error_description":"hunter2"}')
                    else:
                        self._send(200, "application/json", json.dumps(_TOKEN).encode())
                    return
                capture.requests.append(request)
                if capture.refuse:
                    self._send(capture.refuse, "application/json", b'{"error":{"message":"no","type":"t"}}')
                elif json.loads(body).get("stream"):
                    events = f"data: {json.dumps(_CHUNK)}\n\ndata: [DONE]\n\n"
                    self._send(200, "text/event-stream", events.encode())
                else:
                    self._send(200, "application/json", json.dumps(_CHAT).encode())

            def _send(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.port = self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
