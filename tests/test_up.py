"""`penstock up` as a person runs it: the ready block, the printed curl, the other commands beside it, the end."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.lab.running import Running, start

pytestmark = pytest.mark.stack

STACK = """\
version: 1
gateway: {listen: 127.0.0.1:0, ops: 127.0.0.1:0}
admin: {listen: 127.0.0.1:0}
deployments:
  mini: {engine: llama.cpp, weights: bundled:mini, price: {input: 0.02, output: 0.02}}
models:
  chat: {targets: [mini]}
"""
ASK = ("-m", "What is 27 + 45?", "--temperature", "0")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("up")


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Running]:
    with start(home, STACK) as running:
        yield running


def shell(line: str) -> str:
    """Run a line as a person would, and return what it prints."""
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def penstock(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penstock.cli", *arguments]
    environment = {**os.environ, "PENSTOCK_HOME": str(home)}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def said(body: str) -> str:
    answer: str = json.loads(body)["choices"][0]["message"]["content"]
    return answer


def test_the_ready_block(running: Running) -> None:
    lines = running.output.splitlines()
    assert "is ready" in lines[0]
    assert running.key.startswith("sk-ps-")
    assert running.admin_key.startswith("sk-psadmin-")
    assert all(url.startswith("http://127.0.0.1:") for url in (running.url, running.admin_url, running.ops_url))
    assert lines[-1].strip() == running.curl


def test_the_printed_curl_works_as_printed(running: Running) -> None:
    assert said(shell(running.curl)) == "72"


def test_chat_needs_no_key_here(running: Running, home: Path) -> None:
    done = penstock(home, "chat", *ASK)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "72", "")


def test_keys_work_at_once_and_stop_at_once(running: Running, home: Path) -> None:
    made = json.loads(penstock(home, "keys", "create", "--name", "laptop", "--model", "chat", "--json").stdout)
    chat = ("chat", *ASK, "--url", running.url, "--key", made["key"])
    assert penstock(home, *chat).stdout.strip() == "72"
    listed = json.loads(penstock(home, "keys", "list", "--json").stdout)["keys"]
    assert "laptop" in [key["name"] for key in listed]
    assert made["key"] not in json.dumps(listed)
    assert made["id"] in penstock(home, "keys", "list").stdout
    assert penstock(home, "keys", "revoke", made["id"]).returncode == 0
    refused = penstock(home, *chat)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("Error: ")


def test_explain_and_usage_know_of_an_exchange(running: Running, home: Path) -> None:
    before = json.loads(penstock(home, "usage", "--json").stdout)["totals"]
    line = running.curl.replace("curl -s", "curl -s -D /dev/stderr -o /dev/null 2>&1", 1)
    headers = dict(row.split(": ", 1) for row in shell(line).splitlines() if ": " in row)
    request_id = {name.lower(): value for name, value in headers.items()}["x-request-id"]
    explained = json.loads(penstock(home, "explain", request_id, "--json").stdout)
    assert (explained["model"], explained["deployment"], explained["outcome"]) == ("chat", "mini", "answered")
    assert explained["explanation"]
    text = penstock(home, "explain", request_id)
    assert text.returncode == 0
    assert "STEP" in text.stdout
    after = json.loads(penstock(home, "usage", "--json").stdout)["totals"]
    assert after["requests"] == before["requests"] + 1
    assert after["cost_nano"] - before["cost_nano"] == explained["cost_nano"] > 0
    assert request_id in penstock(home, "explain").stdout
    assert penstock(home, "usage").stdout.splitlines()[1].split()[1] == str(after["requests"])


def test_status_and_models(running: Running, home: Path) -> None:
    status = json.loads(penstock(home, "status", "--json").stdout)
    assert [replica["state"] for replica in status["replicas"]] == ["ready"]
    text = penstock(home, "status")
    assert text.returncode == 0
    assert "mini/0" in text.stdout
    assert [row["id"] for row in json.loads(penstock(home, "models", "--json").stdout)] == ["chat"]


def test_the_admin_port_wants_its_key(running: Running, home: Path) -> None:
    command = [sys.executable, "-m", "penstock.cli", "status", "--json", "--url", running.admin_url]
    environment = {**os.environ, "PENSTOCK_ADMIN_KEY": running.admin_key}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=environment)
    assert json.loads(done.stdout)["models"][0]["name"] == "chat"
    environment["PENSTOCK_ADMIN_KEY"] = running.key
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 1
    assert running.key not in done.stderr


def test_a_second_one_in_the_same_directory_is_refused(running: Running, home: Path) -> None:
    done = penstock(home, "up", "-f", str(home / "penstock.yaml"))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Error: another penstock node (process {running.process.pid}) is using" in done.stderr


def test_a_taken_port_is_one_sentence(running: Running, home: Path, tmp_path: Path) -> None:
    taken = running.url.removeprefix("http://")
    (tmp_path / "penstock.yaml").write_text(STACK.replace("127.0.0.1:0", taken, 1))
    done = penstock(tmp_path / "home", "up", "-f", str(tmp_path / "penstock.yaml"))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Error: {taken} is in use by another program (gateway.listen in penstock.yaml)" in done.stderr


def test_the_end_and_the_next_start(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with start(home, STACK) as first:
        children = [child.pid for child in first.processes()]
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(60) == 0
    assert children
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    assert penstock(home, "status").returncode == 1
    with start(home, STACK) as second:
        assert not second.key
        assert not second.admin_key
        assert shlex.split(second.curl)[2] == "--unix-socket"
        assert said(shell(second.curl)) == "72"


def test_bad_weights_get_a_line_and_the_rest_serves(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"not weights")
    stack = STACK.replace("models:\n", "  bad: {engine: llama.cpp, weights: broken.gguf}\nmodels:\n  worse: bad\n")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (tmp_path / "broken.gguf").rename(home / "broken.gguf")
    with start(home, stack) as running:
        failed = [line.split() for line in running.output.splitlines() if line.strip().startswith("failed")]
        assert [words[1] for words in failed] == ["bad/0:"]
        assert penstock(home, "chat", "chat", *ASK).stdout.strip() == "72"
        refused = penstock(home, "chat", "worse", *ASK)
        assert refused.returncode == 1
        assert refused.stderr.startswith("Error: ")
