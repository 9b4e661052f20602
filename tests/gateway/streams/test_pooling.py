"""Kept connections that the upstream has meanwhile closed never fail a request that can be sent again."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from penstock.types.address import Address
from tests.gateway.streams.client import Client
from tests.gateway.streams.conftest import Configured
from tests.processes import Front, Lab, model, provider

IMPATIENT = [
    {"probability": 0.4, "order": {"close_idle": 0}},
    {"probability": 0.4, "order": {"close_idle": "300us"}},
    {"order": {"close_idle": "2ms"}},
]


@pytest.fixture
def impatient(configured: Configured) -> Iterator[tuple[Front, Lab]]:
    """A gateway whose upstream closes every connection unannounced, at once or a moment after its answer."""
    with configured() as (front, lab), httpx.Client(base_url=lab.url) as desk:
        desk.post("/lab/script", json={"seed": 5, "rules": IMPATIENT}).raise_for_status()
        yield front, lab
        desk.post("/lab/reset").raise_for_status()


def many(front: Front, count: int, prompt: str) -> int:
    """Ask in turn, streamed and plain, on one connection; return how many were answered well."""
    good = 0
    with Client(front) as client:
        for number in range(count):
            stream = number % 2 == 0
            answer = client.ask(prompt, stream=stream)
            assert answer.status == 200, answer.data
            text = answer.text if stream else answer.json["choices"][0]["message"]["content"]
            good += text == f"echo: {prompt[:4096]}" and (answer.done or not stream)
    return good


def test_one_after_the_other(impatient: tuple[Front, Lab]) -> None:
    assert many(impatient[0], 300, "hello there") == 300


def test_many_at_a_time(impatient: tuple[Front, Lab]) -> None:
    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(lambda _: many(impatient[0], 40, "hello there"), range(16))) == 640


def test_large_bodies(impatient: tuple[Front, Lab]) -> None:
    """Which are written in pieces, so that the upstream's end is met in the middle of them."""
    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(lambda _: many(impatient[0], 20, "word " * 100_000), range(4))) == 80


@contextmanager
def counting_origin() -> Iterator[tuple[int, list[int]]]:
    """An upstream that ends its streams a moment after `[DONE]`, as real ones do; gives its port and connections."""
    listener = socket.create_server(("127.0.0.1", 0))
    opened: list[int] = []
    pause = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while head := lines.readline():
                length = 0
                while (line := lines.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                lines.read(length)
                assert head.startswith(b"POST ")
                event = b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
                connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                connection.sendall(b"%x\r\n%b\r\n" % (len(event), event))
                pause.wait(0.005)  # the end of the stream comes in a segment of its own
                connection.sendall(b"0\r\n\r\n")

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            opened.append(connection.fileno())
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield listener.getsockname()[1], opened
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()


def test_the_connection_of_a_stream_that_ends_behind_its_end_is_kept(tmp_path: Path) -> None:
    with counting_origin() as (port, opened), Front(tmp_path) as front:
        front.publish([provider("origin", Address(host="127.0.0.1", port=port, path="/v1"))], [model("chat", "origin")])
        with Client(front) as client:
            for _ in range(10):
                assert client.ask().done
        assert len(opened) == 1


def test_connections_that_end_well_are_kept(front: Front, lab: Lab) -> None:
    assert many(front, 20, "hello there") == 20
    assert lab.stats()["open_connections"] < 20
