"""A server on a free port, and a client that sees every byte."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from penstock.http.limits import Limits
from penstock.http.server import Handler, Refusal, Request, Responder, Server
from penstock.http.tls import ServerTls
from penstock.types.errors import (
    BodyTooLarge,
    ExchangeError,
    HeadersTooLarge,
    InvalidRequest,
    NoCapacity,
    RequestTimedOut,
)

T = TypeVar("T")

_STATUS: dict[type[ExchangeError], int] = {
    InvalidRequest: 400,
    RequestTimedOut: 408,
    BodyTooLarge: 413,
    HeadersTooLarge: 431,
    NoCapacity: 503,
}

LONG = 20.0  # seconds that a step may take on a busy machine before the test fails


def run(case: Callable[[], Coroutine[object, object, T]]) -> T:
    """Run a test's coroutine on the loop that production uses."""
    return uvloop.run(case())


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def refuse(error: ExchangeError) -> Refusal:
    """Errors as plain text; the class in a header."""
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
    return Refusal(status, f"x-error: {type(error).__name__}\r\n".encode(), str(error).encode())


async def echo(request: Request, responder: Responder) -> None:
    """Answer with what was asked: `METHOD path?query body`."""
    body = await request.body()
    text = f"{request.method} {request.path}?{request.query} ".encode() + body
    await responder.send(200, b"content-type: text/plain\r\n", text)


class Waiting:
    """A handler that waits until the test lets it go, and says how it ended."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, request: Request, responder: Responder) -> None:
        self.begun.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        await responder.send(200, b"", b"done")


@dataclass
class Answer:
    """One answer as the client read it; `chunks` is None unless it was chunked."""

    status: int
    headers: dict[str, str]
    body: bytes
    chunks: list[bytes] | None = None


class Client:
    """A connection whose bytes the test decides."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, *, head_only: bool = False) -> Answer:
        async with asyncio.timeout(LONG):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *fields = head[:-4].split("\r\n")
            version, status, _ = line.split(" ", 2)
            assert version == "HTTP/1.1"
            headers = dict(field.split(": ", 1) for field in fields)
            assert len(headers) == len(fields), f"a header is given twice: {fields}"
            answer = Answer(int(status), headers, b"")
            if head_only or answer.status in (100, 204, 304):
                return answer
            if "content-length" in headers:
                answer.body = await self.reader.readexactly(int(headers["content-length"]))
            elif headers.get("transfer-encoding") == "chunked":
                answer.chunks = await self._chunks()
                answer.body = b"".join(answer.chunks)
            else:
                answer.body = await self.reader.read()
            return answer

    async def ask(self, data: bytes) -> Answer:
        await self.send(data)
        return await self.answer()

    async def ended(self) -> bytes:
        """What comes until the server ends the connection."""
        async with asyncio.timeout(LONG):
            return await self.reader.read()

    async def _chunks(self) -> list[bytes]:
        chunks = []
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            chunks.append(await self.reader.readexactly(size))
            assert await self.reader.readexactly(2) == b"\r\n"
        assert await self.reader.readexactly(2) == b"\r\n"
        return chunks


class Served:
    """A running server and where it is."""

    def __init__(self, server: Server, address: tuple[str, int] | str, trust: ssl.SSLContext | None) -> None:
        self.server = server
        self.address = address
        self.trust = trust

    @contextlib.asynccontextmanager
    async def client(self, trust: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
        tls = trust or self.trust
        name = "localhost" if tls else None
        if isinstance(self.address, str):
            reader, writer = await asyncio.open_unix_connection(self.address, ssl=tls, server_hostname=name)
        else:
            reader, writer = await asyncio.open_connection(*self.address, ssl=tls, server_hostname=name)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def raw(self) -> socket.socket:
        """A connected non-blocking TCP socket, for what streams do not offer."""
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, self.address)
        except OSError:
            sock.close()
            raise
        return sock


@contextlib.asynccontextmanager
async def serving(
    handler: Handler = echo,
    limits: Limits | None = None,
    clock: Callable[[], float] | None = None,
    *,
    unix: bool = False,
    local: bool = False,
    tls: ServerTls | None = None,
    trust: ssl.SSLContext | None = None,
) -> AsyncIterator[Served]:
    """A server for the length of the block; at the end it must be empty, with nothing left running."""
    server = Server(handler, refuse, limits or Limits(), clock)
    with tempfile.TemporaryDirectory() as folder:
        address: tuple[str, int] | str
        if unix:
            address = str(Path(folder) / "socket")
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(address)
            sock.listen()
        else:
            sock = socket.create_server(("127.0.0.1", 0))
            address = sock.getsockname()
        await server.listen(sock, local=local, tls=tls)
        try:
            yield Served(server, address, trust)
        finally:
            await server.drain(0)
            assert server.connections == 0


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other tasks or the kernel bring about."""
    async with asyncio.timeout(LONG):
        while not condition():  # noqa: ASYNC110  what it waits for cannot set an event
            await asyncio.sleep(0.002)


async def soon(awaitable: Awaitable[T]) -> T:
    """Fail rather than hang."""
    async with asyncio.timeout(LONG):
        return await awaitable


@dataclass
class Pair:
    """A self-signed certificate and its key, in files."""

    certificate: Path
    key: Path

    def trust(self) -> ssl.SSLContext:
        """A client context that trusts this certificate alone."""
        return ssl.create_default_context(cafile=str(self.certificate))


def make_pair(folder: Path, name: str = "server") -> Pair:
    """A new certificate for localhost, written over what was there."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pair
