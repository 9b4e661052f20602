"""Gateways of other hosts: what they know and send while control and they come and go."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from penstock.lab.running import Running, free_port, start
from penstock.types.errors import StartError
from tests.crowd import JOINED, ask, joined, stack
from tests.processes import Lab, eventually
from tests.servers import RedisServer

pytestmark = pytest.mark.stack

STREAM = 'lab: {"events": 1000, "delay_between": "50ms"}'


@contextlib.contextmanager
def admin_of(running: Running) -> Iterator[httpx.Client]:
    """A client on the Unix socket of control."""
    transport = httpx.HTTPTransport(uds=str(running.home.admin_socket))
    with httpx.Client(transport=transport, base_url="http://localhost/admin/v1", timeout=60) as client:
        yield client


def outcomes(running: Running) -> dict[str, str]:
    """Return the outcome of every exchange in the ledger."""
    found: dict[str, str] = {}
    with admin_of(running) as client:
        page = client.get("/requests?limit=1000").json()
        while True:
            found |= {row["id"]: row["outcome"] for row in page["requests"]}
            if page["next"] is None:
                return found
            page = client.get(f"/requests?limit=1000&before={page['next']}").json()


def opened(running: Running) -> int:
    """Return how many exchanges are in progress, as far as control knows."""
    with contextlib.closing(sqlite3.connect(running.home.database)) as database:
        (count,) = database.execute("SELECT COUNT(*) FROM opened").fetchone()
    return int(count)


def settled_all(running: Running, wanted: set[str]) -> dict[str, str]:
    """Wait until these exchanges are in the ledger, and return all that are."""
    return eventually(lambda: found if wanted <= (found := outcomes(running)).keys() else None, "the ledger")


def uplink(running: Running) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{running.ops_url}/readyz", trust_env=False).json()["uplink"]
    return found


def asked(running: Running, model: str = "share") -> str:
    """Ask, and return the id of the request that was answered."""
    answer = ask(running, model)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-request-id"]


@pytest.fixture
def here(tmp_path: Path, redis: RedisServer) -> Iterator[tuple[Callable[..., Running], dict[str, str]]]:
    """Starts control, always on the same port."""
    environ = {"REDIS_URL": redis.url}
    with Lab() as lab:
        text = stack(lab, "${REDIS_URL}").replace(
            "admin: {listen: 127.0.0.1:0}", f"admin: {{listen: 127.0.0.1:{free_port()}}}"
        )

        def begin(gateway: str = "gateway: {") -> Running:
            return start(tmp_path / "one", text.replace("gateway: {", gateway), environ=environ)

        yield begin, environ


def test_a_host_serves_on_without_control_after_a_start_too_and_sends_its_journal_later(
    here: tuple[Callable[..., Running], dict[str, str]], tmp_path: Path
) -> None:
    begin, environ = here
    with begin() as control:
        key = control.key
        with joined(tmp_path / "two", control, environ) as host:
            ids = {asked(host)}
            assert settled_all(control, ids) == dict.fromkeys(ids, "answered")
            control.stop()
            ids.add(asked(host))
            assert eventually(lambda: not uplink(host)["reachable"])
            eventually(lambda: uplink(host)["waiting_bytes"] > 0)
            port = control.admin_url
        assert list((tmp_path / "two" / "journal").iterdir()), "control has not taken it"
        again = {**environ, "PENSTOCK_JOIN_KEY": "sk-psadmin-forgotten"}
        with start(tmp_path / "two", JOINED, environ=again, command=("gateway", "--join", port)) as host:
            host.key = key
            ids.add(asked(host))
    with begin() as control, joined(tmp_path / "two", control, environ) as host:
        assert settled_all(control, ids) == dict.fromkeys(ids, "answered")
        eventually(lambda: uplink(host)["reachable"])
        eventually(lambda: not uplink(host)["waiting_bytes"])


def test_what_a_killed_host_had_in_progress_is_lost_when_it_is_back_or_forgotten(
    here: tuple[Callable[..., Running], dict[str, str]], tmp_path: Path
) -> None:
    begin, environ = here

    def killed(control: Running) -> None:
        """Have a host with a stream under way, and kill all of it."""
        with joined(tmp_path / "two", control, environ) as host:
            body = {"model": "share", "stream": True, "messages": [{"role": "user", "content": STREAM}]}
            headers = {"authorization": f"Bearer {control.key}"}
            with httpx.stream("POST", f"{host.url}/v1/chat/completions", json=body, headers=headers) as answer:
                pieces = answer.iter_bytes()
                next(pieces)
                eventually(lambda: opened(control), "control knowing of it")
                host.process.send_signal(signal.SIGKILL)
                host.process.wait()

    with begin() as control:
        killed(control)
        assert outcomes(control) == {}, "it may come back with the rest"
        with joined(tmp_path / "two", control, environ):
            (outcome,) = eventually(lambda: list(outcomes(control).values()))
        assert outcome == "lost"
        killed(control)
        assert len(outcomes(control)) == 1
        with admin_of(control) as client:
            (gone,) = [host for host in client.get("/hosts").json()["hosts"] if not host["own"]]
            assert client.delete(f"/hosts/{gone['id']}").status_code == 409, "it has reported just now"
            eventually(lambda: client.delete(f"/hosts/{gone['id']}").status_code == 204)
            assert client.delete(f"/hosts/{gone['id']}").status_code == 404
        assert list(outcomes(control).values()) == ["lost", "lost"]


def test_a_revoked_key_is_refused_on_every_host(
    here: tuple[Callable[..., Running], dict[str, str]], tmp_path: Path
) -> None:
    begin, environ = here
    with begin() as control, joined(tmp_path / "two", control, environ) as host, admin_of(control) as client:
        made = client.post("/keys", json={"name": "new"}).json()
        host.key = made["key"]
        eventually(lambda: ask(host, "share").status_code == 200, "the new key")
        client.delete(f"/keys/{made['id']}")
        eventually(lambda: ask(host, "share").status_code == 401, "the revoked key")


def test_hosts_that_cannot_serve_what_there_is_are_refused_and_say_why(tmp_path: Path) -> None:
    with Lab() as lab, start(tmp_path / "one", stack(lab)) as control:
        with pytest.raises(StartError, match="counters is local"), joined(tmp_path / "two", control, {}):
            pass
        other = {"PENSTOCK_SECRET_KEY": "another secret than control's"}
        with pytest.raises(StartError, match="another secret"), joined(tmp_path / "three", control, other):
            pass
        (tmp_path / "four").mkdir(mode=0o700)
        wrong = {"PENSTOCK_JOIN_KEY": "sk-psadmin-nobody"}
        command = ("gateway", "--join", control.admin_url)
        with pytest.raises(StartError, match=r"secret\.key"):
            start(tmp_path / "four", JOINED, environ=wrong, command=command)
        shutil.copy(tmp_path / "one" / "secret.key", tmp_path / "four")
        with pytest.raises(StartError, match="not valid"):
            start(tmp_path / "four", JOINED, environ=wrong, command=command)


def test_hosts_are_renewed_one_after_the_other_under_traffic_and_nothing_is_dropped(
    here: tuple[Callable[..., Running], dict[str, str]], tmp_path: Path
) -> None:
    begin, environ = here
    with begin("gateway: {notice: 2s, ") as control, contextlib.ExitStack() as opened:
        hosts = [opened.enter_context(joined(tmp_path / name, control, environ)) for name in ("two", "three")]
        balancer = Balancer(hosts, control.key)
        with balancer:
            for index, name in enumerate(("two", "three")):
                eventually(lambda: balancer.count() >= 20, "traffic")
                balancer.retire(hosts[index])
                assert hosts[index].stop() == 0
                hosts[index] = opened.enter_context(joined(tmp_path / name, control, environ))
                balancer.add(hosts[index])
        assert balancer.failures == []
        assert set(settled_all(control, balancer.answered).values()) == {"answered"}


class Balancer:
    """Clients that turn to the hosts in turns, as a load balancer does: to none that it has been told is leaving."""

    def __init__(self, hosts: list[Running], key: str) -> None:
        self._hosts = list(hosts)
        self._key = key
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(4)]
        self._since = 0
        self.answered: set[str] = set()
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def retire(self, host: Running) -> None:
        with self._lock:
            self._hosts.remove(host)
            self._since = len(self.answered)

    def add(self, host: Running) -> None:
        with self._lock:
            self._hosts.append(host)
            self._since = len(self.answered)

    def count(self) -> int:
        """Return how many were answered since the last change."""
        return len(self.answered) - self._since

    def _run(self, number: int) -> None:
        while not self._stop.is_set():
            number += 1
            with self._lock:
                host = self._hosts[number % len(self._hosts)]
                url = host.url
            try:
                answer = httpx.post(
                    f"{url}/v1/chat/completions",
                    json={"model": "share", "messages": [{"role": "user", "content": 'lab: {"delay": "20ms"}'}]},
                    headers={"authorization": f"Bearer {self._key}"},
                    timeout=60,
                    trust_env=False,
                )
            except httpx.HTTPError as error:
                self.failures.append(repr(error))
                continue
            if answer.status_code == 200:
                self.answered.add(answer.headers["x-request-id"])
            elif answer.status_code != 429:
                self.failures.append(answer.text)


def test_another_control_takes_over_with_keys_ledger_and_journals(
    tmp_path: Path, redis: RedisServer, postgres: str
) -> None:
    environ = {"REDIS_URL": redis.url, "DATABASE_URL": postgres, "PENSTOCK_SECRET_KEY": "the same for all of them"}
    with Lab() as lab, contextlib.ExitStack() as opened:
        urls = []
        texts = []
        for _ in range(2):
            port = free_port()
            urls.append(f"http://127.0.0.1:{port}")
            text = stack(lab, "${REDIS_URL}", "${DATABASE_URL}")
            texts.append(text.replace("admin: {listen: 127.0.0.1:0}", f"admin: {{listen: 127.0.0.1:{port}}}"))
        first = opened.enter_context(start(tmp_path / "one", texts[0], environ=environ))
        with admin_of(first) as client:
            key = client.post("/keys", json={"kind": "admin", "role": "gateway", "name": "h"}).json()["key"]
        command = ("gateway", "--join", urls[0], "--join", urls[1])
        host = opened.enter_context(
            start(tmp_path / "three", JOINED, environ={**environ, "PENSTOCK_JOIN_KEY": key}, command=command)
        )
        host.key = first.key
        ids = {asked(host), asked(host, "money")}
        settled_all(first, ids)
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        ids |= {asked(host), asked(host)}
        second = opened.enter_context(start(tmp_path / "two", texts[1], environ=environ))
        assert settled_all(second, ids) == dict.fromkeys(ids, "answered")
        with admin_of(second) as client:
            made = client.post("/keys", json={"name": "later"}).json()
            host.key = made["key"]
            eventually(lambda: ask(host, "share").status_code == 200, "a key of the second control")
        eventually(lambda: ask(host, "money").status_code == 200, "budgets, as the second control tells Redis of them")
