"""What happens when a process dies: the engine, control, a gateway worker under load, the node."""

import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from penstock.lab.running import Running, children
from tests.drills.conftest import Start, stack_text
from tests.drills.traffic import ANSWER, Admin, Outcomes, answered, ask, client_of, pid, traffic
from tests.processes import eventually

pytestmark = pytest.mark.stack


def test_a_killed_engine_is_back_within_five_seconds(begin: Start) -> None:
    running = begin()
    with traffic(running) as seen:
        eventually(lambda: len(seen.answered) > 20, "traffic")
        engine = running.pid_of("penstock engine mini/0")
        killed = time.monotonic()
        os.kill(engine, signal.SIGKILL)
        eventually(lambda: pid(running, "penstock engine mini/0") not in (0, engine), "a new engine")
        with client_of(running) as client:
            response = eventually(lambda: answered(client), "an answer")
        assert response.json()["choices"][0]["message"]["content"] == ANSWER
        back = time.monotonic() - killed
    print(f"the engine was back and answering after {back:.2f} s; statuses {dict(seen.statuses)}")
    assert back < 5
    assert set(seen.statuses) <= {"200", "503"}, "requests wait within their deadline or get 503"
    assert seen.without_retry_after == 0


def test_a_killed_control_fails_no_request(begin: Start) -> None:
    running = begin()
    with traffic(running) as seen:
        eventually(lambda: len(seen.answered) > 20, "traffic")
        control = running.pid_of("penstock control")
        os.kill(control, signal.SIGKILL)
        eventually(lambda: pid(running, "penstock control") not in (0, control), "a new control")
        _goes_on(seen, 50)
        eventually(Admin(running).answers, "the admin port answering")
    assert set(seen.statuses) == {"200"}
    ledger = Admin(running).ledger()
    assert set(seen.answered) <= set(ledger)


def _replaced(running: Running, worker: int) -> None:
    eventually(lambda: pid(running, "penstock gateway 0") not in (0, worker), "a new worker")


def _goes_on(seen: Outcomes, answers: int) -> None:
    before = len(seen.answered)
    eventually(lambda: len(seen.answered) > before + answers, "traffic going on")


def test_a_killed_gateway_worker_refuses_nobody_and_loses_no_answer(begin: Start) -> None:
    running = begin(stack_text(workers=2))
    with traffic(running, callers=6) as seen:
        eventually(lambda: len(seen.answered) > 20, "traffic")
        for _ in range(3):
            worker = running.pid_of("penstock gateway 0")
            os.kill(worker, signal.SIGKILL)
            _replaced(running, worker)
            _goes_on(seen, 50)
    assert seen.statuses["refused"] == 0, "no new connection is refused"
    assert set(seen.statuses) <= {"200", "broken"}, "only exchanges in the killed worker broke"
    ledger = Admin(running).ledger()
    missing = set(seen.answered) - set(ledger)
    assert not missing, "every answered request is in the ledger"
    assert all(ledger[request]["outcome"] == "answered" for request in seen.answered)
    assert len(set(seen.answered)) == len(seen.answered)
    lost = [row for row in ledger.values() if row["outcome"] == "lost"]
    assert len(lost) <= seen.statuses["broken"]


def test_a_single_killed_worker_queues_new_connections(begin: Start) -> None:
    running = begin()
    worker = running.pid_of("penstock gateway 0")
    os.kill(worker, signal.SIGKILL)
    with client_of(running) as client:
        assert ask(client).status_code == 200, "the connection waited in the listener's queue"


def test_a_killed_node_leaves_no_process_and_the_next_start_recovers_the_journal(begin: Start) -> None:
    text = stack_text()
    running = begin(text)
    with traffic(running) as seen:
        eventually(lambda: len(seen.answered) > 30, "traffic")
        under = [child.pid for child in children(running.process.pid)]
        assert len(under) >= 3
        running.process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        eventually(lambda: not any(_alive(child) for child in under), "the end of all children")
        took = time.monotonic() - killed
    print(f"all {len(under)} children had ended after {took:.2f} s")
    assert took < 1, "no process is left after a second"
    again = begin(text)
    assert again.key == "", "the first key was shown once"
    ledger = Admin(again).ledger()
    assert set(seen.answered) <= set(ledger)
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(again.home.gateway_socket)), base_url="http://x") as client:
        assert ask(client).json()["choices"][0]["message"]["content"] == ANSWER


def _alive(child: int) -> bool:
    try:
        return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_with_control_stopped_gateways_serve_also_after_their_own_restart(begin: Start) -> None:
    """Static stability: everything an answer needs is on disk."""
    running = begin()
    os.kill(running.pid_of("penstock control"), signal.SIGSTOP)
    try:
        os.kill(running.pid_of("penstock gateway 0"), signal.SIGKILL)
        os.kill(running.pid_of("penstock engine mini/0"), signal.SIGKILL)
        with client_of(running) as client:
            response = eventually(lambda: answered(client), "an answer")
        assert response.json()["choices"][0]["message"]["content"] == ANSWER
        assert httpx.get(f"{running.ops_url}/readyz", trust_env=False).status_code == 200
    finally:
        os.kill(running.pid_of("penstock control"), signal.SIGCONT)
    request_id = response.headers["x-request-id"]
    assert Admin(running).get(f"/requests/{request_id}")["outcome"] == "answered"
