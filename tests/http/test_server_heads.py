"""Request heads: what is refused, and that nothing depends on how the bytes are split."""

from __future__ import annotations

import asyncio
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.http.limits import Limits
from penstock.http.request import Request
from penstock.http.request_head import HeadParser
from penstock.types.errors import ExchangeError
from tests.http.serving import Client, run, serving

H = b"GET / HTTP/1.1\r\nHost: h\r\n"
P = b"POST / HTTP/1.1\r\nHost: h\r\n"

REFUSED = {
    "length and chunked": P + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunked and length": P + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
    "two different lengths": P + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n",
    "two equal lengths": P + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n",
    "a list of lengths": P + b"Content-Length: 3, 3\r\n\r\n",
    "signed length": P + b"Content-Length: +3\r\n\r\n",
    "negative length": P + b"Content-Length: -3\r\n\r\n",
    "hexadecimal length": P + b"Content-Length: 0x3\r\n\r\n",
    "underscored length": P + b"Content-Length: 1_0\r\n\r\n",
    "empty length": P + b"Content-Length:\r\n\r\n",
    "length over 64 bits": P + b"Content-Length: 99999999999999999999\r\n\r\n",
    "folded line": H + b"X: 1\r\n 2\r\n\r\n",
    "folded line with tab": H + b"X: 1\r\n\t2\r\n\r\n",
    "folded first line": b"GET / HTTP/1.1\r\n X: 1\r\nHost: h\r\n\r\n",
    "folded empty value": H + b"X:\r\n 1\r\n\r\n",
    "bare LF after the request line": b"GET / HTTP/1.1\nHost: h\r\n\r\n",
    "bare LF after a header": H + b"X: 1\nY: 2\r\n\r\n",
    "bare LF at the end": H + b"X: 1\r\n\n",
    "only bare LF": b"GET / HTTP/1.1\nHost: h\n\n",
    "bare CR in a value": H + b"X: 1\rY: 2\r\n\r\n",
    "bare CR before the end": H + b"X: 1\r\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": H + b"Host: i\r\n\r\n",
    "two equal hosts": H + b"host: h\r\n\r\n",
    "a list of hosts": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "host with a path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "host with user": b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "two hosts on 1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
    "space before the colon": H + b"X : 1\r\n\r\n",
    "space in a name": H + b"X Y: 1\r\n\r\n",
    "space before a name": H + b"A: 1\r\n X: 1\r\n\r\n",
    "no colon": H + b"X\r\n\r\n",
    "no name": H + b": 1\r\n\r\n",
    "a name that is no token": H + b"X(): 1\r\n\r\n",
    "a name that is not ASCII": H + b"X\xc3\xa9: 1\r\n\r\n",
    "NUL in a value": H + b"X: a\x00b\r\n\r\n",
    "NUL in a name": H + b"X\x00: 1\r\n\r\n",
    "control character in a value": H + b"X: a\x1bb\r\n\r\n",
    "DEL in a value": H + b"X: a\x7fb\r\n\r\n",
    "unknown method": b"BREW / HTTP/1.1\r\nHost: h\r\n\r\n",
    "lower-case method": b"get / HTTP/1.1\r\nHost: h\r\n\r\n",
    "method with control character": b"GE\x01T / HTTP/1.1\r\nHost: h\r\n\r\n",
    "CONNECT": b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
    "CONNECT with a path": b"CONNECT / HTTP/1.1\r\nHost: h\r\n\r\n",
    "absolute target": b"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "asterisk target": b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    "empty target": b"GET  HTTP/1.1\r\nHost: h\r\n\r\n",
    "relative target": b"GET a HTTP/1.1\r\nHost: h\r\n\r\n",
    "fragment in the target": b"GET /#a HTTP/1.1\r\nHost: h\r\n\r\n",
    "target that is not ASCII": b"GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n",
    "control character in the target": b"GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n",
    "tab in the target": b"GET /\t HTTP/1.1\r\nHost: h\r\n\r\n",
    "two spaces before the target": b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
    "two spaces before the version": b"GET /  HTTP/1.1\r\nHost: h\r\n\r\n",
    "space after the version": b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
    "space before the method": b" GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "tab for a space": b"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n",
    "no version": b"GET /\r\nHost: h\r\n\r\n",
    "version 0.9": b"GET / HTTP/0.9\r\nHost: h\r\n\r\n",
    "version 1.2": b"GET / HTTP/1.2\r\nHost: h\r\n\r\n",
    "version 2.0": b"GET / HTTP/2.0\r\nHost: h\r\n\r\n",
    "lower-case version": b"GET / http/1.1\r\nHost: h\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS to a plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 100,
    "gzip, chunked": P + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunked, gzip": P + b"Transfer-Encoding: chunked, gzip\r\n\r\n",
    "chunked twice in one": P + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
    "chunked twice": P + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    "identity": P + b"Transfer-Encoding: identity\r\n\r\n",
    "xchunked": P + b"Transfer-Encoding: xchunked\r\n\r\n",
    "vertical tab chunked": P + b"Transfer-Encoding: \x0bchunked\r\n\r\n",
    "quoted chunked": P + b'Transfer-Encoding: "chunked"\r\n\r\n',
    "empty coding": P + b"Transfer-Encoding:\r\n\r\n",
    "chunked on 1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two authorizations": H + b"Authorization: a\r\nauthorization: a\r\n\r\n",
    "two content types": P + b"Content-Type: a/b\r\nContent-Type: a/b\r\n\r\n",
    "two x-api-key": H + b"X-Api-Key: a\r\nX-Api-Key: b\r\n\r\n",
    "two api-key": H + b"Api-Key: a\r\nApi-Key: b\r\n\r\n",
    "two expectations": P + b"Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n",
    "two empty lines first": b"\r\n\r\n" + H + b"\r\n",
    "a bare LF first": b"\n" + H + b"\r\n",
}


