"""Editing the stack under load drops no request."""

from pathlib import Path

import pytest

from penstock.lab.running import Running
from tests.drills.conftest import Start, stack_text
from tests.drills.traffic import Admin, ask, client_of, traffic
from tests.processes import eventually

pytestmark = pytest.mark.stack


def stack_file(running: Running) -> Path:
    return running.home.root / "penstock.yaml"


def test_adding_removing_and_breaking_under_load(begin: Start) -> None:
    text = stack_text()
    running = begin(text)
    file = stack_file(running)
    with traffic(running) as seen, client_of(running) as client:
        eventually(lambda: len(seen.answered) > 10, "traffic")
        added = text.replace(
            "models:",
            '  second: {engine: llama.cpp, weights: "bundled:mini", parallel: 2}\n'
            "models:\n  other: {targets: [second]}\n",
        )
        file.write_text(added)
        eventually(lambda: ask(client, model="other").status_code == 200, "the added deployment")
        file.write_text(added.replace("targets: [second]", "tragets: [second]"))
        eventually(lambda: "tragets" in str(Admin(running).get("/status")), "the refusal of the broken edit")
        assert ask(client, model="other").status_code == 200, "the old stack stays"
        file.write_text(text)
        eventually(lambda: ask(client, model="other").status_code == 404, "the removal")
        eventually(
            lambda: not any("second" in child.title for child in running.processes()), "the end of the removed engine"
        )
        before = len(seen.answered)
        eventually(lambda: len(seen.answered) > before + 20, "traffic going on")
    assert set(seen.statuses) == {"200"}, "no request was dropped"
    assert set(seen.answered) <= set(Admin(running).ledger())


def test_changing_the_engine_under_load_replaces_it_only_when_the_new_one_is_ready(begin: Start) -> None:
    text = stack_text()
    running = begin(text)
    old = running.pid_of("penstock engine mini/0")
    with traffic(running) as seen:
        eventually(lambda: len(seen.answered) > 10, "traffic")
        stack_file(running).write_text(text.replace('weights: "bundled:mini"', 'weights: "bundled:mini", parallel: 4'))
        eventually(lambda: old not in [child.pid for child in running.processes()], "the end of the old engine")
        before = len(seen.answered)
        eventually(lambda: len(seen.answered) > before + 20, "traffic going on")
    assert set(seen.statuses) == {"200"}


def test_weights_that_cannot_be_loaded_are_said_and_the_rest_serves(begin: Start, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF and nothing more")
    deployments = (
        f'  broken: {{engine: llama.cpp, weights: "{broken}"}}\n'
        f'  missing: {{engine: llama.cpp, weights: "{tmp_path}/missing.gguf"}}\n'
    )
    models = "  bad: {targets: [broken]}\n  gone: {targets: [missing], fallback: [mini]}\n"
    running = begin(stack_text(deployments=deployments, models=models))
    assert "broken" in running.output
    with client_of(running) as client:
        assert ask(client).status_code == 200
        refused = ask(client, model="bad")
        assert refused.status_code == 503
        assert "retry-after" in refused.headers
        assert "broken" in refused.json()["error"]["message"]
        fallen = ask(client, model="gone")
        assert (fallen.status_code, fallen.headers["x-penstock-deployment"]) == (200, "mini")


def test_more_than_the_engine_can_queue_is_503_and_never_a_hang(begin: Start) -> None:
    running = begin(stack_text(mini=", parallel: 1, queue: 1"))
    with traffic(running, callers=12, max_tokens=200) as seen:
        eventually(lambda: seen.statuses["503"] > 20 and seen.statuses["200"] > 5, "both outcomes")
    assert set(seen.statuses) == {"200", "503"}
    assert seen.without_retry_after == 0
    assert seen.slowest < 30
