"""The gateway process: what it loads, when it begins, when it ends."""

import json
import socket
import subprocess
import sys
from pathlib import Path

from penstock.telemetry.link import CANNOT_START, Alive, Metrics, Ready
from tests.processes import Child, Front, Lab, eventually, model, provider

HEAVY = [
    "sqlalchemy", "alembic", "aiosqlite", "fastapi", "uvicorn", "starlette", "pydantic", "typer", "rich", "yaml",
    "cryptography",
]  # fmt: skip


def test_a_worker_loads_no_database_no_web_framework_and_no_pydantic() -> None:
    code = "import sys, penstock.gateway.worker; print([m for m in sys.argv[1:] if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_clients_wait_for_the_first_configuration(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front, socket.create_connection(("127.0.0.1", front.port)) as early:
        early.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
        front.publish([provider("lab", lab.address())], [model("chat", "lab")])
        assert early.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_damaged_document_is_told_and_the_last_good_one_kept(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        front.publish([provider("lab", lab.address())], [model("chat", "lab")])
        assert front.chat().status_code == 200
        (front.home.snapshot / "config.msgpack").write_bytes(b"garbage")
        eventually(lambda: "snapshot not understood" in front.log(), "the log line")
        assert front.chat().status_code == 200
        front.publish([], [])
        eventually(lambda: front.chat().status_code == 404, "the next good one")


def test_the_link_says_ready_sends_metrics_and_ends_the_worker_with_the_node(tmp_path: Path) -> None:
    with Front(tmp_path) as front:  # makes the documents; a second worker of the same home is the one looked at
        front.publish([], [])
        here, there = socket.socketpair()
        command = [sys.executable, "-m", "penstock.gateway", "--home", str(tmp_path), "--link", str(there.fileno())]
        with Child(command, pass_fds=(there.fileno(),), log=tmp_path / "second.log") as worker:
            there.close()
            here.settimeout(30)
            lines = here.makefile("rb")
            heard = filter(lambda message: message["type"] != Alive.__struct_config__.tag, map(json.loads, lines))
            assert next(heard) == {"type": "ready"} == {"type": Ready.__struct_config__.tag}
            message = next(heard)
            assert message["type"] == Metrics.__struct_config__.tag
            assert "penstock_exchanges" in {family[0] for family in message["families"]}
            lines.close()
            here.close()
            assert worker.process.wait(30) != 0


def test_a_changed_limit_holds_for_new_connections(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        front.publish([provider("lab", lab.address())], [model("chat", "lab")])
        assert front.chat("word " * 1000).status_code == 200
        front.publish([provider("lab", lab.address())], [model("chat", "lab")], max_body=2048)
        front.client.headers["connection"] = "close"
        eventually(lambda: front.chat("word " * 1000).status_code == 413, "the change")
        assert front.chat().status_code == 200


def test_a_start_without_its_secret_is_one_sentence_also_on_the_link(tmp_path: Path) -> None:
    here, there = socket.socketpair()
    done = subprocess.run(
        [sys.executable, "-m", "penstock.gateway", "--home", str(tmp_path), "--link", str(there.fileno())],
        pass_fds=(there.fileno(),),
        capture_output=True,
        text=True,
        check=False,
        env={"PENSTOCK_SECRET_KEY": "short", "PATH": ""},
    )
    there.close()
    (line,) = done.stderr.splitlines()
    said = json.loads(here.recv(10_000).splitlines()[0])
    here.close()
    assert done.returncode == CANNOT_START
    assert json.loads(line)["level"] == "error"
    assert said == {"type": "failed", "text": "PENSTOCK_SECRET_KEY is shorter than 16 characters"}
