import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.control import lock
from penstock.types.errors import StartError

_HOLDER = """
import os, sys
from pathlib import Path
from penstock.control import lock
with lock.hold(Path(sys.argv[1])):
    sys.stdout.write("held\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""


def test_a_second_control_is_told_who_is_there(tmp_path: Path) -> None:
    path = tmp_path / "control.lock"
    with (
        lock.hold(path),
        pytest.raises(StartError, match=rf"control \(process {os.getpid()}\) is using"),
        lock.hold(path),
    ):
        raise AssertionError("unreachable")
    with lock.hold(path):
        pass


def test_a_killed_control_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "control.lock"
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(StartError), lock.hold(path):
        raise AssertionError("unreachable")
    holder.kill()
    holder.communicate()
    with lock.hold(path):
        pass


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(StartError, match=r"missing/control\.lock cannot be opened"),
        lock.hold(tmp_path / "missing" / "control.lock"),
    ):
        raise AssertionError("unreachable")
