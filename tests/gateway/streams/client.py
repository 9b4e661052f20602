"""A raw client: bytes in, bytes out over a plain socket, with nothing repaired on the way."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, Self

from tests.processes import PATIENCE_S

Body = dict[str, Any]

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets


def order(**fields: object) -> str:
    """Return a prompt that the lab takes as an order."""
    return "lab: " + json.dumps(fields)


def body(prompt: str = "one two three", *, stream: bool = True, **fields: object) -> bytes:
    """Return a chat request's body."""
    messages = [{"role": "user", "content": prompt}]
    return json.dumps({"model": "chat", "stream": stream, "messages": messages, **fields}).encode()


class Answer:
    """
    What has come of one answer so far.

    Attributes:
        data: all bytes, from the status line on.
        pieces: the payloads of the chunks, where it is chunked.
        whole: the answer has come to its end, as its framing tells.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        self.pieces: list[bytes] = []
        self.whole = False
        self._at = 0  # where the next chunk begins
        self.status = 0
        self.headers: dict[str, str] = {}

    @property
    def request_id(self) -> str:
        return self.headers["x-request-id"]

    @property
    def body(self) -> bytes:
        """The body without its framing."""
        if "transfer-encoding" in self.headers:
            return b"".join(self.pieces)
        return bytes(self.data[self._at :])

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Body:
        """The error of a plain answer."""
        error: Body = self.json["error"]
        return error

    @property
    def events(self) -> list[bytes]:
        """The events by the standard: a last one without its blank line is none."""
        return re.split(rb"\n\n|\r\r|\r\n\r\n", self.body)[:-1]

    @property
    def documents(self) -> list[Body]:
        """The data of the events that are JSON."""
        found = []
        for event in self.events:
            lines = re.split(rb"\r\n|\n|\r", event)
            data = b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))
            if data.startswith(b"{"):
                found.append(json.loads(data))
        return found

    @property
    def text(self) -> str:
        """All content."""
        choices = [choice for document in self.documents for choice in document.get("choices") or []]
        return "".join(choice["delta"].get("content") or "" for choice in choices)

    @property
    def errors(self) -> list[Body]:
        """The errors told in-band."""
        return [document["error"] for document in self.documents if document.get("error")]

    @property
    def usages(self) -> list[Body]:
        """The usage chunks, null ones included."""
        return [document for document in self.documents if "usage" in document]

    @property
    def done(self) -> bool:
        return any(line.removeprefix(b"data:").strip() == b"[DONE]" for line in re.split(rb"[\r\n]", self.body))

    @property
    def comments(self) -> int:
        """How many of our own comments there are."""
        return self.events.count(b": keep-alive")

    def feed(self, data: bytes) -> bytes:
        """Take bytes; return what is behind the end of this answer."""
        self.data += data
        if not self.status:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return b""
            first, *lines = self.data[:end].decode("latin-1").split("\r\n")
            self.status = int(first.split(" ")[1])
            self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            self._at = end + 4
        if "transfer-encoding" in self.headers:
            self._chunks()
        elif "content-length" in self.headers:
            end = self._at + int(self.headers["content-length"])
            self.whole = len(self.data) >= end
            if self.whole:
                behind = bytes(self.data[end:])
                del self.data[end:]
                return behind
            return b""
        if self.whole:
            behind = bytes(self.data[self._at :])
            del self.data[self._at :]
            return behind
        return b""

    def _chunks(self) -> None:
        """Take whole chunks off; strict about every byte of the framing."""
        while not self.whole:
            line = self.data.find(b"\r\n", self._at)
            if line < 0:
                return
            size = int(bytes(self.data[self._at : line]), 16)
            end = line + 2 + size + 2
            if len(self.data) < end:
                return
            assert self.data[end - 2 : end] == b"\r\n", "a chunk ends with a line end"
            if size:
                self.pieces.append(bytes(self.data[line + 2 : end - 2]))
            else:
                self.whole = True
            self._at = end


class Door(Protocol):
    """Where a gateway is, and what opens it."""

    key: str
    port: int


class Client:
    """One connection to a gateway. Leave the block, or `close`, to go away."""

    def __init__(self, front: Door, *, receive_buffer: int = 0) -> None:
        self._key = front.key
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(PATIENCE_S)
        self._socket.connect(("127.0.0.1", front.port))
        self._behind = b""
        self.ended = False

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def send_what_fits(self, data: bytes) -> None:
        """Send bytes as far as they are taken: a gateway reads only so far ahead."""
        self._socket.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            self._socket.sendall(data)
        self._socket.settimeout(PATIENCE_S)

    def head(self, size: int, path: str = "/v1/chat/completions") -> bytes:
        """Return a request's head."""
        lines = (
            f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {self._key}\r\ncontent-length: {size}\r\n\r\n"
        )
        return lines.encode()

    def request(self, content: bytes) -> None:
        """Send a request."""
        self.send(self.head(len(content)) + content)

    def ask(self, prompt: str = "one two three", **fields: Any) -> Answer:
        """Send a request for a stream, unless it says otherwise, and receive the whole answer."""
        self.request(body(prompt, **fields))
        return self.receive()

    def receive(self, until: Callable[[Answer], object] = lambda _: False, into: Answer | None = None) -> Answer:
        """Receive until the condition holds, the answer is whole, or the connection has ended."""
        answer = into or Answer()
        while True:
            behind, self._behind = self._behind, b""
            if behind:
                self._behind = answer.feed(behind)
            if answer.whole or self.ended or until(answer):
                return answer
            self._behind = self.bytes()

    def bytes(self, size: int = 262_144) -> bytes:
        """Receive some bytes; nothing at the end of the connection."""
        try:
            data = self._socket.recv(size)
        except ConnectionResetError:
            data = b""
        self.ended = not data
        return data

    def silent_for(self, seconds: float) -> bool:
        """Tell whether nothing comes for a time."""
        self._socket.settimeout(seconds)
        try:
            self._behind += self._socket.recv(65_536)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(PATIENCE_S)
        return False

    def close(self, *, reset: bool = False) -> None:
        """Go away, by a reset if so wished."""
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ask(front: Door, prompt: str = "one two three", **fields: Any) -> Answer:
    """Ask on a connection of its own."""
    with Client(front) as client:
        return client.ask(prompt, **fields)


@contextlib.contextmanager
def at_least(seconds: float, at_most: float = PATIENCE_S) -> Iterator[None]:
    """Check that a block takes its time: not less than `seconds`, nor so much more that it was not for that reason."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert seconds * 0.95 <= took <= at_most, f"it took {took:.2f} s"
