"""A process that heeds its parent ends with it, also when it is stopped."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.processes import eventually

CHILD = """
import os, signal, sys
from penstock.telemetry.parent import heed
heed(sys.argv)
print(os.getpid(), flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""
PARENT = f"""
import os, subprocess, sys
subprocess.run([sys.executable, "-c", {CHILD!r}, "--parent", sys.argv[1] or str(os.getpid())])
"""


def start(parent: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", PARENT, parent], stdout=subprocess.PIPE, text=True)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "gone"


def test_a_stopped_child_ends_with_its_parent() -> None:
    with start("") as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        eventually(lambda: state(child) == "T", "the child being stopped")
        parent.send_signal(signal.SIGKILL)
        eventually(lambda: state(child) in ("gone", "Z"), "the end of the child")


def test_a_child_whose_parent_has_gone_already_leaves() -> None:
    with start(str(os.getpid())) as parent:  # not its parent
        assert parent.stdout is not None
        assert parent.stdout.readline() == ""
