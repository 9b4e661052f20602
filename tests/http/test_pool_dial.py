"""Connecting: TLS and whom it trusts, names and their addresses."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest

from penstock.http.pool import Pool, Timeouts
from penstock.types.address import Address
from penstock.types.errors import UpstreamUnreachable
from tests.http.certificates import Authority
from tests.http.origin import Clock, Origin, Peer, Script, answering, ask, fetch, reply, run, turns, until


async def to_loopback(host: str, port: int) -> Sequence[str]:
    assert host.endswith(".test")
    return ["127.0.0.1"]


def tls_address(origin: Origin, ca: Path | None, host: str = "models.test") -> Address:
    return Address(host=host, port=origin.port, tls=True, ca=None if ca is None else str(ca))


@pytest.mark.parametrize("uv", [True, False])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_with_an_authority_of_ones_own(tmp_path: Path, version: ssl.TLSVersion, uv: bool) -> None:
    async def case() -> None:
        names: list[str | None] = []
        context = Authority(tmp_path, "ca").server("models.test", version=version)
        context.sni_callback = lambda _socket, name, _context: names.append(name)
        async with Origin(answering(reply(b"x" * 500_000)), tls=context) as origin:
            pool = Pool(tls_address(origin, tmp_path / "ca.pem"), resolve=to_loopback)
            for _ in range(3):
                assert await fetch(pool, b"y" * 500_000) == b"x" * 500_000
            assert (pool.busy, pool.idle, origin.connections) == (0, 1, 1)
            assert names == ["models.test"]
            await pool.aclose()

    run(case(), uv=uv)


def test_tls_to_an_ip_address(tmp_path: Path) -> None:
    async def case() -> None:
        async with Origin(answering(reply()), tls=Authority(tmp_path, "ca").server("127.0.0.1")) as origin:
            pool = Pool(tls_address(origin, tmp_path / "ca.pem", host="127.0.0.1"))
            assert await fetch(pool) == b"ok"
            await pool.aclose()

    run(case())


def test_tls_over_a_unix_socket(tmp_path: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        tls = peer.writer.get_extra_info("ssl_object")
        await peer.send(reply(tls.selected_alpn_protocol().encode()))
        await peer.gone()

    async def case() -> None:
        context = Authority(tmp_path, "ca").server("localhost")
        context.set_alpn_protocols(["h2", "http/1.1"])
        async with Origin(script, tls=context, unix=tmp_path / "s") as origin:
            pool = Pool(Address(unix=str(tmp_path / "s"), tls=True, ca=str(tmp_path / "ca.pem")))
            assert await fetch(pool) == b"http/1.1"
            assert origin.connections == 1
            await pool.aclose()

    run(case())


@pytest.mark.parametrize("uv", [True, False])
def test_a_certificate_that_is_not_to_be_trusted(tmp_path: Path, uv: bool) -> None:
    async def case() -> None:
        context = Authority(tmp_path, "ca").server("models.test")
        other = Authority(tmp_path, "other").file
        async with Origin(answering(reply()), tls=context) as origin:
            for address, reason in (
                (tls_address(origin, other), "unable to get local issuer certificate"),
                (tls_address(origin, None), "unable to get local issuer certificate"),
                (tls_address(origin, tmp_path / "ca.pem", host="banks.test"), "Hostname mismatch"),
            ):
                pool = Pool(address, resolve=to_loopback)
                with pytest.raises(UpstreamUnreachable) as failed:
                    await fetch(pool)
                start = f"The TLS certificate of the upstream {address.host}:{origin.port} is not accepted: {reason}"
                assert str(failed.value).startswith(start)
                assert isinstance(failed.value.__cause__, ssl.SSLCertVerificationError)
                assert (pool.busy, pool.idle) == (0, 0)
                await pool.aclose()

    run(case(), uv=uv)


def test_a_server_that_does_not_speak_tls(tmp_path: Path) -> None:
    async def says_hello(peer: Peer) -> None:
        await peer.send(b"hello, who is there?\r\n")
        await peer.gone()

    async def leaves(peer: Peer) -> None:
        peer.close()

    async def case(script: Script) -> None:
        ca = Authority(tmp_path, "ca").file
        async with Origin(script) as origin:
            pool = Pool(tls_address(origin, ca), resolve=to_loopback)
            with pytest.raises(UpstreamUnreachable, match=r"upstream models\.test"):
                await fetch(pool)
            assert pool.busy == 0
            await pool.aclose()

    run(case(says_hello))
    run(case(leaves))


def test_a_handshake_that_never_ends_is_given_up_and_closed(tmp_path: Path) -> None:
    async def case() -> None:
        gone = asyncio.Event()

        async def script(peer: Peer) -> None:
            await peer.gone()
            gone.set()

        ca = Authority(tmp_path, "ca").file
        async with Origin(script) as origin:
            pool = Pool(tls_address(origin, ca), resolve=to_loopback)
            with pytest.raises(UpstreamUnreachable, match=r"within 0\.05 s"):
                await fetch(pool, timeouts=Timeouts(connect_s=0.05))
            await asyncio.wait_for(gone.wait(), 20)
            gone.clear()
            asking = asyncio.create_task(fetch(pool))
            await until(lambda: origin.connections == 2)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await asyncio.wait_for(gone.wait(), 20)
            assert pool.busy == 0
            await pool.aclose()

    run(case())


def test_a_file_of_certificates_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing here")

    async def case() -> None:
        for name in ("empty.pem", "missing.pem"):
            pool = Pool(Address(host="127.0.0.1", port=1, tls=True, ca=str(tmp_path / name)))
            with pytest.raises(UpstreamUnreachable, match=f"The trusted certificates .*{name} cannot be read: .+"):
                await fetch(pool)
            await pool.aclose()

    run(case())


class Zone:
    """A name server of the test's own."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.asked = 0

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        if not self.addresses:
            raise OSError("no such name")
        return self.addresses


