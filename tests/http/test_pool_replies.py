"""Replies, byte by byte: whatever the pieces they arrive in, the same reply comes out, or the same failure."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.http.pool import Pool
from penstock.types.errors import UpstreamFailed
from tests.http.origin import Origin, Peer, Script, answering, ask, fetch, reply, run

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\nserver: x\r\n\r\n"

GOOD = {
    "length": (reply(b"hello", b"x-a:", b"X-B: one  ", b"x-b: two"), b"hello", True),
    "chunked": (CHUNKED + b'\r\n3\r\nhel\r\n2;name="va;lue"\r\nlo\r\n0\r\nx-sum: 1\r\n\r\n', b"hello", True),
    "interim": (INTERIM + reply(b"hello"), b"hello", True),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", b"", True),
    "empty": (reply(b""), b"", True),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello", b"hello", True),
    "until close": (b"HTTP/1.1 200 OK\r\n\r\nhello", b"hello", False),
    "1.0 until close": (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello", False),
}  # fmt: skip

BAD = {
    "not http": b"SSH-2.0-OpenSSH_9.2\r\n",
    "http/0.9": b"<html>hello</html>",
    "status below 100": b"HTTP/1.1 099 No\r\ncontent-length: 0\r\n\r\n",
    "no end of head": b"HTTP/1.1 200 OK\r\nserver: x\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    "folded header": b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n",
    "header without colon": b"HTTP/1.1 200 OK\r\nserver\r\ncontent-length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "length and chunks": CHUNKED + b"content-length: 3\r\n\r\n0\r\n\r\n",
    "negative length": b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    "coding we did not ask for": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "other protocol": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello",
    "interim with a body": b"HTTP/1.1 199 Hm\r\ncontent-length: 3\r\n\r\nabc" + reply(b""),
    "only interim": INTERIM,
    "short body": b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello",
    "chunk size is no number": CHUNKED + b"\r\n5\r\nhello\r\nzz\r\nhello\r\n0\r\n\r\n",
    "chunk size overflows": CHUNKED + b"\r\n5\r\nhello\r\nfffffffffffffffff\r\n",
    "negative chunk size": CHUNKED + b"\r\n-5\r\nhello\r\n0\r\n\r\n",
    "chunk longer than said": CHUNKED + b"\r\n4\r\nhello\r\n0\r\n\r\n",
    "chunk cut": CHUNKED + b"\r\n9\r\nhello",
    "no last chunk": CHUNKED + b"\r\n5\r\nhello\r\n",
    "last chunk cut": CHUNKED + b"\r\n5\r\nhello\r\n0\r\n",
}


def then_closing(*parts: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*parts)

    return script


@pytest.mark.parametrize("uv", [True, False])
@pytest.mark.parametrize("name", list(GOOD))
def test_a_reply_split_at_every_byte(name: str, uv: bool) -> None:
    answer, body, kept = GOOD[name]
    splits = [(answer[:at], answer[at:]) for at in range(1, len(answer))] + [tuple(bytes([byte]) for byte in answer)]

    async def script(peer: Peer) -> None:
        while splits and await peer.request() is not None:
            await peer.send(*splits.pop())
            if not kept:
                return
        await peer.gone()

    async def case() -> None:
        count = len(splits)
        async with Origin(script) as origin:
            pool = Pool(origin.address)
            for at in range(count):
                with await ask(pool) as got:
                    assert await got.read(100) == body
                    assert got.status == int(answer.rpartition(b"HTTP/1.")[2][2:5])
                    assert got.reused == (kept and at > 0)
            assert origin.connections == (1 if kept else count)
            await pool.aclose()

    run(case(), uv=uv)


@pytest.mark.parametrize("name", list(BAD))
def test_a_bad_reply_whole_and_byte_by_byte(name: str) -> None:
    async def case() -> None:
        for parts in ([BAD[name]], [bytes([byte]) for byte in BAD[name]]):
            async with Origin(then_closing(*parts)) as origin:
                pool = Pool(origin.address)
                with pytest.raises(UpstreamFailed) as failed:
                    await fetch(pool)
                assert str(failed.value).startswith(f"The upstream 127.0.0.1:{origin.port} ")
                assert str(failed.value).endswith(".")
                assert (pool.busy, pool.idle, origin.connections) == (0, 0, 1)
                await pool.aclose()

    run(case())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("not http", "malformed answer: Expected HTTP/"),
        ("status below 100", "malformed answer: its status is 99"),
        ("other protocol", "malformed answer: it switches protocols"),
        ("coding we did not ask for", "malformed answer: its transfer coding is not chunked"),
        ("no end of head", "closed the connection without an answer"),
        ("chunk cut", "closed the connection in the middle of its answer"),
    ],
)
def test_what_was_wrong_is_said(name: str, reason: str) -> None:
    async def case() -> None:
        async with Origin(then_closing(BAD[name])) as origin:
            pool = Pool(origin.address)
            with pytest.raises(UpstreamFailed, match=reason):
                await fetch(pool)
            await pool.aclose()

    run(case())


def test_headers_are_lower_case_and_joined() -> None:
    async def case() -> None:
        async with Origin(answering(INTERIM + GOOD["length"][0])) as origin:
            pool = Pool(origin.address)
            with await ask(pool) as got:
                assert got.headers == {b"content-length": b"5", b"x-a": b"", b"x-b": b"one, two"}
            await pool.aclose()

    run(case())


def test_trailers_are_no_headers() -> None:
    async def case() -> None:
        async with Origin(answering(GOOD["chunked"][0])) as origin:
            pool = Pool(origin.address)
            with await ask(pool) as got:
                await got.read(100)
                assert list(got.headers) == [b"transfer-encoding"]
            await pool.aclose()

    run(case())


def test_what_came_before_a_failure_is_handed_out_first() -> None:
    async def case() -> None:
        async with Origin(then_closing(BAD["chunk size is no number"])) as origin:
            pool = Pool(origin.address)
            with await ask(pool) as got:
                assert await got.chunk() == b"hello"
                for _ in range(2):
                    with pytest.raises(UpstreamFailed, match="malformed answer: Invalid character in chunk size"):
                        await got.chunk()
            await pool.aclose()

    run(case())


@pytest.mark.parametrize("length", [b"content-length: 0", b"content-length: 7", b"transfer-encoding: chunked"])
def test_the_reply_to_head_has_no_body(length: bytes) -> None:
    async def case() -> None:
        async with Origin(answering(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % length)) as origin:
            pool = Pool(origin.address)
            for _ in range(2):
                with await ask(pool, b"", method=b"HEAD") as got:
                    assert await got.read(100) == b""
                    assert b": ".join(next(iter(got.headers.items()))) == length
            assert pool.busy == 0
            await pool.aclose()

    run(case())


def test_a_head_has_bounds() -> None:
    line = b"x-%05d: " + b"v" * 1000
    within = [line % number for number in range(60)]
    for lines, fits in (
        (within, True),
        ([line % number for number in range(66)], False),
        ([b"x: " + b"v" * 70_000], False),
        ([b"x: 1"] * 199, True),
        ([b"x: 1"] * 200, False),
        ([b"x-%d: 1" % number for number in range(200)], False),
    ):

        async def case(lines: list[bytes] = lines, fits: bool = fits) -> None:
            whole = reply(b"ok", *lines)
            for parts in ([whole], [whole[at : at + 5000] for at in range(0, len(whole), 5000)]):
                async with Origin(answering_in_parts(parts)) as origin:
                    pool = Pool(origin.address)
                    if fits:
                        assert await fetch(pool) == b"ok"
                    else:
                        with pytest.raises(UpstreamFailed, match=r"malformed answer: .*(over 64 KiB|more than 200)"):
                            await fetch(pool)
                    await pool.aclose()

        run(case())


def answering_in_parts(parts: list[bytes]) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        try:
            await peer.send(*parts)
        except ConnectionError:
            return
        await peer.gone()

    return script


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"HTTP/1.1 200 OK\r\nx: ", b"v" * 1000),
        (b"HTTP/1.1 200 ", b"v" * 1000),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20),
        (CHUNKED + b"\r\n5", b";ext=1" * 200),
        (CHUNKED + b"\r\n0\r\n", b"x: y\r\n" * 200),
        (CHUNKED + b"\r\n0\r\nx: ", b"v" * 1000),
    ],
    ids=["header", "reason", "interim replies", "extension", "trailers", "trailer"],
)
def test_a_reply_without_end_is_cut(start: bytes, more: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        sent = 0
        try:
            await peer.send(start)
            while sent < 10_000_000:
                await peer.send(more)
                sent += len(more)
        except ConnectionError:
            pass
        assert sent < 1_000_000

    async def case() -> None:
        async with Origin(script) as origin:
            pool = Pool(origin.address)
            with pytest.raises(UpstreamFailed, match="64 KiB"):
                await fetch(pool)
            await pool.aclose()

    run(case())


def test_read_has_a_limit() -> None:
    async def case() -> None:
        async with Origin(answering(reply(b"0123456789"))) as origin:
            pool = Pool(origin.address)
            with await ask(pool) as got:
                assert await got.read(10) == b"0123456789"
            with await ask(pool) as got, pytest.raises(UpstreamFailed, match="over 9 bytes"):
                await got.read(9)
            await pool.aclose()

    run(case())


@st.composite
def chunked_bodies(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A body, and a chunked reply with it cut into parts."""
    chunks = draw(st.lists(st.binary(min_size=1, max_size=50), max_size=8))
    wire = CHUNKED + b"\r\n"
    for chunk in chunks:
        size = draw(st.sampled_from([b"%x", b"%X", b"0%x", b"000%x"])) % len(chunk)
        wire += size + draw(st.sampled_from([b"", b";a", b";a=b", b';a="x y"'])) + b"\r\n" + chunk + b"\r\n"
    wire += b"0\r\n" + draw(st.sampled_from([b"", b"x-sum: 1\r\n"])) + b"\r\n"
    cuts = sorted(draw(st.sets(st.integers(1, len(wire) - 1), max_size=10)))
    return b"".join(chunks), [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]


@given(chunked_bodies())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_chunking_in_any_pieces(example: tuple[bytes, list[bytes]]) -> None:
    body, parts = example

    async def case() -> None:
        async with Origin(answering_in_parts(parts)) as origin:
            pool = Pool(origin.address)
            assert await fetch(pool) == body
            assert pool.idle == 1
            await pool.aclose()

    run(case())
