"""What follows a request on its connection. Found by `make fuzz`."""

from __future__ import annotations

import pytest

from penstock.http.limits import Limits
from tests.http.serving import run, serving, until

GET = b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n"


def post(size: int) -> bytes:
    return b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%b" % (size, b"x" * size)


def test_the_next_head_is_read_on_though_its_beginning_is_longer_than_the_read_ahead() -> None:
    async def case() -> None:
        limits = Limits(header_bytes=2000, read_ahead=50)
        async with serving(limits=limits) as served, served.client() as client:
            long = b"GET /long HTTP/1.1\r\nHost: h\r\nX: %b\r\n\r\n" % (b"x" * 500)
            await client.send(GET + long[:300])
            assert (await client.answer()).body == b"GET /next? "
            assert (await client.ask(long[300:])).body == b"GET /long? "

    run(case)


@pytest.mark.parametrize("sizes", [(300, 3), (300, 200), (3, 300, 3, 300, 40), (300, 0), (300, 300, 300)])
def test_a_head_that_repeats_itself_but_for_its_length_does_not_spoil_the_next(sizes: tuple[int, ...]) -> None:
    """Bodies beyond the read-ahead and within it take different ways."""

    async def case() -> None:
        limits = Limits(header_bytes=2000, read_ahead=200)
        async with serving(limits=limits) as served, served.client() as client:
            for size in sizes:
                whole = post(size)
                await client.send(whole[: len(whole) - size])
                if size:
                    await until(lambda: served.server.active == 1)  # the head is read alone
                await client.send(whole[len(whole) - size :])
                assert (await client.answer()).body == b"POST /p? " + b"x" * size
            assert (await client.ask(GET)).body == b"GET /next? "
            assert (await client.ask(post(7))).body == b"POST /p? xxxxxxx"

    run(case)