async def _refused(client: Client, status: int = 400) -> None:
    answer = await client.answer()
    assert answer.status == status, answer
    assert answer.headers["connection"] == "close"
    assert answer.body, "a sentence says why"
    assert await client.ended() == b"", "nothing is served behind it"


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_ambiguous_is_refused(name: str) -> None:
    follow = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"

    async def case() -> None:
        async with serving() as served:
            async with served.client() as client:
                await client.send(REFUSED[name] + follow)
                await _refused(client)
            async with served.client() as client:  # behind a good request, and in two pieces
                good = H + b"\r\n"
                await client.send(good + REFUSED[name][:-1])
                assert (await client.answer()).status == 200
                await client.send(REFUSED[name][-1:] + follow)
                await _refused(client)

    run(case)


def test_foreign_protocols_are_told_at_once() -> None:
    """Without waiting for the end of a head that never comes."""

    async def case() -> None:
        async with serving() as served:
            for words in (b"hello\n", b"\x16\x03\x01\x00\xa5", H + b"X: 1\n", H + b"X: 1\r|Y", H + b"X: 1\r\n| 2"):
                async with served.client() as client:
                    for piece in words.split(b"|"):
                        await client.send(piece)
                        await asyncio.sleep(0.01)
                    await _refused(client)

    run(case)


def test_other_expectations_get_417() -> None:
    async def case() -> None:
        async with serving() as served, served.client() as client:
            await client.send(P + b"Content-Length: 3\r\nExpect: 200-ok\r\n\r\n")
            await _refused(client, 417)

    run(case)


def test_one_empty_line_before_a_request_is_forgiven() -> None:
    async def case() -> None:
        async with serving() as served, served.client() as client:
            for _ in range(2):
                assert (await client.ask(b"\r\n" + H + b"\r\n")).status == 200
            await client.send((H + b"\r\n\r\n") * 2)
            assert (await client.answer()).status == 200
            assert (await client.answer()).status == 200

    run(case)


@pytest.mark.parametrize("host", [b"", b"h", b"h:80", b"1.2.3.4:5", b"[::1]:80", b"a-b.c_d:"])
def test_hosts(host: bytes) -> None:
    async def case() -> None:
        async with serving() as served, served.client() as client:
            assert (await client.ask(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)).status == 200

    run(case)


def test_http_1_0_needs_no_host() -> None:
    async def case() -> None:
        async with serving() as served, served.client() as client:
            assert (await client.ask(b"GET / HTTP/1.0\r\n\r\n")).status == 200

    run(case)


