"""How a command ends when it cannot go on: one sentence and a code, never a traceback. In processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cli.conftest import Answer, Call, Fake
from tests.cli.test_admin_commands import USAGE, key

FULL = "Error: the output cannot be written: No space left on device\n"


def into_full_disk(*arguments: str) -> tuple[int, str]:
    """Return the exit code, and what is on standard error."""
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "penstock.cli", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("arguments", [["usage"], ["usage", "--json"], ["version"], ["--help"]], ids=" ".join)
def test_an_output_that_cannot_be_written(arguments: list[str], admin: Fake) -> None:
    admin.routes["GET /admin/v1/usage"] = Answer(USAGE)
    assert into_full_disk(*arguments) == (1, FULL)


@pytest.mark.parametrize("options", [[], ["--json"]], ids=str)
def test_a_key_that_could_not_be_shown_can_be_revoked(options: list[str], admin: Fake) -> None:
    admin.routes["POST /admin/v1/keys"] = Answer({**key("abc"), "key": "sk-ps-abc-s"}, status=201)
    code, said = into_full_disk("keys", "create", *options)
    assert code == 1
    assert said == (
        "Error: the key abc is made but could not be shown (No space left on device); "
        "make it invalid with `penstock keys revoke abc`\n"
    )


def test_a_reader_that_has_had_enough_is_no_error(admin: Fake) -> None:
    admin.routes["GET /admin/v1/usage"] = Answer(USAGE)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", "penstock.cli", "usage"]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_ctrl_c_while_a_command_waits(admin: Fake) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def answer(_: Call) -> Answer:
        asked.set()
        go_on.wait(60)
        return Answer(USAGE)

    admin.routes["GET /admin/v1/usage"] = answer
    command = [sys.executable, "-m", "penstock.cli", "usage"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert asked.wait(60)
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=60)
        finally:
            go_on.set()
            process.kill()
    assert (process.returncode, stdout, stderr) == (130, "", "Interrupted.\n")


def test_ctrl_c_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "penstock.cli", "usage"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environ)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")
