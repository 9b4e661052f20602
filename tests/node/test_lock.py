import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.node import lock
from penstock.types.errors import StartError

HOLDER = """
import sys
from pathlib import Path
from penstock.node import lock
with lock.hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold_elsewhere(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_holder_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "node.lock"
    with hold_elsewhere(path) as other:
        sentence = rf"another penstock node \(process {other.pid}\) is using {tmp_path}"
        with pytest.raises(StartError, match=sentence), lock.hold(path):
            pass
        other.communicate()
    with lock.hold(path) as crashed:
        assert not crashed
        assert path.read_text() == f"{os.getpid()}\n"
        assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == ""


def test_a_killed_holder_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "node.lock"
    with hold_elsewhere(path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
        with lock.hold(path) as crashed:
            assert crashed
    with lock.hold(path) as crashed:
        assert not crashed


def test_children_do_not_inherit_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "node.lock"
    with lock.hold(path):
        child = subprocess.Popen(
            [sys.executable, "-c", "print(flush=True); input()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            close_fds=False,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"\n"
    with child, lock.hold(path):
        child.communicate(b"\n")
