"""Continuous traffic for drills: callers that ask one question after the other and note every outcome."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from penstock.lab.running import Running

QUESTION = "What is 27 + 45?"
ANSWER = "72"


@dataclass
class Outcomes:
    """
    What the callers have seen.

    Attributes:
        answered: request ids of the answers with status 200.
        statuses: how many of each status; `refused` and `broken` count connections.
        slowest: seconds of the slowest answer.
        last_answer: `time.monotonic()` of the newest answer.
    """

    answered: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    without_retry_after: int = 0
    slowest: float = 0.0
    last_answer: float = 0.0


def ask(client: httpx.Client, content: str = QUESTION, **fields: Any) -> httpx.Response:
    """Ask the model `chat` once."""
    body = {"model": "chat", "messages": [{"role": "user", "content": content}], "temperature": 0, **fields}
    return client.post("/v1/chat/completions", json=body)


def answered(client: httpx.Client) -> httpx.Response | None:
    """Ask, and return the response if it is an answer."""
    response = ask(client)
    return response if response.status_code == 200 else None


def client_of(running: Running) -> httpx.Client:
    """Return a client with the first key."""
    return httpx.Client(
        base_url=running.url, headers={"authorization": f"Bearer {running.key}"}, timeout=60, trust_env=False
    )


@contextlib.contextmanager
def traffic(running: Running, callers: int = 4, **fields: Any) -> Iterator[Outcomes]:
    """Keep callers asking for the time of a block."""
    outcomes, lock, stop = Outcomes(), threading.Lock(), threading.Event()

    def caller() -> None:
        with client_of(running) as client:
            while not stop.is_set():
                began = time.monotonic()
                try:
                    response = ask(client, **fields)
                except httpx.ConnectError:
                    key = "refused"
                except httpx.TransportError:
                    key = "broken"
                else:
                    key = str(response.status_code)
                now = time.monotonic()
                with lock:
                    outcomes.statuses[key] += 1
                    outcomes.slowest = max(outcomes.slowest, now - began)
                    if key == "200":
                        outcomes.answered.append(response.headers["x-request-id"])
                        outcomes.last_answer = now
                    if key == "503" and "retry-after" not in response.headers:
                        outcomes.without_retry_after += 1

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class Admin:
    """The admin API over its Unix socket, which needs no key. Each call has a connection of its own."""

    def __init__(self, running: Running) -> None:
        self._socket = str(running.home.admin_socket)

    def get(self, path: str, **query: object) -> dict[str, Any]:
        """Return the answer to a GET below `/admin/v1`."""
        transport = httpx.HTTPTransport(uds=self._socket)
        with httpx.Client(transport=transport, base_url="http://localhost/admin/v1", timeout=30) as client:
            response = client.get(path, params={name: str(value) for name, value in query.items()})
            response.raise_for_status()
            answer: dict[str, Any] = response.json()
            return answer

    def answers(self) -> bool:
        """Tell whether the admin port answers now."""
        try:
            return bool(self.get("/usage"))
        except httpx.TransportError:
            return False

    def ledger(self) -> dict[str, dict[str, Any]]:
        """Return every exchange in the ledger by request id; fails when one is there twice."""
        rows: dict[str, dict[str, Any]] = {}
        page = self.get("/requests", limit=500)
        while True:
            for row in page["requests"]:
                assert row["id"] not in rows, "an exchange is in the ledger once"
                rows[row["id"]] = row
            if not page["next"]:
                return rows
            page = self.get("/requests", limit=500, before=page["next"])


def pid(running: Running, title: str) -> int:
    """Return the process id of a child, or 0 while there is none with this title."""
    try:
        return running.pid_of(title)
    except LookupError:
        return 0
