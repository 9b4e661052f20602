"""Connections that another worker has left waiting."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.http.limits import Limits
from penstock.http.neighbours import Neighbours
from penstock.http.server import Server
from penstock.http.tls import ServerTls
from tests.http.serving import Served, make_pair, run, serving, until

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@contextlib.asynccontextmanager
async def left_alone(server: Server, tls: ServerTls | None = None) -> AsyncIterator[tuple[Neighbours, int]]:
    """A listener that nobody serves but those who look; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as kept:
        listener = kept.dup()
        listener.setblocking(False)
        neighbours = Neighbours(server, [listener], tls)
        try:
            yield neighbours, kept.getsockname()[1]
        finally:
            await neighbours.aclose()


def test_a_full_worker_leaves_what_waits_to_others() -> None:
    async def case() -> None:
        async with serving(limits=Limits(max_connections=1)) as served, left_alone(served.server) as (neighbours, port):
            left = Served(served.server, ("127.0.0.1", port), None)
            async with left.client() as one, left.client() as another:
                for client in (one, another):
                    await client.send(GET)
                neighbours.look()
                assert (await one.answer()).body == b"GET /? "
                neighbours.look()
                one.writer.close()
                await until(lambda: not served.server.connections)
                neighbours.look()
                assert (await another.answer()).status == 200

    run(case)


def test_what_was_taken_is_known_to_the_server_when_taking_ends() -> None:
    async def case() -> None:
        async with serving() as served, left_alone(served.server) as (neighbours, port):
            left = Served(served.server, ("127.0.0.1", port), None)
            async with left.client() as client:
                await client.send(GET)
                neighbours.look()
                assert served.server.connections == 0
                await neighbours.aclose()
                assert served.server.connections == 1
                assert (await client.answer()).status == 200

    run(case)


def test_what_waits_is_served_at_the_next_look() -> None:
    async def case() -> None:
        async with serving() as served, left_alone(served.server) as (neighbours, port):
            left = Served(served.server, ("127.0.0.1", port), None)
            async with left.client() as one, left.client() as another:
                for client in (one, another):
                    await client.send(GET)
                assert served.server.connections == 0
                neighbours.look()
                for client in (one, another):
                    assert (await client.answer()).body == b"GET /? "
                assert served.server.connections == 2
                neighbours.look()  # nothing waits
                assert (await one.ask(GET)).status == 200

    run(case)


def test_over_tls_and_past_a_client_that_fails(tmp_path: Path) -> None:
    async def case() -> None:
        pair = make_pair(tmp_path)
        tls = ServerTls(pair.certificate, pair.key)
        async with serving(tls=tls) as served, left_alone(served.server, tls) as (neighbours, port):
            with socket.create_connection(("127.0.0.1", port)) as plain:
                plain.sendall(b"no handshake\r\n\r\n")
                neighbours.look()
            left = Served(served.server, ("127.0.0.1", port), pair.trust())

            async def ask() -> bytes:
                async with left.client() as client:
                    return (await client.ask(GET)).body

            asking = asyncio.create_task(ask())

            def answered() -> bool:
                neighbours.look()
                return asking.done()

            await until(answered)
            assert asking.result() == b"GET /? "

    run(case)


def test_once_closed_it_takes_nothing_and_serves_on_what_it_has_taken() -> None:
    async def case() -> None:
        async with serving() as served, left_alone(served.server) as (neighbours, port):
            left = Served(served.server, ("127.0.0.1", port), None)
            async with left.client() as taken:
                await taken.send(GET)
                neighbours.look()
                await taken.answer()
                await neighbours.aclose()
                async with left.client() as waiting:
                    await waiting.send(GET)
                    neighbours.look()
                    assert (await taken.ask(GET)).status == 200
                    assert served.server.connections == 1
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.05):
                            await waiting.answer()

    run(case)
