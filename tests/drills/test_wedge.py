"""A wedged engine is found, said and replaced; a slow one is not."""

import os
import signal
import time

import httpx
import pytest

from tests.drills.conftest import Start
from tests.drills.traffic import ANSWER, Admin, ask, client_of
from tests.processes import eventually

pytestmark = pytest.mark.stack

REPLACED_WITHIN_S = 15.0
"""What the documentation promises: five seconds without progress, then the start of a new process."""


def test_a_stopped_engine_is_replaced_and_readyz_tells_the_truth(begin: Start) -> None:
    running = begin()
    ready = f"{running.url}/readyz"
    eventually(lambda: httpx.get(ready, trust_env=False).status_code == 200, "the gateway having seen the fleet")
    engine = running.pid_of("penstock engine mini/0")
    os.kill(engine, signal.SIGSTOP)
    stopped = time.monotonic()
    eventually(lambda: httpx.get(ready, trust_env=False).status_code == 503, "readyz telling the truth")
    noticed = time.monotonic() - stopped
    assert httpx.get(f"{running.ops_url}/readyz", trust_env=False).status_code == 503
    with client_of(running) as client:
        response = ask(client)  # waits for the replica that is coming
    replaced = time.monotonic() - stopped
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == ANSWER
    assert running.pid_of("penstock engine mini/0") != engine
    eventually(lambda: httpx.get(ready, trust_env=False).status_code == 200, "readyz telling the truth again")
    print(f"not ready after {noticed:.2f} s, replaced and answering after {replaced:.2f} s")
    assert replaced < REPLACED_WITHIN_S


def test_an_exchange_that_a_wedged_engine_holds_is_answered_by_its_successor(begin: Start) -> None:
    running = begin()
    engine = running.pid_of("penstock engine mini/0")
    os.kill(engine, signal.SIGSTOP)
    with client_of(running) as client:
        response = ask(client)  # nobody knows yet
    assert response.status_code == 200
    steps = [
        step["step"] for step in Admin(running).get(f"/requests/{response.headers['x-request-id']}")["explanation"]
    ]
    assert steps.count("upstream") == 2, "the loss and the answer are both explained"


def test_an_engine_that_goes_on_in_time_is_kept(begin: Start) -> None:
    running = begin()
    engine = running.pid_of("penstock engine mini/0")
    os.kill(engine, signal.SIGSTOP)
    eventually(lambda: httpx.get(f"{running.url}/readyz", trust_env=False).status_code == 503, "the suspicion")
    os.kill(engine, signal.SIGCONT)
    eventually(lambda: httpx.get(f"{running.url}/readyz", trust_env=False).status_code == 200, "the trust")
    assert running.pid_of("penstock engine mini/0") == engine
