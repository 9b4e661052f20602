"""What benchmarks run against: a lab upstream, a Penstock before it, its keys; what the kernel says of processes."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from penstock import __version__
from penstock.lab.running import Running, free_port, start

RESULTS = Path(__file__).parent / "results"
MIB = 1024 * 1024
_TICKS = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def lab(*arguments: str) -> Iterator[tuple[str, int]]:
    """Run a lab upstream for the time of a block; gives its URL and process id."""
    command = [sys.executable, "-m", "penstock.lab.upstream", "--listen", "127.0.0.1:0", "--json", *arguments]
    with child(command) as process:
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        yield line["url"], line["pid"]


@contextlib.contextmanager
def child(command: list[str], *, orders: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Run a process for the time of a block, its standard output at the end of a pipe; if `orders`, its input too."""
    given = subprocess.PIPE if orders else subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=given, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def stack_text(upstream: str, *, workers: int = 1, targets: int = 1, deployment: str = "", model: str = "") -> str:
    """
    Return a stack whose model `chat` is one hosted deployment.

    Args:
        upstream: its URL, without a path; it is asked for a model `chat` too.
        targets: how many deployments with this URL the model has.
        deployment, model: further fields in YAML's flow style, beginning with a comma.
    """
    ports = [free_port() for _ in range(3)]
    names = ["lab", *(f"lab-{number}" for number in range(2, targets + 1))]
    fields = f'provider: openai, base_url: "{upstream}/v1", model: chat, price: {{input: 1, output: 2}}{deployment}'
    deployments = "\n".join(f"  {name}: {{{fields}}}" for name in names)
    return f"""
version: 1
gateway: {{listen: 127.0.0.1:{ports[0]}, ops: 127.0.0.1:{ports[1]}, workers: {workers}}}
admin: {{listen: 127.0.0.1:{ports[2]}}}
deployments:
{deployments}
models:
  chat: {{targets: [{", ".join(names)}]{model}}}
"""


@contextlib.contextmanager
def penstock(
    stack: str, *, log_level: str = "warning", environ: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Running]:
    """Run `penstock up` in a directory of its own for the time of a block; shows its log if the block fails."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        try:
            with start(home, stack, environ={"PENSTOCK_LOG_LEVEL": log_level, **environ}) as running:
                yield running
        except BaseException:
            with contextlib.suppress(OSError):
                sys.stderr.write((home / "penstock.log").read_text(errors="replace")[-4000:])
            raise


def make_keys(running: Running, count: int) -> list[str]:
    """Make client keys over the admin API's Unix socket."""
    transport = httpx.HTTPTransport(uds=str(running.home.admin_socket))
    with httpx.Client(transport=transport, base_url="http://localhost/admin/v1", timeout=60) as client:
        made = []
        for number in range(count):
            response = client.post("/keys", json={"name": f"bench {number}"})
            response.raise_for_status()
            made.append(str(response.json()["key"]))
    return made


def workers_of(running: Running) -> list[int]:
    """Return the process ids of the gateway workers, in order."""
    return [each.pid for each in sorted(running.processes(), key=lambda each: each.title) if "gateway" in each.title]


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def waited_seconds(pid: int) -> float:
    """Return how long a process's main thread had work but no core to do it on, since others were busy on all."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def descriptors(pid: int) -> int:
    """Return how many descriptors a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  # only their number is wanted


def samples(running: Running) -> dict[str, float]:
    """Return the node's metrics: `name` or `name{labels}` as it is printed → value."""
    text = urllib.request.urlopen(f"{running.ops_url}/metrics", timeout=30).read().decode()
    pairs = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def total(values: Mapping[str, float], name: str) -> float:
    """Return the sum of all samples of one name, whatever their labels."""
    return sum(value for key, value in values.items() if key.partition("{")[0] == name)


def machine() -> dict[str, Any]:
    """Return what figures depend on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "penstock": __version__}


def write(name: str, figures: Mapping[str, Any], text: str) -> None:
    """Keep figures as `bench/results/NAME.json` and what they say as `NAME.md`, and print the latter."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n")
    (RESULTS / f"{name}.md").write_text(text.strip() + "\n")
    print(text.strip())


def footer(command: str) -> str:
    """Return the last line of a summary: where it was measured, and how to repeat it."""
    here = machine()
    return (
        f"Penstock {here['penstock']}, Python {here['python']}, {here['cores']} cores of {here['cpu']}. "
        f"Repeat with `{command}`."
    )
