"""A backup of a running Penstock, restored elsewhere: every key and every entry of the ledger is there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from penstock.lab.running import Running, start
from tests.processes import Lab
from tests.servers import PostgresServer

pytestmark = pytest.mark.stack

STACK = """\
version: 1
state: {{database: "{database}"}}
gateway: {{listen: 127.0.0.1:0, ops: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
deployments:
  lab: {{base_url: {url}/v1, model: lab, price: {{input: 1000, output: 1000}}}}
models:
  chat: {{targets: lab, policies: money}}
policies:
  money: {{budgets: [{{per: tenant, amount_usd: 10, period: total}}]}}
"""


def penstock(*arguments: object, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penstock.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, env=environ)


def ask(running: Running, key: str) -> httpx.Response:
    body = {"model": "chat", "messages": [{"role": "user", "content": "one two"}], "max_tokens": 5}
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{running.url}/v1/chat/completions", json=body, headers=headers, trust_env=False, timeout=30)


def rows(running: Running) -> list[object]:
    transport = httpx.HTTPTransport(uds=str(running.home.admin_socket))
    with httpx.Client(transport=transport, base_url="http://localhost/admin/v1") as api:
        return [api.get(path, timeout=60).json() for path in ("/requests", "/keys", "/tenants", "/usage")]


@pytest.mark.parametrize("into", ["sqlite", "postgresql"])
def test_a_restored_penstock_has_everything(tmp_path: Path, into: str) -> None:
    with Lab() as lab:
        old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "b.jsonl.gz"
        text = STACK.format(url=lab.url, database="sqlite")
        with start(old, text) as running:
            key = running.key
            assert all(ask(running, key).status_code == 200 for _ in range(5))
            ended = penstock("backup", file, "--home", old, "--json")
            assert ended.returncode == 0, ended.stderr
            assert json.loads(ended.stdout)["rows"] > 5
            assert penstock("backup", file, "--home", old).returncode == 1, "it is never written over another file"
            assert file.stat().st_mode & 0o777 == 0o600
            before = rows(running)
            in_use = penstock("restore", file, "--file", old / "penstock.yaml", "--home", old)
            assert in_use.returncode == 1
        environ = {}
        if into == "postgresql":
            server = PostgresServer()
            server.__enter__()
            environ = {"DATABASE_URL": server.url(server.make())}
            text = STACK.format(url=lab.url, database="${DATABASE_URL}")
        try:
            stack = tmp_path / "penstock.yaml"
            stack.write_text(text)
            cut = tmp_path / "cut.gz"
            cut.write_bytes(file.read_bytes()[:-20])
            new.mkdir(mode=0o700)
            (new / "penstock.db.mine").write_text("kept")
            ended = penstock("restore", cut, "--file", stack, "--home", new, environ=environ or None)
            assert ended.returncode == 1
            assert [path.name for path in new.glob("penstock.db*")] == ["penstock.db.mine"]
            (new / "secret.key").write_bytes(b"x" * 32)
            (new / "secret.key").chmod(0o600)
            ended = penstock("restore", file, "--file", stack, "--home", new, environ=environ or None)
            assert ended.returncode == 1
            assert "another secret" in ended.stderr
            (new / "secret.key").unlink()
            ended = penstock("restore", file, "--file", stack, "--home", new, environ=environ or None)
            assert ended.returncode == 0, ended.stderr
            assert "5 of ledger" in ended.stderr
            with start(new, text, environ=environ) as running:
                assert running.key == "", "there are keys, so none is made"
                assert rows(running) == before
                answer = ask(running, key)
                assert answer.status_code == 200
                spent = before[3]["totals"]["cost_nano"]  # type: ignore[index]  # what JSON holds
                left = answer.headers["x-penstock-budget-remaining-usd"]
                if into == "postgresql":
                    ended = penstock("restore", file, "--file", stack, "--home", tmp_path / "third", environ=environ)
                    assert (ended.returncode, "is using the database" in ended.stderr) == (1, True)
                assert 10**10 - spent - int(left.replace(".", "")) < 10**9
            again = penstock("restore", file, "--file", stack, "--home", tmp_path / "other", environ=environ or None)
            assert again.returncode == (1 if into == "postgresql" else 0)
        finally:
            if into == "postgresql":
                server.__exit__(None, None, None)


def test_what_is_no_backup_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    stack = tmp_path / "penstock.yaml"
    stack.write_text("version: 1\n")
    for number, content in enumerate((b"", b"hello", b"\x1f\x8b\x08garbage")):
        file = tmp_path / f"{number}.gz"
        file.write_bytes(content)
        ended = penstock("restore", file, "--file", stack, "--home", tmp_path / "home")
        assert ended.returncode == 1
        assert ended.stderr.count("\n") == 2 or ended.stderr.startswith("Error: ")
        assert not (tmp_path / "home" / "penstock.db").exists()
    assert penstock("restore", tmp_path / "none", "--file", stack, "--home", tmp_path / "home").returncode == 1
