"""
`make upgrade FROM=COMMIT`: from an older Penstock to this one under traffic, and nothing dropped.

Control and two hosts with gateways run the older version. Clients turn to the hosts in turns, as behind a load balancer
that asks `/readyz` ten times a second. Control is stopped and started in this version, then one host after the other,
so that old and new gateways serve side by side under a new control. In the end every answer is in the ledger, and no
client has had anything but an answer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import uvloop

from bench.client import OK, Client, chat_body, pool
from bench.stack import footer, lab, machine, stack_text, write
from penstock.lab.running import Running, free_port, start
from penstock.lab.servers import RedisServer
from penstock.types.errors import PenstockError

ROOT = Path(__file__).parents[1]
_CALLERS = 8
_BETWEEN = 50  # answers from each version before the next step
_LOOK_S = 0.1
_PATIENCE_S = 60.0
_PLAIN = 'lab: {"delay": "20ms"} one two three'
_STREAM = 'lab: {"events": 12, "delay_between": "10ms"}'
_POLICIES = """\
policies:
  all:
    limits: [{per: key, requests_per_minute: 1000000}]
"""


class Balancer:
    """
    Clients that ask the hosts in turns, but none that says it is not ready.

    Attributes:
        answered: ids of requests that were answered whole.
        by: how many by the version of the host that answered.
        failures: whatever else clients had.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._stopped = asyncio.Event()
        self._turn = 0
        self.hosts: dict[str, tuple[Running, str, Client]] = {}
        self.ready: list[str] = []
        self.answered: set[str] = set()
        self.by: Counter[str] = Counter()
        self.failures: list[str] = []

    async def run(self) -> None:
        """Ask until `stop`."""
        await asyncio.gather(self._look(), *(self._caller(number) for number in range(_CALLERS)))

    def stop(self) -> None:
        """Let every client end with its request."""
        self._stopped.set()

    async def _look(self) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            while not self._stopped.is_set():
                ready = []
                for name, (running, _, _) in list(self.hosts.items()):
                    with contextlib.suppress(httpx.HTTPError):
                        if (await client.get(f"{running.url}/readyz")).status_code == OK:
                            ready.append(name)
                self.ready = ready
                await asyncio.sleep(_LOOK_S)

    async def _caller(self, number: int) -> None:
        while not self._stopped.is_set():
            if not self.ready:
                await asyncio.sleep(_LOOK_S)
                continue
            number += 1
            _, version, client = self.hosts[self.ready[number % len(self.ready)]]
            stream = number % 3 == 0
            try:
                status, headers, content = await client.exchange(
                    chat_body(_STREAM if stream else _PLAIN, stream=stream, max_tokens=50)
                )
            except (PenstockError, TimeoutError) as error:
                self.failures.append(f"{version}: {type(error).__name__} {error}")
                continue
            if status == OK and (not stream or content.endswith(b"data: [DONE]\n\n")):
                self.answered.add(headers[b"x-request-id"].decode())
                self.by[version] += 1
            else:
                self.failures.append(f"{version}: {status} {content[:200]!r}")


@contextlib.contextmanager
def older(commit: str) -> Iterator[dict[str, str]]:
    """Check out another version for the time of a block; gives the environment that runs it."""
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "tree"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), commit], cwd=ROOT, check=True)
        try:
            yield {"PYTHONPATH": str(tree / "src")}
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)


def gateway(home: Path, control: Running, key: str, environ: Mapping[str, str]) -> Running:
    """Start gateways that join control."""
    home.mkdir(mode=0o700, exist_ok=True)
    if not (home / "secret.key").exists():
        shutil.copy(control.home.root / "secret.key", home)
    stack = f"version: 1\ngateway: {{listen: 127.0.0.1:{free_port()}, ops: 127.0.0.1:{free_port()}, workers: 2}}\n"
    environ = {**environ, "PENSTOCK_JOIN_KEY": key}
    return start(home, stack, environ=environ, command=("gateway", "--join", control.admin_url))


