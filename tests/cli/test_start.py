"""`penstock up` and its parts as processes that do not become ready: what they say, and the code they leave with."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.types.home import Home

STACK = """\
version: 1
gateway: {listen: 127.0.0.1:0, ops: 127.0.0.1:0, drain: 7s}
admin: {listen: 127.0.0.1:0}
deployments:
  there: {provider: openai, base_url: "http://127.0.0.1:9/v1", model: m, price: {input: 0, output: 0}}
models: {chat: there}
"""
WAITING = "Waiting for control to publish to {} …"


@contextmanager
def started(
    home: Home,
    *arguments: str,
    stack: str = STACK,
    environ: dict[str, str] | None = None,
    stderr: int = subprocess.PIPE,
) -> Iterator[subprocess.Popen[str]]:
    file = home.root / "penstock.yaml"
    file.write_text(stack)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    with subprocess.Popen(
        [sys.executable, "-m", "penstock.cli", *arguments, "--home", str(home.root), "-f", str(file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env={**clean, **(environ or {}), "TERM": "xterm", "COLUMNS": "200"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def refusal(home: Home, **given: object) -> str:
    """Return the one sentence that `up` ends with; logs, which are JSON, and warnings are left out."""
    with started(home, "up", **given) as process:  # type: ignore[arg-type]  # passed on as it is
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "ready" not in stdout
    assert "Traceback" not in stderr
    (sentence,) = (line for line in stderr.splitlines() if not line.startswith(("{", "Warning: ")))
    return sentence


def test_a_secret_that_is_too_short(home: Home) -> None:
    said = refusal(home, environ={"PENSTOCK_SECRET_KEY": "short"})
    assert said == "Error: PENSTOCK_SECRET_KEY is shorter than 16 characters"
    assert not home.node_lock.exists(), "nothing was started"


def test_a_secret_file_of_the_wrong_size(home: Home) -> None:
    path = home.root / "secret.key"
    path.touch(0o600)
    assert refusal(home).startswith(f"Error: {path} does not hold 32 bytes")


def test_a_certificate_that_is_none(home: Home) -> None:
    for name in ("a.pem", "a.key"):
        (home.root / name).write_text("certainly")
    stack = STACK.replace("drain: 7s", "tls: {certificate: a.pem, key: a.key}")
    said = refusal(home, stack=stack)
    assert said == f"Error: TLS cannot be used: {home.root / 'a.pem'} holds no certificate in PEM format"


def test_a_database_that_is_none(home: Home) -> None:
    home.database.write_bytes(b"this is something else" * 100)
    assert refusal(home).startswith(f"Error: the database {home.database} cannot be used")


def test_gateways_without_control_say_what_they_wait_for(home: Home) -> None:
    with started(home, "gateway") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if not line.startswith("{"):
                break
        assert line.strip() == WAITING.format(home.root)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_ctrl_c_on_a_terminal_says_how_long_it_may_take(home: Home) -> None:
    terminal, child = pty.openpty()
    try:
        with started(home, "node", stderr=child) as process:
            os.close(child)
            until(terminal, WAITING.format(home.root))
            process.send_signal(signal.SIGINT)
            until(terminal, "Stopping; answers in progress may take up to 7 s (Ctrl-C again to cut them).")
            assert process.wait(30) == 0
    finally:
        os.close(terminal)


def until(terminal: int, wanted: str) -> None:
    """Read what is shown until this is in it."""
    shown = b""
    while wanted.encode() not in shown:
        shown += os.read(terminal, 4096)
