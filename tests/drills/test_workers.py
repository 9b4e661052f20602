"""Several workers behind one port: what one of them goes through, the others and the sums do not notice."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.lab.running import Running, free_port
from tests.drills.conftest import Start
from tests.drills.traffic import Admin, Outcomes, traffic
from tests.processes import Lab, eventually

pytestmark = pytest.mark.stack

WORKERS = 3
UNREPORTED_S = 5.0
"""What a killed worker has counted since its last report is not in the sums: a second's, more on a busy machine."""


def stack_text(lab: Lab, extra: str = "") -> str:
    return f"""\
version: 1
gateway: {{listen: 127.0.0.1:{free_port()}, ops: 127.0.0.1:{free_port()}, workers: {WORKERS}}}
admin: {{listen: 127.0.0.1:{free_port()}}}
deployments:
  lab: {{provider: openai, base_url: "{lab.url}/v1", model: lab, price: {{input: 1, output: 2}}}}
models:
  chat: {{targets: [lab]}}
{extra}
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


def workers(running: Running) -> dict[str, int]:
    """Return the newest process of each worker, by title; one that leaves has an elder's place."""
    found = sorted((child.pid, child.title) for child in running.processes() if "gateway" in child.title)
    return {title: pid for pid, title in found}


def succeeded(running: Running, title: str, worker: int) -> bool:
    return workers(running).get(title, worker) != worker


def readyz(running: Running) -> tuple[int, dict[str, Any]]:
    response = httpx.get(f"{running.ops_url}/readyz", trust_env=False)
    gateways: dict[str, Any] = response.json()["gateways"]
    return response.status_code, gateways


def all_ready(running: Running) -> bool:
    return bool(readyz(running)[1]["ready"] == WORKERS)


