"""Ending with the process that started us, whatever we are doing: importing, blocked, stopped, in native code."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Sequence

OPTION = "--parent"
_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """
    Have the kernel kill us when our parent ends; leave at once when `parent` is gone already.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(1)


def heed(arguments: Sequence[str]) -> None:
    """Call `end_with_parent` for the process id that follows `--parent`, if it is among the arguments."""
    if OPTION in arguments[:-1]:
        end_with_parent(int(arguments[arguments.index(OPTION) + 1]))
