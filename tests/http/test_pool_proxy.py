"""Through an HTTP proxy, and when there is one to go through."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock.http.pool import Pool, Timeouts
from penstock.http.proxy import parse_proxy, proxy_for
from penstock.types.address import Address
from penstock.types.errors import StartError, UpstreamUnreachable
from tests.http.certificates import Authority
from tests.http.origin import Origin, Peer, Request, Script, answering, ask, fetch, reply, run

SECRET = "p:ss w@rd"
LOGIN = "me:p%3Ass%20w%40rd@"


def connecting(port: int, seen: list[Request], early: bytes = b"") -> Script:
    """A proxy that knows CONNECT, to one port of this machine whatever the name."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def script(peer: Peer) -> None:
        request = await peer.request()
        if request is None:
            return
        seen.append(request)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await peer.send(b"HTTP/1.1 200 Connection", b" established\r\nvia: x\r\n\r\n" + early)
        try:
            await asyncio.gather(pump(peer.reader, writer), pump(reader, peer.writer), return_exceptions=True)
        finally:
            writer.transport.abort()

    return script


@asynccontextmanager
async def through(proxy: Origin, address: Address, login: str = "") -> AsyncIterator[Pool]:
    pool = Pool(address, proxy=f"http://{login}127.0.0.1:{proxy.port}")
    yield pool
    assert pool.busy == 0
    await pool.aclose()


@pytest.mark.parametrize("uv", [True, False])
def test_tls_goes_through_a_tunnel(tmp_path: Path, uv: bool) -> None:
    async def case() -> None:
        authority = Authority(tmp_path, "ca")
        seen: list[Request] = []
        async with (
            Origin(answering(reply(b"secured")), tls=authority.server("models.test")) as origin,
            Origin(connecting(origin.port, seen)) as proxy,
            through(proxy, Address(host="models.test", port=443, tls=True, ca=str(authority.file)), LOGIN) as pool,
        ):
            for _ in range(3):
                assert await fetch(pool) == b"secured"
            assert (pool.idle, proxy.connections, origin.connections) == (1, 1, 1)
        assert seen[0].line == b"CONNECT models.test:443 HTTP/1.1"
        assert seen[0].header(b"host") == [b"models.test:443"]
        login = base64.b64encode(f"me:{SECRET}".encode())
        assert seen[0].header(b"proxy-authorization") == [b"Basic " + login]

    run(case(), uv=uv)


def test_the_certificate_is_checked_through_the_tunnel(tmp_path: Path) -> None:
    async def case() -> None:
        authority = Authority(tmp_path, "ca")
        async with (
            Origin(answering(reply()), tls=authority.server("models.test")) as origin,
            Origin(connecting(origin.port, [])) as proxy,
            through(proxy, Address(host="banks.test", port=443, tls=True, ca=str(authority.file))) as pool,
        ):
            with pytest.raises(
                UpstreamUnreachable, match=r"certificate of the upstream banks\.test:443 is not accepted"
            ):
                await fetch(pool)

    run(case())


def test_plain_requests_are_sent_to_the_proxy_in_absolute_form() -> None:
    async def case() -> None:
        seen: list[Request] = []

        async def script(peer: Peer) -> None:
            while (request := await peer.request()) is not None:
                seen.append(request)
                await peer.send(reply())

        async with (
            Origin(script) as proxy,
            through(proxy, Address(host="models.test", port=8000, path="/v1"), LOGIN) as pool,
        ):
            assert await fetch(pool) == b"ok"
            assert await fetch(pool) == b"ok"
            assert proxy.connections == 1
        for request in seen:
            assert request.line == b"POST http://models.test:8000/v1/x HTTP/1.1"
            assert request.header(b"host") == [b"models.test:8000"]
            assert request.header(b"proxy-authorization") == [b"Basic " + base64.b64encode(f"me:{SECRET}".encode())]

    run(case())


async def closes(peer: Peer) -> None:
    await peer.request()


async def goes_on_for_ever(peer: Peer) -> None:
    await peer.request()
    try:
        while True:
            await peer.send(b"x" * 1000)
    except ConnectionError:
        pass


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (answering(reply(b"no", status=b"407 Proxy Authentication Required")), "refused to connect: it answered 407"),
        (answering(b"hello\r\n\r\n"), "did not answer with HTTP"),
        (answering(b"HTTP/1.1 200 OK\r\n\r\nhello"), "sent more than its answer"),
        (closes, "closed the connection without an answer"),
        (goes_on_for_ever, "did not answer with HTTP"),
    ],
    ids=["refuses", "no http", "says more", "closes", "for ever"],
)
def test_a_proxy_that_does_not_help(tmp_path: Path, script: Script, sentence: str) -> None:
    async def case() -> None:
        address = Address(host="models.test", port=443, tls=True, ca=str(Authority(tmp_path, "ca").file))
        async with Origin(script) as proxy, through(proxy, address, LOGIN) as pool:
            with pytest.raises(UpstreamUnreachable, match=sentence) as failed:
                await fetch(pool)
            assert SECRET not in repr(failed.value)

    run(case())


