"""A stack with limits and budgets, its gateways on one host or on several, and crowds that run into the limits."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Self

import httpx

from penstock.lab.running import Running, start
from penstock.pricing.price import usd
from tests.processes import PATIENCE_S, Lab

STACK = """\
version: 1
state: {{counters: "{counters}", database: "{database}"}}
gateway: {{listen: 127.0.0.1:0, ops: 127.0.0.1:0, workers: 4}}
admin: {{listen: 127.0.0.1:0}}
deployments:
  lab: {{base_url: {url}/v1, model: lab}}
  dear: {{base_url: {url}/v1, model: lab, price: {{input: 1000, output: 1000}}}}
models:
  money: {{targets: dear, policies: money}}
  places: {{targets: lab, policies: places}}
  rate: {{targets: lab, policies: rate}}
  share: {{targets: lab, policies: share}}
  thrift: {{targets: dear, policies: thrift}}
policies:
  money: {{budgets: [{{per: tenant, amount_usd: {usd}, period: total}}, {{per: key, amount_usd: 1000, period: day}}]}}
  places: {{limits: [{{per: key, concurrency: 24, on_counters_outage: deny}}]}}
  rate: {{limits: [{{per: key, requests_per_minute: 40, on_counters_outage: deny}}]}}
  share: {{limits: [{{per: key, concurrency: 8}}]}}
  thrift: {{budgets: [{{per: key, amount_usd: 100, period: total, on_counters_outage: local_share}}]}}
"""
STALL = 'lab: {"stall": "before_head"}'
CAP = 10  # tokens of an answer
ESTIMATES = 13  # of a stalled call on the model `money`, that its budget has room for


def body_of(model: str, prompt: str) -> bytes:
    return json.dumps({"model": model, "max_tokens": CAP, "messages": [{"role": "user", "content": prompt}]}).encode()


def estimate_nano(body: bytes) -> int:
    return (len(body) + CAP) * 10**6  # a thousand dollars per million tokens


BUDGET_NANO = ESTIMATES * estimate_nano(body_of("money", STALL))


def stack(lab: Lab, counters: str = "local", database: str = "sqlite") -> str:
    return STACK.format(url=lab.url, usd=usd(BUDGET_NANO), counters=counters, database=database)


class Serving:
    """
    Gateways under one control.

    Attributes:
        control: the node with control, and with gateways of its own.
        gateways: all nodes with gateways.
    """

    def __init__(self, control: Running, *joined: Running) -> None:
        self.control = control
        self.gateways = (control, *joined)
        self.key = control.key

    def kill_workers(self) -> None:
        """Kill all gateway workers."""
        for gateway in self.gateways:
            for process in gateway.processes():
                if process.title.startswith("penstock gateway "):
                    os.kill(process.pid, signal.SIGKILL)


JOINED = "version: 1\ngateway: {listen: 127.0.0.1:0, ops: 127.0.0.1:0, workers: 4}\n"


@contextlib.contextmanager
def joined(home: Path, control: Running, environ: Mapping[str, str], stack: str = JOINED) -> Iterator[Running]:
    """Gateways of another host."""
    home.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(control.home.root / "secret.key", home / "secret.key")
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(control.home.admin_socket))) as client:
        made = client.post("http://localhost/admin/v1/keys", json={"kind": "admin", "role": "gateway", "name": "h"})
    environ = {**environ, "PENSTOCK_JOIN_KEY": made.json()["key"]}
    with start(home, stack, environ=environ, command=("gateway", "--join", control.admin_url)) as running:
        running.key = control.key
        yield running


def request(running: Serving | Running, model: str, prompt: str) -> bytes:
    body = body_of(model, prompt)
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n"
    return head.format(running.key, len(body)).encode() + body


def ask(running: Running, model: str, prompt: str = "hi") -> httpx.Response:
    """Ask over a connection of its own, so that the kernel spreads the requests over the workers."""
    headers = {"authorization": f"Bearer {running.key}", "content-type": "application/json"}
    url = f"{running.url}/v1/chat/completions"
    content = body_of(model, prompt)
    return httpx.post(url, content=content, headers=headers, timeout=60, trust_env=False, verify=False)


class Crowd:
    """Clients that ask at once, each over a connection of its own, and stay until the block is left."""

    def __init__(self, running: Serving, model: str, count: int, prompt: str = "hi") -> None:
        self._ports = cycle([httpx.URL(gateway.url).port for gateway in running.gateways])
        self._count = count
        self._request = request(running, model, prompt)
        self._clients: list[asyncio.Task[int]] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._clients = [asyncio.create_task(self._ask()) for _ in range(self._count)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        for writer in self._writers:
            writer.close()

    async def answered(self, waiting: int = 0) -> Counter[int]:
        """Return the status codes, once so many clients and no more still wait for theirs."""
        deadline = time.monotonic() + PATIENCE_S
        while (left := sum(not client.done() for client in self._clients)) > waiting:
            assert time.monotonic() < deadline, f"{left} wait still"
            await asyncio.sleep(0.01)
        return Counter(client.result() for client in self._clients if client.done())

    async def _ask(self) -> int:
        """Ask until there is an answer that is no outage: on a busy machine the node may be late."""
        port = next(self._ports)
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            self._writers.append(writer)
            writer.write(self._request)
            status = int((await reader.readline()).split()[1])
            if status != 503:
                return status
