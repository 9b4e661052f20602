"""Every order that is about time, bytes or the connection, as a client sees it."""

import asyncio
import json
import zlib

import pytest

from penstock.lab.orders import Order
from penstock.lab.script import Rule, Script
from penstock.lab.upstream import Upstream
from tests.lab.conftest import Run
from tests.lab.raw import LIMIT_S, Client, Gate, Naps, Seen, ask, chat, dechunk, events, texts

WORDS = ["echo:", " one", " two", " three"]


def partial(seen: Seen) -> tuple[list[str], bytes]:
    """Return the texts that arrived in whole chunks, and what came behind them."""
    chunks, rest = dechunk(seen.raw_body)
    return texts(events(b"".join(chunks))), rest


async def sent_until_stuck(client: Client, size: int) -> int:
    """Send zeros until nobody takes them any more or all are gone; returns how many went."""
    sent = 0

    async def send() -> None:
        nonlocal sent
        while sent < size:
            await client.send(bytes(65536))
            sent += 65536

    sending = asyncio.create_task(send())
    before = -1
    async with asyncio.timeout(LIMIT_S):
        while before != sent:
            before = sent
            await asyncio.wait([sending], timeout=0.05)
    sending.cancel()
    await asyncio.wait([sending])
    return sent


def test_delays_come_where_they_are_ordered(run: Run) -> None:
    naps = Naps()

    async def case(upstream: Upstream) -> None:
        seen = await ask(upstream, "delay=3s; delay_first=2s; delay_between=1s")
        assert seen.text == "echo: one two three"
        assert naps.taken == [3, 2, 1, 1, 1]
        naps.taken.clear()
        seen = await ask(upstream, "delay=3s; delay_first=2s; delay_between=1s", stream=False)
        assert seen.json["choices"][0]["message"]["content"] == "echo: one two three"
        assert naps.taken == [3, 2]

    run(case, sleep=naps)


def test_nothing_comes_before_a_delay_is_over(run: Run) -> None:
    gate = Gate()

    async def case(upstream: Upstream) -> None:
        async with await Client.open(upstream) as client:
            await client.post(chat(), "delay=3s; delay_first=2s")
            seconds, wake = await gate.asked()
            assert seconds == 3
            assert upstream.stats.bytes_sent == 0
            wake()
            seen = await client.until(lambda seen: b'"role":"assistant"' in seen.data)
            seconds, wake = await gate.asked()
            assert (seconds, seen.data.count(b"data: ")) == (2, 1), "only the content-free event is out"
            wake()
            assert (await client.all()).text == "echo: one two three"

    run(case, sleep=gate)


@pytest.mark.parametrize(
    ("order", "before"),
    [
        ("stall=before_head", b""),
        ("stall=in_head", b"HTTP/1.1 200 OK\r\n"),
        ("stall=after_head", b"\r\n\r\n"),
        ("stall_after=0", b'"role":"assistant"'),
        ("stall_after=2", b'"content":" one"'),
        ("stall=in_event; stall_after=2", b'"content":" one"'),
    ],
)
def test_a_stall_lasts_until_the_client_leaves_and_is_counted(run: Run, order: str, before: bytes) -> None:
    async def case(upstream: Upstream) -> None:
        stats = upstream.stats
        async with await Client.open(upstream) as client:
            await client.post(chat(), order)
            await stats.until(lambda stats: stats.stalled == 1)
            seen = await client.until(lambda seen: before in seen.data)
            assert not seen.ended
            assert b" two" not in seen.data
            assert (stats.in_progress, stats.aborted) == (1, 0)
        await stats.until(lambda stats: stats.aborted == 1)
        (departure,) = stats.departures
        events = 2 if "after=2" in order else 0
        assert (departure.state, departure.events, departure.model) == ("stalled", events, "m")
        assert (stats.in_progress, stats.answered) == (0, 0)

    run(case)


@pytest.mark.parametrize(
    "order",
    [
        "stall=before_head; stall_for=2s",
        "stall=in_head; stall_for=2s",
        "stall_after=2; stall_for=2s",
        "stall=in_event; stall_after=1; stall_for=2s",
    ],
)
def test_a_stall_that_ends_goes_on_where_it_was(run: Run, order: str) -> None:
    naps = Naps()

    async def case(upstream: Upstream) -> None:
        seen = await ask(upstream, order)
        assert (seen.text, seen.events[-1]) == ("echo: one two three", "[DONE]")
        assert naps.taken == [2]

    run(case, sleep=naps)


