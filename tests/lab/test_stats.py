"""What the lab remembers: over its own paths and in the process."""

import pytest

from penstock.lab.stats import MAX_REQUESTS
from penstock.lab.upstream import Upstream
from tests.lab.conftest import Run
from tests.lab.raw import Client, ask, chat, get


def test_counters(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        body = chat()
        first = await ask(upstream, "", body)
        await ask(upstream, "status=500")
        async with await Client.open(upstream) as client:
            await client.post(body, "stall_after=2")
            await upstream.stats.until(lambda stats: stats.stalled == 1)
            now = (await get(upstream, "/lab/stats")).json
            assert (now["requests"], now["answered"], now["in_progress"], now["stalled"]) == (3, 2, 1, 1)
            assert (now["statuses"], now["bytes_received"], now["open_connections"]) == (
                {"200": 1, "500": 1},
                3 * len(body),
                2,
            )
            assert now["bytes_sent"] > len(first.body)
        await upstream.stats.until(lambda stats: stats.aborted == 1)
        (departure,) = (await get(upstream, "/lab/stats")).json["departures"]
        assert (departure["state"], departure["events"], departure["path"]) == ("stalled", 2, "/v1/chat/completions")
        assert departure["after_s"] >= 0

    serve(case)


def test_a_client_that_leaves_while_sending_its_body(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        async with await Client.open(upstream) as client:
            await client.send(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n{")
            await upstream.stats.until(lambda stats: stats.in_progress == 1)
        await upstream.stats.until(lambda stats: stats.aborted == 1)
        assert upstream.stats.departures[0].state == "reading"

    serve(case)


def test_the_end_of_the_lab_is_nobodys_leaving(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        async with await Client.open(upstream) as client:
            await client.post(chat(), "stall_after=1")
            await upstream.stats.until(lambda stats: stats.stalled == 1)
            await upstream.stop()
            assert (await client.all()).ended
        assert upstream.stats.aborted == 0

    serve(case)


def test_the_last_requests_are_shown_and_bounded(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        await ask(upstream, "", chat("x" * 100_000, stream=False), "/v1/chat/completions?a=b", "x-who: me")
        await get(upstream, "/v1/models")
        last, newest = (await get(upstream, "/lab/requests?last=2")).json
        assert (last["method"], last["path"], last["query"]) == ("POST", "/v1/chat/completions", "a=b")
        assert (last["headers"]["x-who"], len(last["body"])) == ("me", 64 * 1024)
        assert last["body_bytes"] > 100_000
        assert (newest["method"], newest["path"]) == ("GET", "/v1/models")
        assert len((await get(upstream, "/lab/requests")).json) == 2
        for bad in ("0", "x", "1000", "٣"):
            assert (await get(upstream, f"/lab/requests?last={bad.encode('ascii', 'replace').decode()}")).status == 400
        async with await Client.open(upstream) as client:
            for _ in range(MAX_REQUESTS + 5):
                await client.post(chat(stream=False), close=False)
                await client.receive()
            await upstream.stats.until(lambda stats: stats.in_progress == 0)
        assert len(upstream.stats.received) == MAX_REQUESTS

    serve(case)


def test_a_reset_forgets(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        await ask(upstream, "status=500")
        assert (await ask(upstream, "", b"", "/lab/reset")).json == {"reset": True}
        now = (await get(upstream, "/lab/stats")).json
        assert (now["requests"], now["statuses"], len(upstream.stats.received)) == (0, {}, 0)

    serve(case)


def test_metrics(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        await ask(upstream)
        text = (await get(upstream, "/metrics")).body.decode()
        assert "# TYPE lab_requests_total counter\nlab_requests_total 1\n" in text
        assert "lab_requests_in_progress 0\n" in text

    serve(case)


def test_waiting_in_vain_shows_the_counters(serve: Run) -> None:
    async def case(upstream: Upstream) -> None:
        with pytest.raises(TimeoutError, match="'requests': 0"):
            await upstream.stats.until(lambda stats: stats.requests == 1, limit_s=0.01)

    serve(case)
