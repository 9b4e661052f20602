"""Equal requests that come together to all workers of a host, or of two: how many of them an upstream sees."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from penstock.lab.running import Running, start
from tests.crowd import joined
from tests.gateway.streams.client import Answer, body, order
from tests.processes import Lab, eventually
from tests.servers import RedisServer

pytestmark = pytest.mark.stack

WORKERS = 4
STACK = """\
version: 1
state: {{cache: "{cache}"}}
gateway: {{listen: 127.0.0.1:0, ops: 127.0.0.1:0, workers: {workers}}}
admin: {{listen: 127.0.0.1:0}}
deployments:
  lab: {{base_url: {url}/v1, model: lab}}
models:
  chat: {{targets: lab, policies: kept, timeout: {{first_token: 60s}}}}
policies:
  kept: {{cache: {{max_entry: 1MiB}}}}
"""


def stack(lab: Lab, cache: str = "local") -> str:
    return STACK.format(url=lab.url, workers=WORKERS, cache=cache)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Lab]]:
    with Lab() as lab, start(tmp_path_factory.mktemp("up"), stack(lab)) as running:
        yield running, lab


async def exchange(running: Running, payload: bytes) -> Answer:
    """Ask over a connection of its own, so that the kernel spreads the requests over the workers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(running.url).port)
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    head += f"authorization: Bearer {running.key}\r\ncontent-length: {len(payload)}\r\n\r\n"
    try:
        writer.write(head.encode() + payload)
        answer = Answer()
        while data := await reader.read(65536):
            answer.feed(data)
        return answer
    finally:
        writer.close()


def crowd(payload: bytes, count: int, *hosts: Running) -> list[asyncio.Task[Answer]]:
    return [asyncio.create_task(exchange(hosts[number % len(hosts)], payload)) for number in range(count)]


async def calls(lab: Lab, count: int) -> None:
    """Wait until the upstream has so many calls to answer."""
    await asyncio.to_thread(eventually, lambda: lab.stats()["in_progress"] == count, f"{count} calls")


def gauge(running: Running, begin: str) -> int:
    """Return the sum of the samples that begin so, as workers have told the node."""
    text = httpx.get(f"{running.ops_url}/metrics", trust_env=False).text
    return sum(int(float(line.rpartition(" ")[2])) for line in text.splitlines() if line.startswith(begin))


SHARED = 'penstock_cache_lookups_total{gen_ai_request_model="chat",result="shared"}'


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("size", [20, 300_000])
def test_a_thousand_equal_requests_are_one_call(up: tuple[Running, Lab], stream: bool, size: int) -> None:
    running, lab = up
    before, shared = lab.stats()["requests"], gauge(running, SHARED)

    async def case() -> list[Answer]:
        payload = body(order(delay="500ms", size=size), stream=stream)
        return await asyncio.gather(*crowd(payload, 1000, running))

    answers = asyncio.run(case())
    assert Counter(answer.status for answer in answers) == {200: 1000}
    assert len({answer.body for answer in answers}) == 1
    assert len(answers[0].body) > size
    assert lab.stats()["requests"] == before + 1
    assert Counter(answer.headers["x-penstock-cache"] for answer in answers) == {"miss": 1, "exact": 999}
    eventually(lambda: gauge(running, SHARED) > shared, "what workers tell the node each second")


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_comes_at_once_is_asked_for_once(up: tuple[Running, Lab], stream: bool) -> None:
    """It is there before most of the requests are, at a worker that they do not come to."""
    running, lab = up
    before = lab.stats()["requests"]

    async def case() -> list[Answer]:
        return await asyncio.gather(*crowd(body(f"at once {stream}", stream=stream), 1000, running))

    answers = asyncio.run(case())
    assert Counter(answer.status for answer in answers) == {200: 1000}
    assert len({answer.body for answer in answers}) == 1
    assert lab.stats()["requests"] == before + 1


def test_when_the_worker_that_leads_is_killed_one_of_another_worker_leads(tmp_path: Path) -> None:
    async def case(running: Running, lab: Lab) -> list[Answer | BaseException]:
        payload = body(order(stall="before_head", stall_for="3s"), stream=False)
        crowds = crowd(payload, 200, running)
        await calls(lab, 1)
        await asyncio.to_thread(eventually, lambda: gauge(running, "penstock_connections") == 200, "all of them")
        os.kill(asker(running, lab), signal.SIGKILL)
        return await asyncio.gather(*crowds, return_exceptions=True)

    with Lab() as lab, start(tmp_path, stack(lab)) as running:
        answers = asyncio.run(case(running, lab))
        found = Counter(answer.status if isinstance(answer, Answer) else 0 for answer in answers)
        assert found.keys() == {200, 0}, "those of the dead worker are cut"
        assert found[200] > 50
        assert lab.stats()["requests"] == 2


def asker(running: Running, lab: Lab) -> int:
    """Return the process id of the one worker that has a connection to the upstream."""
    with Path("/proc/net/tcp").open() as table:
        rows = [line.split() for line in table][1:]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[2].endswith(f":{lab.port:04X}")}
    workers = [each.pid for each in running.processes() if each.title.startswith("penstock gateway ")]
    (found,) = [pid for pid in workers if sockets & set(descriptors(pid))]
    return found


def descriptors(pid: int) -> Iterator[str]:
    """Yield what a process has open."""
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            yield str(file.readlink())


def test_with_a_frozen_node_each_worker_leads_for_itself(up: tuple[Running, Lab]) -> None:
    running, lab = up

    async def case(name: str) -> list[Answer]:
        payload = body(f"{name} {order(delay='500ms')}", stream=False)
        return await asyncio.gather(*crowd(payload, 400, running))

    before = lab.stats()["requests"]
    os.kill(running.process.pid, signal.SIGSTOP)
    try:
        answers = asyncio.run(case("frozen"))
    finally:
        os.kill(running.process.pid, signal.SIGCONT)
    assert Counter(answer.status for answer in answers) == {200: 400}
    assert 1 < lab.stats()["requests"] - before <= WORKERS

    def together() -> bool:
        before = lab.stats()["requests"]
        asyncio.run(case(f"thawed {before}"))
        return bool(lab.stats()["requests"] == before + 1)

    eventually(together, "the node being asked again")


@pytest.mark.parametrize("stream", [False, True])
def test_a_thousand_equal_requests_to_hosts_that_share_a_redis_are_one_call(
    tmp_path: Path, redis: RedisServer, stream: bool
) -> None:
    environ = {"CACHE": redis.url}
    with contextlib.ExitStack() as opened:
        lab = opened.enter_context(Lab())
        one = opened.enter_context(start(tmp_path / "one", stack(lab, "${CACHE}"), environ=environ))
        two = opened.enter_context(joined(tmp_path / "two", one, environ))

        def asked(name: str, count: int) -> tuple[int, list[Answer]]:
            async def case() -> list[Answer]:
                payload = body(f"{name} {order(delay='500ms')}", stream=stream)
                return await asyncio.gather(*crowd(payload, count, one, two))

            before = lab.stats()["requests"]
            answers = asyncio.run(case())
            made: int = lab.stats()["requests"] - before
            return made, answers

        numbers = itertools.count()
        eventually(lambda: asked(f"few {next(numbers)}", 32)[0] == 1, "all workers being connected")
        made, answers = asked("many", 1000)
        assert made == 1
        assert Counter(answer.status for answer in answers) == {200: 1000}
        assert len({answer.body for answer in answers}) == 1
