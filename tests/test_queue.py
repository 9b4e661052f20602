"""Seats and their queue over all workers of a host: fair turns, workers killed, the node frozen."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from penstock.lab.running import Running, start
from tests.processes import PATIENCE_S, Lab, eventually

pytestmark = pytest.mark.stack

STACK = """\
version: 1
gateway: {{listen: 127.0.0.1:0, ops: 127.0.0.1:0, workers: 4}}
admin: {{listen: 127.0.0.1:0}}
deployments:
  lab: {{base_url: {url}/v1, model: lab, max_in_flight: 3, queue: 12}}
models:
  chat: {{targets: lab, timeout: {{first_token: 100s}}}}
  batch: {{targets: lab, timeout: {{first_token: 100s}}, policies: idle}}
policies:
  idle: {{priority: low}}
"""
SEATS, QUEUE = 3, 12


@pytest.fixture
def up(tmp_path: Path) -> Iterator[tuple[Running, Lab]]:
    with Lab() as lab, start(tmp_path, STACK.format(url=lab.url)) as running:
        yield running, lab


def key_of(running: Running, tenant: str) -> str:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(running.home.admin_socket))) as client:
        made = client.post("http://localhost/admin/v1/keys", json={"name": tenant, "tenant": tenant}, timeout=60)
        made.raise_for_status()
        return str(made.json()["key"])


class Client:
    """One request over a connection of its own, whose answer the upstream withholds for as long as the client stays."""

    def __init__(self, running: Running, key: str, name: str, model: str = "chat") -> None:
        self.name = name
        self._port = httpx.URL(running.url).port
        prompt = f'lab: {{"stall": "before_head"}} {name}'
        body = json.dumps({"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": prompt}]})
        head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n"
        self._request = (head.format(key, len(body)) + body).encode()
        self._writer: asyncio.StreamWriter | None = None
        self._asking = asyncio.create_task(self._ask())

    async def _ask(self) -> int:
        """Ask until the worker knows the key, which is new."""
        while True:
            reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._writer.write(self._request)
            status = int((await reader.readline()).split()[1])
            if status != 401:
                return status
            self._writer.close()

    @property
    def status(self) -> int | None:
        """The status of the answer, if there is one."""
        return self._asking.result() if self._asking.done() else None

    async def leave(self) -> None:
        """Go away."""
        self._asking.cancel()
        await asyncio.gather(self._asking, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()


class Theatre:
    """The clients of one test, and what the lab has of them."""

    def __init__(self, running: Running, lab: Lab) -> None:
        self.running = running
        self.lab = lab
        self.clients: dict[str, Client] = {}
        self.everybody: list[Client] = []

    def come(self, key: str, *names: str, model: str = "chat") -> None:
        """Let clients ask; each has a name of its own."""
        for name in names:
            self.clients[name] = Client(self.running, key, name, model)
            self.everybody.append(self.clients[name])

    def sitting(self) -> list[str]:
        """Return who has a seat, those that have had it for longest first."""
        bodies = [each["body"] for each in self.lab.last(100)]
        asked = [json.loads(body) if isinstance(body, str) else body for body in bodies]
        names = [each["messages"][0]["content"].rpartition(" ")[2] for each in asked]
        return [name for name in names if name in self.clients]

    def refused(self) -> int:
        """Return how many were refused, and let them go."""
        found = [name for name, client in self.clients.items() if client.status == 503]
        return len([self.clients.pop(name) for name in found])

    def waiting(self) -> int:
        """Return how many wait; what workers tell the node of it is a second old."""
        text = httpx.get(f"{self.running.ops_url}/metrics", trust_env=False).text
        samples = [line for line in text.splitlines() if line.startswith("penstock_queue_waiting{")]
        return sum(int(float(line.rpartition(" ")[2])) for line in samples)

    async def next(self) -> str:
        """Let the one that has had its seat for longest leave; return who gets it."""
        before = self.sitting()
        await self.clients.pop(before[0]).leave()
        await self.until(lambda: len(set(self.sitting()) - set(before)) == 1)
        return (set(self.sitting()) - set(before)).pop()

    async def until(self, met: Callable[[], object]) -> None:
        async def loop() -> None:
            while not met():  # noqa: ASYNC110  # what it looks at is in other processes
                await asyncio.sleep(0.01)

        await asyncio.wait_for(loop(), PATIENCE_S)


def at(up: tuple[Running, Lab], test: Callable[[Theatre], Awaitable[None]]) -> None:
    async def whole() -> None:
        theatre = Theatre(*up)
        try:
            await test(theatre)
        finally:
            for client in theatre.everybody:
                await client.leave()

    asyncio.run(whole())


def test_a_quiet_tenant_is_served_next_and_makes_room_in_a_full_queue(up: tuple[Running, Lab]) -> None:
    noisy, quiet = key_of(up[0], "noisy"), key_of(up[0], "quiet")

    async def test(theatre: Theatre) -> None:
        theatre.come(noisy, *(f"n{number}" for number in range(SEATS + QUEUE + 5)))
        refused = 0
        while refused < 5:
            await asyncio.sleep(0.01)
            refused += theatre.refused()
        await theatre.until(lambda: theatre.waiting() == QUEUE)
        theatre.come(quiet, "q1")
        await theatre.until(theatre.refused)
        assert "q1" in theatre.clients, "one of the noisy ones made room"
        assert await theatre.next() == "q1"
        theatre.come(quiet, "q2", model="batch")
        await theatre.until(lambda: theatre.waiting() == QUEUE)
        order = [await theatre.next() for _ in range(QUEUE)]
        assert order[-1] == "q2", "whose model has a low priority"
        assert "q1" not in theatre.clients

    at(up, test)


def test_what_a_killed_worker_had_and_its_clients_left_goes_to_the_next(up: tuple[Running, Lab]) -> None:
    running, lab = up
    key = key_of(running, "one")

    async def test(theatre: Theatre) -> None:
        theatre.come(key, *(f"c{number}" for number in range(SEATS)))
        await theatre.until(lambda: len(theatre.sitting()) == SEATS)
        for number in range(4):
            os.kill(running.pid_of(f"penstock gateway {number}"), signal.SIGKILL)
        await theatre.until(lambda: lab.stats()["in_progress"] == 0)
        theatre.clients.clear()
        theatre.come(key, *(f"d{number}" for number in range(SEATS)))
        await theatre.until(lambda: len(theatre.sitting()) == SEATS)

    at(up, test)


def test_a_frozen_node_stalls_nobody(up: tuple[Running, Lab]) -> None:
    running, lab = up
    key = key_of(running, "one")

    def ask() -> int:
        body = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
        headers = {"authorization": f"Bearer {key}"}
        url = f"{running.url}/v1/chat/completions"
        return httpx.post(url, json=body, headers=headers, timeout=60, trust_env=False).status_code

    async def test(theatre: Theatre) -> None:
        theatre.come(key, *(f"c{number}" for number in range(SEATS)))
        await theatre.until(lambda: len(theatre.sitting()) == SEATS)
        os.kill(running.process.pid, signal.SIGSTOP)
        try:
            extra: list[Client] = []

            def more() -> bool:
                """All seats are taken; who comes to a worker that has none of them gets that worker's share."""
                if len(extra) < 100:
                    extra.append(Client(running, key, f"e{len(extra)}"))
                found: int = lab.stats()["in_progress"]
                return found > SEATS

            await theatre.until(more)
            for client in extra:
                await client.leave()
            for name in list(theatre.clients):
                await theatre.clients.pop(name).leave()
            assert {await asyncio.to_thread(ask) for _ in range(10)} == {200}
        finally:
            os.kill(running.process.pid, signal.SIGCONT)
        metrics = f"{running.ops_url}/metrics"
        eventually(lambda: 'penstock_seats_taken_total{by="share"}' in httpx.get(metrics, trust_env=False).text)
        await theatre.until(lambda: ask() == 200)

    at(up, test)