@pytest.mark.parametrize("pieces", [1, 7, 100])
def test_header_bytes_are_limited(pieces: int) -> None:
    limits = Limits(header_bytes=2000)

    async def case() -> None:
        async with serving(limits=limits) as served:
            for filler in (b"X: %b\r\n" % (b"a" * 5000), b"X: a\r\n" * 500, b"X" * 5000):
                async with served.client() as client:
                    data = H + filler + b"\r\n"
                    for at in range(0, len(data), -(-len(data) // pieces)):
                        await client.send(data[at : at + -(-len(data) // pieces)])
                        await asyncio.sleep(0)
                    await _refused(client, 431)
            async with served.client() as client:
                fits = H + b"X: %b\r\n\r\n" % (b"a" * (2000 - len(H) - 7))
                assert len(fits) == 2000
                assert (await client.ask(fits)).status == 200
                await client.send(fits.replace(b"aaa", b"aaaa", 1))
                await _refused(client, 431)

    run(case)


def test_a_head_that_never_ends_is_refused_at_the_limit() -> None:
    """Also when it trickles in, and within the request line."""

    async def case() -> None:
        async with serving(limits=Limits(header_bytes=500)) as served:
            for start in (b"GET /", H + b"X: "):
                async with served.client() as client:
                    await client.send(start)
                    for _ in range(101 - len(start) // 5):
                        await client.send(b"aaaaa")
                        await asyncio.sleep(0)
                    await _refused(client, 431)

    run(case)


def test_header_count_is_limited() -> None:
    async def case() -> None:
        async with serving(limits=Limits(header_count=10)) as served, served.client() as client:
            assert (await client.ask(H + b"".join(b"X%d: 1\r\n" % n for n in range(9)) + b"\r\n")).status == 200
            assert (await client.ask(H + b"X: 1\r\n" * 9 + b"\r\n")).status == 200
            await client.send(H + b"X: 1\r\n" * 10 + b"\r\n")
            await _refused(client, 431)
            async with served.client() as other:
                await other.send(H + b"".join(b"X%d: 1\r\n" % n for n in range(10)) + b"\r\n")
                await _refused(other, 431)

    run(case)


WHOLE = {
    "get": b"GET /x?y=z HTTP/1.1\r\nHost: h\r\nX-Empty:\r\n\r\n",
    "post": b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\nGET / H",
    "chunked": b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n"
    b"3;a=b\r\nabc\r\n0A\r\n0123\r\n\r\n89\r\n0\r\nTrailer: 1\r\n\r\n",
    "empty line first": b"\r\nPUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
    "two": b"POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nabPOST /2 HTTP/1.1\r\nHost: h\r\n\r\n",
}
EXPECTED = {
    "get": [b"GET /x?y=z "],
    "post": [b"POST /x? GET / H"],
    "chunked": [b"POST /x? abc0123\r\n\r\n89"],
    "empty line first": [b"PUT /x? "],
    "two": [b"POST /1? ab", b"POST /2? "],
}


@pytest.mark.parametrize("name", WHOLE)
def test_every_split_gives_the_same(name: str) -> None:
    data = WHOLE[name]

    async def case() -> None:
        async with serving() as served, served.client() as client:
            client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(1, len(data)):
                await client.send(data[:at])
                for _ in range(3):  # let the server read the first piece alone
                    await asyncio.sleep(0)
                await client.send(data[at:])
                for body in EXPECTED[name]:
                    assert (await client.answer()).body == body, at
            for _ in range(2):
                for at in range(len(data)):
                    await client.send(data[at : at + 1])
                    await asyncio.sleep(0)
                for body in EXPECTED[name]:
                    assert (await client.answer()).body == body

    run(case)


_WORDS = st.sampled_from(
    [
        *(
            b"GET POST HEAD / /a HTTP/1.1 HTTP/1.0 : \r\n \r\n\r\n \n \r \0 chunked 0\r\n\r\n 5;x\r\nhello\r\n".split(
                b" "
            )
        ),
        *(b"Host: h\r\n,Content-Length: 5\r\n,Transfer-Encoding: chunked\r\n,Connection: close\r\n".split(b",")),
        b"Expect: 100-continue\r\n",
        b" ",
        b"\t",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(_WORDS | st.binary(max_size=20), max_size=12).map(b"".join), min_size=1, max_size=6))
def test_random_bytes_never_harm_the_server(pieces: list[bytes]) -> None:
    async def case() -> None:
        async with serving() as served:
            async with served.client() as client:
                try:
                    for piece in (H, b"\r\n", *pieces):
                        client.writer.write(piece)
                        await asyncio.sleep(0)
                    client.writer.write_eof()
                    await client.ended()
                except ConnectionError:  # refused and closed while this was still writing
                    pass
            async with served.client() as client:
                assert (await client.ask(H + b"\r\n")).status == 200

    run(case)


_LINES = st.sampled_from(
    [
        b"traceparent: 00-%032x-%016x-01" % (1, 2), b"traceparent: 00-%032x-%016x-00" % (3, 4), b"traceparent: x",
        b"Traceparent: 00-%032x-%016x-01" % (5, 6), b"content-length: 5", b"content-length: 17", b"Content-Length:  5 ",
        b"content-length: 05", b"content-length: -5", b"content-length: 5, 5", b"content-length: ",
        b"content-length: 99999999999999999999", b"authorization: Bearer a", b"authorization: Bearer b",
        b"connection: close", b"expect: 100-continue", b"transfer-encoding: chunked", b"x-content-length: 5",
        b"x: y\x00",
    ]
)  # fmt: skip
_HEADS = st.builds(
    lambda start, lines: b"\r\n".join([start, b"host: h", *lines, b"", b""]),
    st.sampled_from([b"POST /a HTTP/1.1", b"POST /b?c HTTP/1.1", b"GET /a HTTP/1.1", b"POST /a HTTP/1.0"]),
    st.lists(_LINES, max_size=4),
)


@settings(max_examples=500)
@given(st.lists(_HEADS, min_size=2, max_size=6).flatmap(lambda heads: st.permutations([*heads, *heads])))
def test_a_head_says_the_same_whatever_came_before_it(heads: list[bytes]) -> None:
    """Heads are compared with the one before them, which must not change what is understood, nor what is refused."""

    def said(parser: HeadParser, head: bytes) -> object:
        try:
            return parser.parse(head, 1.0)
        except ExchangeError as error:
            return type(error), str(error)

    kept = HeadParser(Limits())
    for head in heads:
        fresh = said(HeadParser(Limits()), head)
        assert said(kept, head) == fresh
        if not isinstance(fresh, Request) or not fresh.keep_alive:
            return  # the last head of its connection
        if fresh.length is not None:
            kept.skip(b"x" * fresh.length)
