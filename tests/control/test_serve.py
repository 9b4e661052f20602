from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse

from penstock.control.serve import serve
from penstock.types.errors import StartError
from tests.http.serving import Pair, make_pair


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


async def tls_ask(address: tuple[str, int], pair: Pair) -> bytes:
    reader, writer = await asyncio.open_connection(*address, ssl=pair.trust(), server_hostname="localhost")
    writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    with suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()
    return answer


def test_the_admin_port_over_tls_and_its_unix_socket_in_the_clear(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    tls = (str(pair.certificate), str(pair.key))

    async def case() -> None:
        app = PlainTextResponse("served")
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as local:
            local.bind(str(tmp_path / "admin.sock"))
            local.listen()
            async with serve([(app, listener), (app, local)], tls):
                answer = await tls_ask(listener.getsockname(), pair)
                assert answer.startswith(b"HTTP/1.1 200")
                assert answer.endswith(b"served")
                assert not (await ask(listener.getsockname(), b"x")).startswith(b"HTTP/1.1 200"), "in the clear"
                reader, writer = await asyncio.open_unix_connection(str(tmp_path / "admin.sock"))
                writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                assert (await reader.read()).startswith(b"HTTP/1.1 200")
                writer.close()
                await writer.wait_closed()

    asyncio.run(case())


def test_old_versions_of_tls_are_not_spoken(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)

    async def case() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with serve([(PlainTextResponse("served"), listener)], (str(pair.certificate), str(pair.key))):
                for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                    trust = pair.trust()
                    trust.minimum_version = trust.maximum_version = version
                    _, writer = await asyncio.open_connection(
                        *listener.getsockname(), ssl=trust, server_hostname="localhost"
                    )
                    writer.transport.abort()
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                context.set_ciphers("ALL:@SECLEVEL=0")
                with pytest.warns(DeprecationWarning):
                    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await asyncio.open_connection(*listener.getsockname(), ssl=context)

    asyncio.run(case())


def test_a_renewed_certificate_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.control.serve._RENEW_S", 0.01)
    pair = make_pair(tmp_path)

    async def case() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with serve([(PlainTextResponse("served"), listener)], (str(pair.certificate), str(pair.key))):
                assert b"served" in await tls_ask(listener.getsockname(), pair)
                renewed = make_pair(tmp_path)  # in the same files
                async with asyncio.timeout(30):
                    while True:
                        with suppress(ssl.SSLError, ConnectionError):
                            if b"served" in await tls_ask(listener.getsockname(), renewed):
                                break

    asyncio.run(case())


def test_a_certificate_that_is_none_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("certainly")

    async def case() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            pair = (str(tmp_path / "a.pem"), str(tmp_path / "a.pem"))
            async with serve([(PlainTextResponse("served"), listener)], pair):
                raise AssertionError("it is not served")

    with pytest.raises(StartError, match=r"TLS cannot be used: .*a\.pem holds no certificate"):
        asyncio.run(case())