def test_pings_fill_every_wait_of_a_stream(run: Run) -> None:
    naps = Naps()

    async def case(upstream: Upstream) -> None:
        seen = await ask(upstream, "delay=9s; ping_every=1s; delay_first=3s; stall_after=2; stall_for=2500ms")
        assert naps.taken == [9, 1, 1, 1, 1, 1, 0.5]
        assert seen.body.count(b": ping\n\n") == 4
        first, second = seen.body.index(b": ping"), seen.body.rindex(b": ping")
        assert seen.body.index(b'"role"') < first < seen.body.index(b"echo:")
        assert seen.body.index(b" one") < second < seen.body.index(b" two")
        assert seen.text == "echo: one two three"

    run(case, sleep=naps)


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("cut=after_head", []),
        ("cut_after=0", []),
        ("cut_after=2", WORDS[:2]),
        ("cut=in_event; cut_after=2", WORDS[:2]),
        ("cut=in_character; cut_after=1", ["éecho:"]),
    ],
)
def test_a_cut_shows_what_came_before_it_and_nothing_else(run: Run, how: str, order: str, words: list[str]) -> None:
    async def case(upstream: Upstream) -> None:
        seen = await ask(upstream, f"{order}; cut_with={how}")
        assert seen.ended
        assert seen.reset == (how == "rst")
        got, rest = partial(seen)
        assert got == words
        assert b"DONE" not in seen.data
        if "in_event" in order:
            size = int(rest.partition(b"\r\n")[0], 16)
            assert 0 < len(rest.partition(b"\r\n")[2]) < size, "the chunk is announced whole and comes in half"
        elif "in_character" in order:
            assert rest.endswith("é".encode()[:1]), "the last byte is the first of a character"
        else:
            assert rest == b""
        assert (upstream.stats.answered, upstream.stats.aborted) == (1, 0), "an ordered cut is not the client's leaving"

    run(case)


def test_a_cut_before_or_in_the_head(run: Run) -> None:
    async def case(upstream: Upstream) -> None:
        assert (await ask(upstream, "cut=before_head")).data == b""
        assert (await ask(upstream, "cut=before_head; cut_with=rst")).reset
        seen = await ask(upstream, "cut=in_head")
        assert seen.data.startswith(b"HTTP/1.1 200 OK\r\ncontent-type:")
        assert b"\r\n\r\n" not in seen.data

    run(case)


def test_a_plain_answer_is_cut_too(run: Run) -> None:
    async def case(upstream: Upstream) -> None:
        seen = await ask(upstream, "cut=after_head", stream=False)
        assert (int(seen.headers["content-length"]) > 0, seen.raw_body) == (True, b"")
        seen = await ask(upstream, "cut=in_event", stream=False)
        assert 0 < len(seen.raw_body) < int(seen.headers["content-length"])
        seen = await ask(upstream, "cut=in_character", stream=False)
        assert seen.raw_body.endswith(b'"\xc3')

    run(case)


def test_a_shorter_answer_is_not_cut(run: Run) -> None:
    async def case(upstream: Upstream) -> None:
        assert (await ask(upstream, "cut_after=10")).events[-1] == "[DONE]"

    run(case)


def test_faults_of_framing(run: Run) -> None:
    async def case(upstream: Upstream) -> None:
        got, rest = partial(await ask(upstream, "broken=chunk_size; broken_after=2"))
        assert (got, rest[:4]) == (WORDS[:2], b"zz\r\n")
        got, rest = partial(await ask(upstream, "broken=chunk_end; broken_after=2"))
        assert got == WORDS[:2]
        assert b" two" in rest
        assert b"}\n\n!!" in rest
        got, rest = partial(await ask(upstream, "broken=last_chunk"))
        assert (got, rest) == (WORDS, b"")
        seen = await ask(upstream, "broken=short_body", stream=False)
        assert len(seen.raw_body) == int(seen.headers["content-length"]) - 10
        assert seen.json["object"] == "chat.completion"
        seen = await ask(upstream, "broken=long_body", stream=False)
        extra = seen.raw_body[int(seen.headers["content-length"]) :]
        assert extra == b"this is more than was promised"

    run(case)


def test_faults_of_the_head(run: Run) -> None:
    async def case(upstream: Upstream) -> None:
        assert (await ask(upstream, "broken=status_line")).data.startswith(b"HTP/1,1 okay\r\n")
        assert b"\r\nthis line has no colon\r\n" in (await ask(upstream, "broken=header")).head
        assert (await ask(upstream, "broken=two_lengths")).head.count(b"content-length: ") == 2
        head = (await ask(upstream, "broken=length_and_chunked")).head
        assert b"content-length: 7\r\n" in head + b"\r\n"
        assert b"transfer-encoding: chunked\r\n" in head + b"\r\n"

    run(case)


