"""
Child processes and what they use: started on a core, ended by process id, measured by the kernel's own clocks.

Loaders import this too, so it stays small.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.gateway.errors import Unavailable

ROOT = Path(__file__).parents[2]  # of the repository, from where `python -m bench...` works
_CPU_CLOCK = 2  # CPUCLOCK_SCHED: the nanoseconds that the scheduler has counted, ended threads included
_GRACE_S = 10.0
_QUIET_S = 0.2
_QUIET_SHARE = 0.1  # of a core: less is the idle work that some gateways always do
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Let what is started within the block run on this core only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def move(pid: int, core: int) -> None:
    """Move all threads of a process to a core."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), {core})


def yield_to_others(pid: int) -> None:
    """Let a process have only the time that nothing else on its core wants."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))


def settle(pids: Sequence[int], limit_s: float) -> None:
    """Wait until these processes have done what earlier load left them to do."""
    deadline = time.monotonic() + limit_s
    while pids and time.monotonic() < deadline:
        before = cpu_ns(pids)
        time.sleep(_QUIET_S)  # what is measured is what they use in it
        if cpu_ns(pids) - before < _QUIET_SHARE * _QUIET_S * 1e9:
            return


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without proxies, which would be asked even for the loopback, and with these."""
    kept = {name: value for name, value in os.environ.items() if name.lower() not in _PROXIES}
    return {**kept, "NO_PROXY": "*", **extra}


def spawn(
    command: Sequence[str], core: int, directory: Path, *, environ: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a process on a core; what it prints goes to `output.log` in the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "output.log").open("ab") as log, pinned(core):
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            env=environment(environ or {}),
            start_new_session=True,  # Ctrl-C reaches only the benchmark, which then ends its children in order
        )


def told(command: Sequence[str], core: int, limit_s: float) -> bytes:
    """
    Run a load on a core to its end and return what it printed.

    Raises:
        Unavailable: it failed, or took longer than the limit.
    """
    with pinned(core):
        running = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, start_new_session=True
        )
    try:
        output, errors = running.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"the load did not end within {limit_s:.0f} s") from error
    finally:
        if running.poll() is None:
            running.kill()
            running.communicate()
    if running.returncode:
        raise Unavailable(f"the load failed: {errors.decode(errors='replace').strip()[-300:]}")
    return output


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all below it: asked first, then made to."""
    family = tree(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    for pid in family:  # the root is reaped only below, so its number cannot have gone to another process
        if pid != process.pid and _running(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if process.poll() is None:
        process.kill()
        process.wait()


def tree(pid: int) -> list[int]:
    """Return a process and all below it."""
    found = [pid]
    for listing in Path("/proc").glob(f"{pid}/task/*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in listing.read_text().split():
                found += tree(int(child))
    return found


def cpu_ns(pids: Sequence[int]) -> int:
    """Return the CPU time that these processes have used so far, user and system, in nanoseconds."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended
            total += time.clock_gettime_ns((~pid << 3) | _CPU_CLOCK)
    return total


def resident(pids: Sequence[int]) -> int:
    """Return the resident memory of these processes together, in bytes; pages they share count for each."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def tail(directory: Path) -> str:
    """Return the end of what a process printed, on one line."""
    with contextlib.suppress(FileNotFoundError):
        lines = (directory / "output.log").read_text(errors="replace").split("\n")
        return " / ".join(line.strip() for line in lines[-6:] if line.strip())[-400:]
    return ""


def _running(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
