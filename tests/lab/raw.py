"""A client that shows what came, byte by byte: nothing is repaired on the way."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from penstock.lab.upstream import Upstream

LIMIT_S = 20.0


@dataclass
class Seen:
    """What a client saw on its connection, and how that ended."""

    data: bytes = b""
    pieces: list[bytes] = field(default_factory=list)
    ended: bool = False
    reset: bool = False

    @property
    def head(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[0]

    @property
    def status(self) -> int:
        return int(self.data.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def raw_body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def chunks(self) -> list[bytes]:
        """The chunks of a body that is well framed and whole."""
        chunks, rest = dechunk(self.raw_body)
        assert rest == b"0\r\n\r\n", rest
        return chunks

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks) if "transfer-encoding" in self.headers else self.raw_body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of all events; JSON where it is."""
        return events(self.body)

    @property
    def text(self) -> str:
        return "".join(texts(self.events))


def dechunk(body: bytes) -> tuple[list[bytes], bytes]:
    """Return the whole chunks, and what is left from the last chunk, or from the first fault, on."""
    chunks: list[bytes] = []
    while True:
        line, found, rest = body.partition(b"\r\n")
        try:
            size = int(line, 16)
        except ValueError:
            return chunks, body
        if not found or not size or len(rest) < size + 2 or rest[size : size + 2] != b"\r\n":
            return chunks, body
        chunks.append(rest[:size])
        body = rest[size + 2 :]


def events(body: bytes) -> list[Any]:
    """Read server-sent events the way the standard says; a last one without a blank line is left out."""
    text = body.decode().replace("\r\n", "\n").replace("\r", "\n")
    found = []
    for block in text.split("\n\n")[:-1]:
        data = [line[5:].removeprefix(" ") for line in block.split("\n") if line.startswith("data:")]
        if data:
            joined = "\n".join(data)
            found.append(json.loads(joined) if joined.startswith("{") else joined)
    return found


def texts(found: list[Any]) -> list[str]:
    """Return the text of each content event."""
    choices = [choice for event in found if isinstance(event, dict) for choice in event.get("choices") or []]
    return [text for choice in choices if (text := choice.get("delta", {}).get("content"))]


def chat(prompt: str = "one two three", *, stream: bool = True, **fields: object) -> bytes:
    body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": prompt}], **fields}
    return json.dumps(body).encode()


class Client:
    """One connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.seen = Seen()

    @classmethod
    async def open(cls, upstream: Upstream) -> Self:
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", upstream.port))
        return cls(sock)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def post(
        self, body: bytes, order: str = "", path: str = "/v1/chat/completions", *headers: str, close: bool = True
    ) -> None:
        lines = [f"POST {path} HTTP/1.1", "host: lab", f"content-length: {len(body)}", *headers]
        lines += [f"x-lab: {order}"] if order else []
        lines += ["connection: close"] if close else []
        await self.send("\r\n".join([*lines, "", ""]).encode() + body)

    async def receive(self) -> bytes:
        """Return the next bytes; b"" at the end."""
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, 65536)
        except ConnectionResetError:
            self.seen.reset = self.seen.ended = True
            return b""
        self.seen.data += data
        if data:
            self.seen.pieces.append(data)
        self.seen.ended = not data
        return data

    async def until(self, condition: Callable[[Seen], bool]) -> Seen:
        """Receive until the condition holds for what was seen, or the connection has ended."""
        async with asyncio.timeout(LIMIT_S):
            while not condition(self.seen) and not self.seen.ended:
                await self.receive()
        return self.seen

    async def all(self) -> Seen:
        """Receive until the connection ends."""
        return await self.until(lambda _: False)

    def close(self) -> None:
        self._socket.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


async def ask(
    upstream: Upstream,
    order: str = "",
    body: bytes | None = None,
    path: str = "/v1/chat/completions",
    *headers: str,
    stream: bool = True,
) -> Seen:
    """Send one request on a connection of its own and return all that comes until its end."""
    async with await Client.open(upstream) as client:
        await client.post(chat(stream=stream) if body is None else body, order, path, *headers)
        return await client.all()


async def get(upstream: Upstream, path: str, *headers: str) -> Seen:
    async with await Client.open(upstream) as client:
        lines = [f"GET {path} HTTP/1.1", "host: lab", "connection: close", *headers, "", ""]
        await client.send("\r\n".join(lines).encode())
        return await client.all()


class Naps:
    """A sleep that is over at once and remembered."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        await asyncio.sleep(0)


class Gate:
    """A sleep that ends when the test says so."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[tuple[float, asyncio.Future[None]]] = asyncio.Queue()

    async def __call__(self, seconds: float) -> None:
        done = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((seconds, done))
        await done

    async def asked(self) -> tuple[float, Callable[[], None]]:
        """Return how long the next sleeper wants to sleep, and what wakes it."""
        async with asyncio.timeout(LIMIT_S):
            seconds, done = await self._waiting.get()
        return seconds, lambda: None if done.done() else done.set_result(None)


Case = Callable[[Upstream], Awaitable[None]]