async def upgrade(home: Path, stack: str, old: Mapping[str, str]) -> dict[str, Any]:
    """Do it all; return the figures, with what is wrong under `problems`."""
    new: dict[str, str] = {}
    async with contextlib.AsyncExitStack() as opened:

        def begun(running: Running) -> Running:
            opened.callback(running.stop)
            return running

        async def host(name: str, version: str, environ: Mapping[str, str]) -> None:
            running = begun(await asyncio.to_thread(gateway, home / name, control, key, environ))
            connections = await opened.enter_async_context(pool(running.url, _CALLERS))
            balancer.hosts[name] = running, version, Client(connections, control_key, timeout_s=30.0)

        async def more(version: str) -> None:
            wanted, began = balancer.by[version] + _BETWEEN, asyncio.get_running_loop().time()
            while balancer.by[version] < wanted:
                if asyncio.get_running_loop().time() - began > _PATIENCE_S:
                    raise RuntimeError(f"the {version} gateways do not answer: {balancer.failures[-3:]}")
                await asyncio.sleep(_LOOK_S)

        control = begun(await asyncio.to_thread(start, home / "control", stack, environ=old))
        control_key = control.key
        key = await asyncio.to_thread(key_for_hosts, control)
        balancer = Balancer(control_key)
        for name in ("first", "second"):
            await host(name, "old", old)
        asking = asyncio.create_task(balancer.run())
        await more("old")
        await asyncio.to_thread(control.stop)
        await more("old")
        control = begun(await asyncio.to_thread(start, home / "control", stack, environ=new))
        await more("old")
        for name in ("first", "second"):
            leaving = balancer.hosts[name][0]
            await asyncio.to_thread(leaving.stop)
            del balancer.hosts[name]
            await host(name, "new", new)
            await more("new")
        balancer.stop()
        await asking
        for running, _, _ in balancer.hosts.values():
            await asyncio.to_thread(running.stop)  # which sends what is left of their journals
        missing = balancer.answered - await asyncio.to_thread(in_ledger, control)
    problems = [f"{len(missing)} answers are not in the ledger"] if missing else []
    return {
        "machine": machine(),
        "answers": dict(balancer.by),
        "problems": problems + balancer.failures,
    }


def key_for_hosts(control: Running) -> str:
    """Make an admin key with the role `gateway`."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(control.home.admin_socket))) as client:
        wanted = {"kind": "admin", "role": "gateway", "name": "hosts"}
        made: dict[str, str] = client.post("http://localhost/admin/v1/keys", json=wanted).json()
    return made["key"]


def in_ledger(control: Running) -> set[str]:
    """Return the ids of all exchanges in the ledger."""
    found: set[str] = set()
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(control.home.admin_socket)), timeout=60) as client:
        before = ""
        while True:
            page = client.get(f"http://localhost/admin/v1/requests?limit=1000{before}").json()
            found |= {row["id"] for row in page["requests"]}
            if page["next"] is None:
                return found
            before = f"&before={page['next']}"


def main() -> int:
    """Entry of `python -m bench.upgrade`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--from", dest="commit", required=True, help="the commit to begin with")
    given = parser.parse_args()
    known = subprocess.run(["git", "rev-parse", "--short", given.commit], cwd=ROOT, check=True, capture_output=True)
    commit = known.stdout.decode().strip()
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    with lab() as (upstream, _), tempfile.TemporaryDirectory() as directory, older(commit) as old:
        stack = stack_text(upstream, model=", policies: all") + _POLICIES
        stack = stack.replace("gateway: {", "gateway: {notice: 2s, ") + 'state: {counters: "${REDIS_URL}"}\n'
        with RedisServer() as redis:
            os.environ["REDIS_URL"] = redis.url
            figures = uvloop.run(upgrade(Path(directory), stack, old))
    answers = figures["answers"]
    verdict = "Nothing was dropped." if not figures["problems"] else f"{len(figures['problems'])} PROBLEMS."
    text = f"""# An upgrade under traffic

From {commit}: {answers["old"]:,} answers by old gateways, {answers["new"]:,} by new ones. {verdict}

{footer(f"make upgrade FROM={commit}")}
"""
    write("upgrade", figures, text)
    for problem in figures["problems"][:20]:
        print(f"FAILED: {problem}")
    return 1 if figures["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