def test_faults_inside_an_event(run: Run) -> None:
    async def case(upstream: Upstream) -> None:
        body = (await ask(upstream, "broken=event; broken_after=1")).body
        blocks = body.split(b"\n\n")
        json.loads(blocks[1].removeprefix(b"data: "))
        with pytest.raises(json.JSONDecodeError):
            json.loads(blocks[2].removeprefix(b"data: "))
        json.loads(blocks[3].removeprefix(b"data: "))
        with pytest.raises(UnicodeDecodeError):
            (await ask(upstream, "broken=utf8; broken_after=1")).body.decode()
        with pytest.raises(json.JSONDecodeError):
            assert (await ask(upstream, "broken=event", stream=False)).json

    run(case)


def test_chunks_regardless_of_events(run: Run) -> None:
    async def case(upstream: Upstream) -> None:
        plain = await ask(upstream, "content=žluťoučký kůň")
        seen = await ask(upstream, "content=žluťoučký kůň; chunk_size=7")
        assert {len(chunk) for chunk in seen.chunks[:-1]} == {7}
        assert seen.text == plain.text == "žluťoučký kůň"
        seen = await ask(upstream, "content=a b c; split_at=1,10,500")
        assert [len(chunk) for chunk in seen.chunks[:3]] == [1, 9, 490]
        assert seen.text == "a b c"
        seen = await ask(upstream, "content=a b c; events_per_write=2")
        assert [chunk.count(b"data: ") for chunk in seen.chunks] == [2, 2, 2]
        seen = await ask(upstream, "framing=chunked; chunk_size=9", stream=False)
        assert {len(chunk) for chunk in seen.chunks[:-1]} == {9}
        assert seen.json["object"] == "chat.completion"

    run(case)


def test_framing_by_length_and_by_the_end(run: Run) -> None:
    async def case(upstream: Upstream) -> None:
        seen = await ask(upstream, "framing=length")
        assert len(seen.raw_body) == int(seen.headers["content-length"])
        assert events(seen.raw_body)[-1] == "[DONE]"
        seen = await ask(upstream, "framing=close")
        assert not {"content-length", "transfer-encoding"} & set(seen.headers)
        assert events(seen.raw_body)[-1] == "[DONE]"
        assert "transfer-encoding" in (await ask(upstream, "framing=chunked", stream=False)).headers

    run(case)


def test_writes_of_a_few_bytes_reach_the_client_one_by_one(run: Run) -> None:
    gate = Gate()

    async def case(upstream: Upstream) -> None:
        async with await Client.open(upstream) as client:
            await client.post(chat(), "write_size=5; write_pause=1s; framing=length")
            for _ in range(60):
                seconds, wake = await gate.asked()
                await client.receive()
                assert seconds == 1
                wake()
            sizes = [len(piece) for piece in client.seen.pieces]
            assert max(sizes) == 5
            assert sum(size < 5 for size in sizes) <= 2, "only the last write of the head and of a chunk are shorter"

    run(case, sleep=gate)


def test_one_byte_at_a_time_is_still_an_answer(run: Run) -> None:
    async def case(upstream: Upstream) -> None:
        assert (await ask(upstream, "write_size=1")).text == "echo: one two three"

    run(case)


def test_a_rate_is_kept(run: Run) -> None:
    naps = Naps()

    async def case(upstream: Upstream) -> None:
        seen = await ask(upstream, "rate=100; framing=length", stream=False)
        assert max(naps.taken) == pytest.approx(0.05)
        assert sum(naps.taken) == pytest.approx(len(seen.data) / 100)

    run(case, sleep=naps)


def test_headers_and_informational_heads(run: Run) -> None:
    async def case(upstream: Upstream) -> None:
        seen = await ask(
            upstream, "informational=103,102; big_headers=10000; headers=x-a:1; retry_after=7", stream=False
        )
        assert seen.data.startswith(
            b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n"
        )
        seen = await ask(upstream, "big_headers=10000; headers=x-a:1; retry_after=7")
        padding = [value for name, value in seen.headers.items() if name.startswith("x-lab-padding")]
        assert sum(map(len, padding)) == 10000
        assert (seen.headers["x-a"], seen.headers["retry-after"]) == ("1", "7")

    run(case)


def test_gzip_comes_uninvited_and_event_by_event(run: Run) -> None:
    gate = Gate()

    async def case(upstream: Upstream) -> None:
        async with await Client.open(upstream) as client:
            await client.post(chat(), "gzip; delay_between=1s")
            seen = await client.until(lambda seen: len(dechunk(seen.raw_body)[0]) == 2)
            assert seen.headers["content-encoding"] == "gzip"
            unzip = zlib.decompressobj(wbits=31)
            assert b'"content":"echo:"' in unzip.decompress(b"".join(dechunk(seen.raw_body)[0]))
        seen = await ask(upstream, "gzip", stream=False)
        assert json.loads(zlib.decompress(seen.raw_body, wbits=31))["object"] == "chat.completion"

    run(case, sleep=gate)