def test_a_proxy_that_is_silent_or_not_there(tmp_path: Path) -> None:
    async def case() -> None:
        gone = asyncio.Event()

        async def silent(peer: Peer) -> None:
            await peer.gone()
            gone.set()

        address = Address(host="models.test", port=443, tls=True, ca=str(Authority(tmp_path, "ca").file))
        async with Origin(silent) as proxy, through(proxy, address) as pool:
            with pytest.raises(UpstreamUnreachable, match=f"proxy 127.0.0.1:{proxy.port} did not .* within 0.05 s"):
                await ask(pool, timeouts=Timeouts(connect_s=0.05))
            await asyncio.wait_for(gone.wait(), 20)
        async with through(proxy, address) as pool:
            with pytest.raises(UpstreamUnreachable, match=r"The proxy .* refuses connections"):
                await fetch(pool)

    run(case())


@pytest.mark.parametrize("tls", [False, True])
def test_a_proxy_that_speaks_tls_itself(tmp_path: Path, tls: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def case() -> None:
        authority = Authority(tmp_path, "ca")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))  # what the system trusts
        context = authority.server("127.0.0.1", "models.test")
        async with Origin(answering(reply(b"secured")), tls=context if tls else None) as origin:
            script = connecting(origin.port, []) if tls else answering(reply(b"secured"))
            async with Origin(script, tls=context) as proxy:
                address = Address(host="models.test", port=443 if tls else 80, tls=tls)
                pool = Pool(address, proxy=f"https://127.0.0.1:{proxy.port}")
                assert await fetch(pool) == b"secured"
                await pool.aclose()

    run(case())


def test_reading_the_address_of_a_proxy() -> None:
    proxy = parse_proxy("http://proxy.test:3128")
    assert (proxy.host, proxy.port, proxy.tls, proxy.authorization) == ("proxy.test", 3128, False, b"")
    assert parse_proxy("proxy.test:3128") == proxy
    assert parse_proxy("https://proxy.test").port == 443
    assert parse_proxy("http://[::1]").host == "::1"
    assert SECRET not in repr(parse_proxy(f"http://{LOGIN}proxy.test"))
    assert "Basic" not in repr(parse_proxy(f"http://{LOGIN}proxy.test"))


@pytest.mark.parametrize(
    "url",
    ["socks5://me:hidden@proxy.test:1080", "http://me:hidden@:80", "http://me:hidden@x:99999", "http://[me:hidden"],
)
def test_an_address_that_is_no_proxys(url: str) -> None:
    with pytest.raises(StartError) as failed:
        Pool(Address(host="models.test", port=80), proxy=url)
    assert "hidden" not in str(failed.value)


WEB = {"HTTPS_PROXY": "http://s.test", "HTTP_PROXY": "http://p.test"}


@pytest.mark.parametrize(
    ("address", "environ", "proxy"),
    [
        (Address(host="api.test", port=443, tls=True), {}, None),
        (Address(host="api.test", port=443, tls=True), WEB, "http://s.test"),
        (Address(host="api.test", port=80), WEB, "http://p.test"),
        (Address(host="api.test", port=80), WEB | {"http_proxy": "http://l.test"}, "http://l.test"),
        (Address(host="api.test", port=80), {"HTTP_PROXY": ""}, None),
        (Address(unix="/run/engine.sock"), WEB, None),
        (Address(host="localhost", port=80), WEB, None),
        (Address(host="127.0.0.9", port=80), WEB, None),
        (Address(host="::1", port=80), WEB, None),
        (Address(host="api.test", port=80), WEB | {"NO_PROXY": "*"}, None),
        (Address(host="API.test", port=80), WEB | {"NO_PROXY": "x.test, api.TEST"}, None),
        (Address(host="api.test", port=80), WEB | {"no_proxy": "test"}, None),
        (Address(host="api.test", port=80), WEB | {"no_proxy": ".test"}, None),
        (Address(host="api.test", port=80), WEB | {"no_proxy": "*.test"}, None),
        (Address(host="api.test", port=80), WEB | {"no_proxy": "pi.test,other,,"}, "http://p.test"),
        (Address(host="api.test", port=80), WEB | {"no_proxy": "api.test:80"}, None),
        (Address(host="api.test", port=81), WEB | {"no_proxy": "api.test:80"}, "http://p.test"),
        (Address(host="10.1.2.3", port=80), WEB | {"no_proxy": "10.0.0.0/8"}, None),
        (Address(host="11.1.2.3", port=80), WEB | {"no_proxy": "10.0.0.0/8,x/y"}, "http://p.test"),
        (Address(host="10.1.2.3", port=80), WEB | {"no_proxy": "10.1.2.3"}, None),
        (Address(host="fd00::1", port=80), WEB | {"no_proxy": "[fd00::1]"}, None),
        (Address(host="fd00::1", port=80), WEB | {"no_proxy": "fd00::/8"}, None),
    ],
)
def test_which_proxy(address: Address, environ: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(address, environ) == proxy
