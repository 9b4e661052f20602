"""A server that speaks for the admin and data ports, over the real Unix sockets of a data directory or over TCP."""

from __future__ import annotations

import json
import shutil
import socketserver
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from penstock.cli.main import app
from penstock.types.home import Home


class Call(msgspec.Struct, frozen=True):
    """A request the server has got."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the decoded body."""
        return json.loads(self.body)


class Answer(msgspec.Struct, frozen=True):
    """What to answer: a JSON value, or the pieces of a chunked body. `torn` closes without ending it."""

    value: object = None
    pieces: Iterable[bytes] | None = None
    status: int = 200
    torn: bool = False
    headers: dict[str, str] = {}


class Fake:
    """Answers from `routes`, keyed `GET /path`, with its query or without, or with `other`; keeps what it was sent."""

    def __init__(self) -> None:
        self.routes: dict[str, Answer | Callable[[Call], Answer]] = {}
        self.other = Answer({"error": {"message": "nothing is served there"}}, status=404)
        self.calls: list[Call] = []
        self.hung_up = threading.Event()

    def answer(self, call: Call) -> Answer:
        """Choose the answer to a call."""
        self.calls.append(call)
        bare = self.routes.get(f"{call.method} {call.path.partition('?')[0]}", self.other)
        found = self.routes.get(f"{call.method} {call.path}", bare)
        return found(call) if callable(found) else found


def _handler(fake: Fake) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length", "0"))
            call = Call(self.command, self.path, dict(self.headers), self.rfile.read(length))
            answer = fake.answer(call)
            self.send_response(answer.status)
            self.send_header("Connection", "close")
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.close_connection = True
            if answer.pieces is None:
                content = b"" if answer.value is None else json.dumps(answer.value).encode()
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                return
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                for piece in answer.pieces:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                    self.wfile.flush()
                if not answer.torn:
                    self.wfile.write(b"0\r\n\r\n")
            except ConnectionError:
                fake.hung_up.set()

        do_GET = do_POST = do_DELETE = do_PATCH = _serve  # noqa: N815  # http.server looks for these names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the base class's
            """Say nothing."""

    return Handler


class _Server(socketserver.ThreadingMixIn, socketserver.BaseServer):
    daemon_threads = False  # so that closing the server waits for them
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Report what went wrong, unless it is only that the client has left."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            traceback.print_exc()


class _UnixServer(_Server, socketserver.UnixStreamServer):
    pass


class _TcpServer(_Server, socketserver.TCPServer):
    pass


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """An empty data directory that the commands use, and a working directory without a stack file."""
    root = Path(tempfile.mkdtemp(prefix="ps-"))  # short, so that the sockets are in it
    home = Home(root)
    home.run.mkdir()
    monkeypatch.setenv("PENSTOCK_HOME", str(home.root))
    for variable in ("PENSTOCK_ADMIN_KEY", "PENSTOCK_ADMIN_URL", "PENSTOCK_URL", "PENSTOCK_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    yield home
    shutil.rmtree(root)


def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def admin(home: Home) -> Iterator[Fake]:
    """The admin port of `home`."""
    fake = Fake()
    for _ in _serving(_UnixServer(str(home.admin_socket), _handler(fake))):
        yield fake


@pytest.fixture
def gateway(home: Home) -> Iterator[Fake]:
    """The data port of `home`."""
    fake = Fake()
    for _ in _serving(_UnixServer(str(home.gateway_socket), _handler(fake))):
        yield fake


class Remote(msgspec.Struct, frozen=True):
    """A fake on TCP and its address."""

    url: str
    fake: Fake


@pytest.fixture
def remote(home: Home) -> Iterator[Remote]:
    """A port of another machine."""
    fake = Fake()
    server = _TcpServer(("127.0.0.1", 0), _handler(fake))
    for _ in _serving(server):
        yield Remote(f"http://127.0.0.1:{server.server_address[1]}", fake)


Run = Callable[..., Result]


@pytest.fixture
def run(home: Home) -> Run:
    """Run `penstock` with these arguments; `input` is piped in."""

    def invoke(*arguments: str, input: str | bytes | None = None) -> Result:  # noqa: A002  # the name is the runner's
        return CliRunner().invoke(app, list(arguments), input=input)

    return invoke