def test_good_answers_share_a_connection_and_others_end_it(run: Run) -> None:
    async def case(upstream: Upstream) -> None:
        async with await Client.open(upstream) as client:
            for order in ("", "delay_first=1s; comments=2", "status=500", "chunk_size=5"):
                client.seen = Seen()
                await client.post(chat(), order, close=False)
                ended = await client.until(lambda seen: seen.data.endswith((b"0\r\n\r\n", b"}}")))
                assert "connection" not in ended.headers
            assert upstream.stats.open_connections == 1
            client.seen = Seen()
            await client.post(chat(), "close", close=False)
            assert (await client.all()).headers["connection"] == "close"
        await upstream.stats.until(lambda stats: stats.open_connections == 0)

    run(case, sleep=Naps())


def test_an_idle_connection_is_closed_unannounced(run: Run) -> None:
    gate = Gate()

    async def case(upstream: Upstream) -> None:
        async with await Client.open(upstream) as client:
            await client.post(chat(), "close_idle=5s", close=False)
            seen = await client.until(lambda seen: seen.data.endswith(b"0\r\n\r\n"))
            assert "connection" not in seen.headers
            seconds, wake = await gate.asked()
            assert (seconds, upstream.stats.answered) == (5, 1)
            wake()
            assert (await client.all()).ended
        assert upstream.stats.aborted == 0

    run(case, sleep=gate)


def test_all_connections_are_closed_when_idle_for_long(run: Run) -> None:
    async def case(upstream: Upstream) -> None:
        async with await Client.open(upstream) as client:
            await client.post(chat(stream=False), close=False)
            assert (await client.all()).json["object"] == "chat.completion"

    run(case, idle_s=0.01)


def test_a_body_that_is_never_read_stops_the_client(run: Run) -> None:
    async def case(upstream: Upstream) -> None:
        async with await Client.open(upstream) as client:
            await client.post(b"", "read=never; stall=before_head", "/v1/chat/completions", "x-request-id: big")
        await upstream.stats.until(lambda stats: stats.aborted == 1)
        async with await Client.open(upstream) as client:
            size = 64 * 1024 * 1024
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n"
            await client.send(f"{head}x-lab: read=never; stall=before_head\r\n\r\n".encode())
            await upstream.stats.until(lambda stats: stats.stalled == 1)
            assert await sent_until_stuck(client, size) < size, "the kernel's buffers are full, and nobody reads"
            assert upstream.stats.bytes_received == 0

    run(case)


def test_an_answer_may_come_before_the_body_is_read(run: Run) -> None:
    async def case(upstream: Upstream) -> None:
        async with await Client.open(upstream) as client:
            head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n"
            await client.send(f"{head}x-lab: read=never; status=429\r\n\r\n".encode())
            seen = await client.until(lambda seen: b"rate_limit_exceeded" in seen.data)
            assert seen.status == 429

    run(case)


def test_a_body_is_read_slowly(run: Run) -> None:
    naps = Naps()

    async def case(upstream: Upstream) -> None:
        body = bytes(3_000_000)
        seen = await ask(upstream, "read_rate=1MB; content=done", body)
        assert seen.json["choices"][0]["message"]["content"] == "done"
        assert sum(naps.taken) >= 2.9, "three seconds at a megabyte per second"
        (received,) = upstream.stats.received
        assert (received.body, received.body_bytes) == (b"", 3_000_000)

    run(case, sleep=naps)


def test_a_slow_reader_makes_the_client_wait(run: Run) -> None:
    gate = Gate()

    async def case(upstream: Upstream) -> None:
        async with await Client.open(upstream) as client:
            size = 64 * 1024 * 1024
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n"
            await client.send(f"{head}x-lab: read_rate=1MB\r\n\r\n".encode())
            await gate.asked()
            assert await sent_until_stuck(client, size) < size, "the kernel's buffers are full, and the lab sleeps"

    run(case, sleep=gate)


@pytest.mark.parametrize("order", ["", "framing=close"])
def test_a_client_that_does_not_read_makes_the_lab_wait(run: Run, order: str) -> None:
    async def case(upstream: Upstream) -> None:
        async with await Client.open(upstream) as client:
            await client.post(chat(), f"events=100000; tokens_per_event=100; {order}")
            before = -1
            async with asyncio.timeout(LIMIT_S):
                while before != upstream.stats.bytes_sent or not before:
                    before = upstream.stats.bytes_sent
                    await asyncio.sleep(0.02)
            assert before < 40_000_000, "it stands still far from the end"
        await upstream.stats.until(lambda stats: stats.aborted == 1)

    run(case)


def test_reading_orders_come_from_the_script_before_the_body(run: Run) -> None:
    rules = [Rule(path="/v1/chat/*", order=Order(read="never", status=503))]

    async def case(upstream: Upstream) -> None:
        assert (await ask(upstream)).status == 503

    run(case, script=Script(rules))
