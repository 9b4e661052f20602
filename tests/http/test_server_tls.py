"""TLS of the server, with certificates made here."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from penstock.http.limits import Limits
from penstock.http.server import Request, Responder
from penstock.http.tls import ServerTls
from penstock.types.errors import StartError
from tests.http.serving import Clock, Pair, Served, echo, make_pair, run, serving, soon, until

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path)


def test_requests_over_tls(pair: Pair) -> None:
    async def case() -> None:
        tls = ServerTls(pair.certificate, pair.key)
        async with serving(tls=tls, trust=pair.trust()) as served, served.client() as client:
            body = b"x" * 1_000_000
            for _ in range(2):
                assert (await client.ask(GET)).body == b"GET /a? "
                answer = await client.ask(
                    b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(body) + body
                )
                assert answer.body == b"POST /? " + body
            await client.send(GET * 50)
            for _ in range(50):
                assert (await client.answer()).body == b"GET /a? "
            await client.send(b"nonsense\n")
            assert (await client.answer()).status == 400

    run(case)


def test_tls_over_a_unix_socket_and_the_standard_loop(pair: Pair) -> None:
    async def case() -> None:
        tls = ServerTls(pair.certificate, pair.key)
        async with serving(tls=tls, trust=pair.trust(), unix=True) as served, served.client() as client:
            assert (await client.ask(GET)).body == b"GET /a? "
            assert (await client.ask(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))).status == 200
            assert await client.ended() == b""

    run(case)
    asyncio.run(case())


def test_versions_and_protocols(pair: Pair) -> None:
    async def case() -> None:
        tls = ServerTls(pair.certificate, pair.key)
        async with serving(tls=tls) as served:
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                trust = pair.trust()
                trust.minimum_version = trust.maximum_version = version
                trust.set_alpn_protocols(["h2", "http/1.1"])
                async with served.client(trust) as client:
                    session = client.writer.get_extra_info("ssl_object")
                    assert session.selected_alpn_protocol() == "http/1.1"
                    assert (await client.ask(GET)).status == 200
            old = pair.trust()
            with pytest.warns(DeprecationWarning):
                old.minimum_version = ssl.TLSVersion.TLSv1_1
                old.maximum_version = ssl.TLSVersion.TLSv1_1
            old.set_ciphers("ALL:@SECLEVEL=0")
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with served.client(old):
                    raise AssertionError("TLS 1.1 was accepted")
            weak = pair.trust()
            weak.maximum_version = ssl.TLSVersion.TLSv1_2
            weak.set_ciphers("AES128-SHA")
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with served.client(weak):
                    raise AssertionError("a cipher without forward secrecy was accepted")
            await until(lambda: served.server.connections == 0)

    run(case)


async def _serial(served: Served, trust: ssl.SSLContext) -> bytes:
    async with served.client(trust) as client:
        assert (await client.ask(GET)).status == 200
        certificate = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert isinstance(certificate, bytes)
        return certificate


def test_a_renewed_certificate_is_used(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    async def case() -> None:
        tls = ServerTls(pair.certificate, pair.key)
        assert not tls.reload_if_changed()
        first = pair.trust()
        async with serving(tls=tls) as served, served.client(first) as old:
            before = await _serial(served, first)
            make_pair(pair.key.parent)
            second = pair.trust()
            served.server.sweep()
            after = await _serial(served, second)
            assert before != after
            assert (await old.ask(GET)).status == 200, "an open connection goes on"

            # only one half has been renewed: both stay as they were, and are logged once
            other = make_pair(pair.key.parent, "other")
            pair.certificate.write_bytes(other.certificate.read_bytes())
            served.server.sweep()
            served.server.sweep()
            assert await _serial(served, second) == after
            assert caplog.text.count("cannot be used") == 1
            pair.certificate.unlink()
            served.server.sweep()
            assert await _serial(served, second) == after

            # the other half follows
            pair.certificate.write_bytes(other.certificate.read_bytes())
            pair.key.write_bytes(other.key.read_bytes())
            served.server.sweep()
            assert await _serial(served, other.trust()) not in (before, after)

    run(case)


_KEY_BEGINS, _KEY_ENDS = b"-----BEGIN PRIVATE KEY-----\n", b"\n-----END PRIVATE KEY-----\n"
_CERTIFICATE_BEGINS, _CERTIFICATE_ENDS = b"-----BEGIN CERTIFICATE-----\n", b"\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("missing", r"the private key /.*/server\.key cannot be read: No such file or directory$"),
        ("empty", r"/.*/server\.pem holds no certificate in PEM format$"),
        ("no PEM", r"/.*/server\.pem holds no certificate in PEM format$"),
        ("damaged certificate", r"the certificate /.*/server\.pem is damaged$"),
        ("damaged key", r"the private key /.*/server\.key is damaged"),
        ("not a pair", r"the private key /.*/other\.key does not belong to the certificate /.*/server\.pem$"),
        ("passphrase", r"/.*/server\.key: it is protected by a passphrase$"),
    ],
)
def test_a_broken_pair_is_refused_at_the_start(broken: str, said: str, pair: Pair) -> None:
    if broken == "missing":
        pair.key.unlink()
    elif broken == "empty":
        pair.certificate.write_bytes(b"")
    elif broken == "no PEM":
        pair.certificate.write_bytes(b"certainly")
    elif broken == "damaged certificate":
        pair.certificate.write_bytes(_CERTIFICATE_BEGINS + b"AAAA" + _CERTIFICATE_ENDS)
    elif broken == "damaged key":
        pair.key.write_bytes(_KEY_BEGINS + b"AAAA" + _KEY_ENDS)
    elif broken == "not a pair":
        pair = Pair(pair.certificate, make_pair(pair.key.parent, "other").key)
    else:
        from cryptography.hazmat.primitives import serialization

        key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
    with pytest.raises(StartError, match=rf"^TLS cannot be used: {said}"):
        ServerTls(pair.certificate, pair.key)


def test_a_handshake_that_fails_or_never_ends(pair: Pair) -> None:
    async def case() -> None:
        tls = ServerTls(pair.certificate, pair.key)
        async with serving(tls=tls, limits=Limits(head_s=0.2)) as served:
            loop = asyncio.get_running_loop()
            for start in (GET, b"\x16\x03\x01", b""):
                with await served.raw() as sock:
                    await loop.sock_sendall(sock, start)
                    try:
                        while got := await soon(loop.sock_recv(sock, 1000)):
                            assert b"HTTP" not in got
                    except ConnectionResetError:
                        continue
            assert await _serial(served, pair.trust())

    run(case)


def test_a_client_that_leaves_cancels_the_handler_over_tls(pair: Pair) -> None:
    async def case() -> None:
        for behind in (0, 100_000):
            begun, cancelled = asyncio.Event(), asyncio.Event()

            async def wait(
                request: Request,
                responder: Responder,
                begun: asyncio.Event = begun,
                cancelled: asyncio.Event = cancelled,
            ) -> None:
                begun.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    cancelled.set()

            tls = ServerTls(pair.certificate, pair.key)
            async with serving(wait, Limits(read_ahead=1000), tls=tls, trust=pair.trust()) as served:
                async with served.client() as client:
                    await client.send(GET)
                    await soon(begun.wait())
                    await client.send(GET * (behind // len(GET)))
                    await asyncio.sleep(0.01)
                    client.writer.transport.abort()
                for _ in range(2):
                    await asyncio.sleep(0.01)
                    served.server.sweep()
                await soon(cancelled.wait())

    run(case)


def test_a_peer_that_takes_nothing_is_cut_over_tls(pair: Pair) -> None:
    clock = Clock()
    ended = asyncio.Event()

    async def endless(request: Request, responder: Responder) -> None:
        try:
            responder.start(200, b"")
            while True:
                await responder.write(b"x" * 10_000)
        finally:
            ended.set()

    async def case() -> None:
        tls = ServerTls(pair.certificate, pair.key)
        async with serving(endless, tls=tls, trust=pair.trust(), clock=clock) as served, served.client() as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it is a full transport
            await client.send(GET)
            await until(lambda: served.server.active == 1)
            for _ in range(5):
                await asyncio.sleep(0.05)
                served.server.sweep()
            clock.now += 31
            served.server.sweep()
            clock.now += 31
            served.server.sweep()
            await soon(ended.wait())
            client.writer.transport.abort()

    run(case)


def test_answers_before_the_body_over_tls(pair: Pair) -> None:
    async def early(request: Request, responder: Responder) -> None:
        if request.path == "/echo":
            await echo(request, responder)
        else:
            await responder.send(401, b"", b"no")

    async def case() -> None:
        tls = ServerTls(pair.certificate, pair.key)
        async with serving(early, tls=tls, trust=pair.trust()) as served, served.client() as client:
            answer = await client.ask(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nx")
            assert (answer.status, answer.headers["connection"]) == (401, "close")

    run(case)