def test_the_next_address_is_tried_when_one_fails() -> None:
    async def case() -> None:
        async with Origin(answering(reply())) as origin:
            zone = Zone("127.0.0.3", "127.0.0.2", "127.0.0.1")
            pool = Pool(Address(host="models.test", port=origin.port), resolve=zone.resolve)
            assert await fetch(pool) == b"ok"
            await pool.aclose()
            zone = Zone("127.0.0.3", "127.0.0.2")
            pool = Pool(Address(host="models.test", port=origin.port), resolve=zone.resolve)
            with pytest.raises(UpstreamUnreachable, match="refuses connections"):
                await fetch(pool)
            await pool.aclose()

    run(case())


def test_a_name_that_moves_takes_its_connections_along() -> None:
    async def case() -> None:
        clock = Clock()
        zone = Zone("127.0.0.1")
        async with (
            Origin(answering(reply(b"old"))) as old,
            Origin(answering(reply(b"new")), host="127.0.0.2", port=old.port) as new,
        ):
            pool = Pool(Address(host="models.test", port=old.port), clock=clock, resolve=zone.resolve, idle_s=1e9)
            held = await ask(pool)
            assert await fetch(pool) == b"old"
            zone.addresses = ["127.0.0.2"]
            clock.now += 29
            pool.sweep()
            assert await fetch(pool) == b"old"
            assert (pool.idle, zone.asked) == (1, 1)
            clock.now += 1
            pool.sweep()  # looks the name up again
            await until(lambda: zone.asked == 2)
            await turns()
            assert pool.idle == 0
            assert await held.read(10) == b"old"
            held.close()
            assert pool.idle == 0  # it was in use when the name moved, and went then
            assert await fetch(pool) == b"new"
            assert (old.connections, new.connections, zone.asked) == (2, 1, 2)
            await pool.aclose()

    run(case())


def test_new_connections_ask_again_when_the_answer_is_old() -> None:
    async def case() -> None:
        clock = Clock()
        zone = Zone("127.0.0.1")
        async with Origin(answering(reply())) as origin:
            pool = Pool(Address(host="models.test", port=origin.port), clock=clock, resolve=zone.resolve)
            held = [await ask(pool) for _ in range(3)]
            assert zone.asked == 1
            clock.now += 30
            held += await asyncio.gather(*(ask(pool) for _ in range(3)))
            assert zone.asked == 2  # three connections at once, one question
            for got in held:
                got.close()
            await pool.aclose()

    run(case())


def test_a_name_server_that_fails() -> None:
    async def case() -> None:
        clock = Clock()
        zone = Zone("127.0.0.1")
        async with Origin(answering(reply())) as origin:
            pool = Pool(Address(host="models.test", port=origin.port), clock=clock, resolve=zone.resolve, idle_s=1e9)
            assert await fetch(pool) == b"ok"
            zone.addresses = []
            clock.now += 30
            for _ in range(3):
                pool.sweep()
                await turns()
            assert zone.asked == 2  # not at every sweep
            with await ask(pool) as kept:  # what is connected stays of use
                assert kept.reused
                with pytest.raises(UpstreamUnreachable, match=r"name models\.test could not be resolved"):
                    await ask(pool)
                assert await kept.read(10) == b"ok"
            zone.addresses = ["127.0.0.1"]
            first, second = await ask(pool), await ask(pool)
            assert (first.reused, second.reused) == (True, False)
            first.close()
            second.close()
            await pool.aclose()

    run(case())


@pytest.mark.parametrize("host", ["localhost", "no-such-name.invalid", "a" * 70, "a..b"])
def test_the_system_resolver(host: str) -> None:
    async def case() -> None:
        async with Origin(answering(reply())) as origin:
            pool = Pool(Address(host=host, port=origin.port))
            if host == "localhost":
                assert await fetch(pool) == b"ok"
            else:
                with pytest.raises(UpstreamUnreachable, match="could not be resolved"):
                    await fetch(pool)
            await pool.aclose()

    run(case())


def test_a_query_in_progress_ends_with_the_pool() -> None:
    async def case() -> None:
        async def resolve(host: str, port: int) -> Sequence[str]:
            await asyncio.Event().wait()
            return []

        pool = Pool(Address(host="models.test", port=1), resolve=resolve)
        asking = [asyncio.create_task(ask(pool)) for _ in range(2)]
        await turns()
        asking[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking[0]
        await turns()
        assert not asking[1].done()  # the other still waits for the same query
        await pool.aclose()
        with pytest.raises(UpstreamUnreachable):
            await asking[1]
        assert pool.busy == 0

    run(case())
