from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import pytest
from starlette.responses import PlainTextResponse

from penstock.control.serve import serve


async def ask(address: tuple[str, int], header: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-long: " + header + b"\r\n\r\n")
    try:
        return await reader.readline()
    except ConnectionError:
        return b""  # it was closed with our bytes unread
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def test_a_request_head_is_bounded() -> None:
    async def case() -> list[bytes]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with serve([(PlainTextResponse("served"), listener)]):
                return [await ask(listener.getsockname(), b"x" * size) for size in (30_000, 1_000_000)]

    good, large = asyncio.run(case())
    assert good.startswith(b"HTTP/1.1 200")
    assert large[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 431")


def test_a_connection_that_asks_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.control.serve._FIRST_REQUEST_S", 0.05)

    async def case() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with serve([(PlainTextResponse("served"), listener)]):
                reader, writer = await asyncio.open_connection(*listener.getsockname())
                writer.write(b"GET / HTTP/1.1\r\n")
                async with asyncio.timeout(30):
                    answer = await reader.read()
                writer.close()
                return answer

    assert asyncio.run(case()) == b""