def samples(running: Running) -> dict[tuple[str, str, str], float]:
    """Return what the ops port says: (type, name, labels) → value."""
    page = httpx.get(f"{running.ops_url}/metrics", trust_env=False, timeout=30).text
    return {
        (family.type, sample.name, json.dumps(sample.labels, sort_keys=True)): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def total(seen: dict[tuple[str, str, str], float], name: str) -> int:
    return int(sum(value for (_, sample, _), value in seen.items() if sample == name))


@contextlib.contextmanager
def watched_sums(running: Running) -> Iterator[list[str]]:
    """Read the metrics without a pause; the list has what was less than before, which should be nothing."""
    fallen: list[str] = []
    stop = threading.Event()

    def watch() -> None:
        before: dict[tuple[str, str, str], float] = {}
        while not stop.is_set():
            now = samples(running)
            for key, value in before.items():
                if key[0] in ("counter", "histogram") and not now.get(key, -1) >= value:
                    fallen.append(f"{key} from {value!r} to {now.get(key)!r}")
            before = now

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield fallen
    finally:
        stop.set()
        thread.join()


class Line:
    """A connection that stays with one worker."""

    def __init__(self, running: Running) -> None:
        port = int(running.url.rpartition(":")[2])
        self._key = running.key
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.get("/livez")
        own = self._http.sock.getsockname()
        self.worker = next(
            pid
            for pid in workers(running).values()
            for connection in psutil.Process(pid).net_connections("tcp")
            if connection.raddr[1:] == own[1:]
        )

    def get(self, path: str) -> int:
        self._http.request("GET", path)
        response = self._http.getresponse()
        response.read()
        return response.status

    def begin(self, content: str = "hello", *, key: str = "", **fields: Any) -> http.client.HTTPResponse:
        body = {"model": "chat", "messages": [{"role": "user", "content": content}], **fields}
        headers = {"authorization": f"Bearer {key or self._key}", "content-type": "application/json"}
        self._http.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        return self._http.getresponse()

    def ask(self, *, key: str = "", **fields: Any) -> int:
        response = self.begin(key=key, **fields)
        response.read()
        return response.status

    def close(self) -> None:
        self._http.close()


@contextlib.contextmanager
def a_line_to_each(running: Running) -> Iterator[dict[int, Line]]:
    """Connect until there is a connection to every worker."""
    lines: dict[int, Line] = {}
    with contextlib.ExitStack() as stack:

        def another() -> bool:
            line = Line(running)
            stack.callback(line.close)
            lines.setdefault(line.worker, line)
            return set(lines) == set(workers(running).values())

        eventually(another, "a connection to each worker")
        yield lines


def _goes_on(seen: Outcomes, answers: int) -> None:
    before = len(seen.answered)
    eventually(lambda: len(seen.answered) > before + answers, "traffic going on")


def _settled(running: Running) -> list[dict[str, Any]]:
    return [row for row in Admin(running).ledger().values() if row["outcome"] != "lost"]


def test_the_sums_survive_a_killed_worker_and_the_others_serve(begin: Start, lab: Lab) -> None:
    running = begin(stack_text(lab))
    reports: Counter[tuple[int, int]] = Counter()
    with watched_sums(running) as fallen, traffic(running, callers=6) as seen:
        _goes_on(seen, 300)
        worker = workers(running)["penstock gateway 1"]
        os.kill(worker, signal.SIGKILL)
        killed = time.time()

        def replaced() -> bool:
            status, gateways = readyz(running)
            reports[status, gateways["ready"]] += 1
            return gateways["ready"] == WORKERS and succeeded(running, "penstock gateway 1", worker)

        eventually(replaced, "a new worker")
        _goes_on(seen, 300)
    assert set(seen.statuses) <= {"200", "broken"}, "only exchanges in the killed worker broke; nobody was refused"
    assert seen.statuses["broken"] <= 6
    assert {status for status, _ in reports} == {200}, "two of three workers are enough to be ready"
    assert reports[200, WORKERS - 1] > 0, "and that it is two of three is said"
    assert fallen == []

    rows = eventually(lambda: _all_in(seen, _settled(running)), "the ledger having everything")
    recent = sum(killed - UNREPORTED_S < _ended(row) <= killed for row in rows)
    eventually(
        lambda: len(rows) - recent <= total(samples(running), "penstock_exchanges_total") <= len(rows),
        "the sums agreeing with the ledger, but for the last second of the killed worker",
    )
    assert total(samples(running), "penstock_process_restarts_total") == 1
    eventually(lambda: not any(_levels(running)), "the sums having nothing in progress")


def _levels(running: Running) -> list[int]:
    seen = samples(running)
    names = ("penstock_exchanges_in_progress", "penstock_slots_in_use", "penstock_connections")
    assert total(seen, "penstock_tasks") > 0
    return [total(seen, name) for name in names]


def _all_in(seen: Outcomes, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return rows if set(seen.answered) <= {row["id"] for row in rows} else []


def _ended(row: dict[str, Any]) -> float:
    return datetime.fromisoformat(row["at"]).timestamp() + float(row["duration_ms"]) / 1000


def test_a_change_and_a_revocation_reach_every_worker(begin: Start, lab: Lab) -> None:
    text = stack_text(lab)
    running = begin(text)
    transport = httpx.HTTPTransport(uds=str(running.home.admin_socket))
    with (
        httpx.Client(transport=transport, base_url="http://localhost/admin/v1", timeout=30) as admin,
        a_line_to_each(running) as lines,
    ):
        assert len(lines) == WORKERS
        made = admin.post("/keys", json={"name": "short-lived"}).json()
        for line in lines.values():
            assert line.ask(model="other") == 404
            eventually(lambda line=line: line.ask(key=made["key"]) == 200, "the new key")  # type: ignore[misc]  # mypy cannot type a lambda's default
        (running.home.root / "penstock.yaml").write_text(text + "  other: {targets: [lab]}\n")
        for line in lines.values():
            eventually(lambda line=line: line.ask(model="other") == 200, "the new model")  # type: ignore[misc]  # as above
        admin.delete(f"/keys/{made['id']}").raise_for_status()
        for line in lines.values():
            eventually(lambda line=line: line.ask(key=made["key"]) == 401, "the revocation")  # type: ignore[misc]  # as above
            assert line.ask() == 200, "the other key is as it was"


def test_restarting_the_workers_one_after_another_loses_nothing(begin: Start, lab: Lab) -> None:
    running = begin(stack_text(lab))
    order = 'lab: {"events": 200, "delay_between": "30ms"}'
    with watched_sums(running) as fallen, traffic(running, callers=6) as seen, a_line_to_each(running) as lines:
        _goes_on(seen, 50)
        streams = {worker: line.begin(order, stream=True) for worker, line in lines.items()}
        for stream in streams.values():
            assert stream.readline().startswith(b"data: ")
        for title, worker in workers(running).items():
            os.kill(worker, signal.SIGTERM)
            eventually(
                lambda title=title, worker=worker: succeeded(running, title, worker) and all_ready(running),  # type: ignore[misc]  # as above
                "the successor",
            )
            _goes_on(seen, 50)
        for stream in streams.values():
            assert stream.read().endswith(b"data: [DONE]\n\n"), "a stream in progress is finished"
        eventually(lambda: not set(streams) & {child.pid for child in running.processes()}, "the end of the old ones")
        _goes_on(seen, 50)
    assert set(seen.statuses) == {"200"}, "no request was lost"
    assert fallen == []
    rows = eventually(lambda: _all_in(seen, _settled(running)), "the ledger having everything")
    assert len(rows) == len(seen.answered) + WORKERS
    eventually(
        lambda: total(samples(running), "penstock_exchanges_total") == len(rows), "the sums agreeing with the ledger"
    )
    assert total(samples(running), "penstock_process_restarts_total") == 0, "none of them ended unasked"


def test_a_worker_that_stands_still_is_replaced_and_meanwhile_the_others_take_its_connections(
    begin: Start, lab: Lab
) -> None:
    running = begin(stack_text(lab))
    worker = workers(running)["penstock gateway 2"]
    os.kill(worker, signal.SIGSTOP)
    stopped = time.monotonic()

    def replaced() -> bool:
        line = Line(running)  # one new connection in three belongs to the worker that stands still
        try:
            assert line.ask() == 200
        finally:
            line.close()
        return succeeded(running, "penstock gateway 2", worker) and all_ready(running)

    eventually(replaced, "a new worker")
    print(f"replaced after {time.monotonic() - stopped:.1f} s")
    assert total(samples(running), "penstock_process_restarts_total") == 1
    assert "wedged" in (running.home.root / "penstock.log").read_text()
