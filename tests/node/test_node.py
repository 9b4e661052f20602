"""The whole node with small fake children and a fake engine, inside the test and as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.node.node import Node
from penstock.node.node import run as run_node
from penstock.node.settings import Commands, HostPort, NodeSettings, Roles, Started
from penstock.telemetry.link import Notice
from penstock.types.errors import StartError
from penstock.types.home import Home
from tests.node.conftest import gone, run, until
from tests.node.fakes import COMMANDS, ENGINES, Desire, Seen, control, order, spec

ANYWHERE = ("127.0.0.1", 0)
ALL = Roles()


class Outside:
    """A node from outside: what it announced, and its ports."""

    def __init__(
        self,
        home: Home,
        *,
        workers: int = 2,
        listen: HostPort = ANYWHERE,
        roles: Roles = ALL,
        drain_s: float = 20.0,
    ) -> None:
        self.stop, self.hurry = asyncio.Event(), asyncio.Event()
        self.started: list[Started] = []
        self.notices: list[Notice] = []
        self.settings = NodeSettings(
            home=home,
            stack_path=None,
            workers=workers,
            listen=listen,
            admin=ANYWHERE,
            ops=ANYWHERE,
            roles=roles,
            drain_s=drain_s,
            on_ready=self.started.append,
            on_notice=self.notices.append,
        )

    async def ready(self) -> Started:
        await until(lambda: self.started)
        return self.started[0]


@asynccontextmanager
async def serving(outside: Outside) -> AsyncIterator[Started]:
    node = Node(outside.settings, ENGINES, COMMANDS)
    task = asyncio.create_task(node.serve(outside.stop, outside.hurry, 0))
    ready = asyncio.create_task(outside.ready())
    try:
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield ready.result()
    finally:
        ready.cancel()
        outside.stop.set()
        await task


async def ask(address: tuple[str, int] | Path) -> int:
    """Return the process id of the fake child that answers."""
    if isinstance(address, Path):
        reader, writer = await asyncio.open_unix_connection(address)
    else:
        reader, writer = await asyncio.open_connection(*address)
    try:
        return int(await reader.read())
    finally:
        writer.close()


async def readyz(started: Started) -> tuple[int, dict[str, Any]]:
    assert started.ops is not None

    def get(host: str, port: int) -> tuple[int, dict[str, Any]]:
        with contextlib.closing(http.client.HTTPConnection(host, port, timeout=10)) as connection:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    return await asyncio.to_thread(get, *started.ops)


@pytest.fixture
def weights(home: Home) -> Path:
    path = home.root / "weights"
    order(path)
    return path


def test_everything_comes_up_tells_the_truth_and_goes_down(home: Home, weights: Path) -> None:
    Desire(home)(spec(weights))

    async def case() -> None:
        outside = Outside(home)
        async with serving(outside) as started:
            assert started.listen is not None
            assert started.admin is not None
            assert [replica.name for replica in started.replicas] == ["mini/0"]
            assert outside.notices == [Notice("first_key", "sk-once")]
            pids = {await ask(started.listen) for _ in range(20)}
            pids.add(await ask(started.admin))
            pids.add(started.replicas[0].pid)
            assert home.gateway_socket.stat().st_mode & 0o777 == 0o600
            assert home.admin_socket.stat().st_mode & 0o777 == 0o600

            status, body = await readyz(started)
            assert status == 200
            assert body["gateways"] == {"workers": 2, "alive": 2, "ready": 2, "details": []}
            assert body["control"] == {"alive": True, "ready": True, "detail": ""}
            assert body["engines"] == [{"deployment": "mini", "wanted": 1, "ready": 1}]

            os.kill(await ask(started.admin), signal.SIGKILL)
            assert (await readyz(started))[0] == 200, "without control gateways serve on"
        assert all(gone(pid) for pid in pids)
        with pytest.raises(ConnectionRefusedError):
            await ask(started.listen)

    run(case())
    assert not list(home.run.iterdir())
    assert Seen(home).replicas() == ()


def test_a_killed_worker_leaves_nobody_waiting(home: Home) -> None:
    async def case() -> None:
        async with serving(Outside(home, workers=1)) as started:
            assert started.listen is not None
            first = await ask(started.listen)
            os.kill(first, signal.SIGKILL)
            await until(lambda: gone(first))
            others = await asyncio.gather(*(ask(started.listen) for _ in range(30)))
            assert first not in others
            status, body = await readyz(started)
            assert status == 200
            assert body["gateways"]["alive"] == 1

    run(case())


def options_of(pid: int) -> set[str]:
    """Return the options that a process was started with."""
    line = Path(f"/proc/{pid}/cmdline").read_text()
    return {word for word in line.split("\0") if word.startswith("--")}


@pytest.mark.parametrize("workers", [1, 2])
def test_equal_requests_meet_at_the_node_where_there_are_several_workers(home: Home, workers: int) -> None:
    async def case() -> None:
        async with serving(Outside(home, workers=workers)) as started:
            assert started.listen is not None
            services = options_of(await ask(started.listen))
            assert services == {"--counters", "--seats"} | ({"--flights"} if workers > 1 else set())

    run(case())


def test_while_the_rest_ends_new_connections_are_refused(home: Home) -> None:
    async def case() -> None:
        outside = Outside(home)
        async with serving(outside) as started:
            assert started.listen is not None
            assert started.admin is not None
            workers = {await ask(started.listen) for _ in range(20)}
            control = await ask(started.admin)
            os.kill(control, signal.SIGSTOP)  # so that it takes its time
            outside.stop.set()
            await until(lambda: all(gone(pid) for pid in workers))
            with pytest.raises(ConnectionRefusedError):
                await ask(started.listen)
            status, body = await readyz(started)
            assert (status, body["reason"]) == (503, "stopping")
            assert not gone(control), "control ends after the gateways, to fold what they left"
            os.kill(control, signal.SIGCONT)

    run(case())


def test_parts_may_be_left_out(home: Home, weights: Path) -> None:
    Desire(home)(spec(weights))

    async def case() -> None:
        async with serving(Outside(home, roles=Roles(control=False, engines=False))) as started:
            assert started.admin is None
            assert started.replicas == ()
            _, body = await readyz(started)
            assert "control" not in body
            assert body["engines"] == []
            assert not home.admin_socket.exists()

    run(case())


def test_ready_means_that_replicas_are_ready_or_have_failed(home: Home, weights: Path) -> None:
    Desire(home)(spec(weights), msgspec.structs.replace(spec(home.root / "missing"), deployment="broken"))

    async def case() -> None:
        async with serving(Outside(home)) as started:
            assert {replica.name: replica.state.value for replica in started.replicas} == {
                "broken/0": "failed",
                "mini/0": "ready",
            }

    run(case())


def test_a_taken_port_is_one_sentence_and_starts_nothing(home: Home) -> None:
    async def case() -> None:
        with socket.create_server(ANYWHERE) as taken:
            outside = Outside(home, listen=taken.getsockname())
            with pytest.raises(StartError, match=r"is in use by another program \(gateway\.listen; no stack file"):
                async with serving(outside):
                    raise AssertionError("it started")

    run(case())
    assert not list(home.run.iterdir())


def test_a_child_that_cannot_start_ends_the_node_with_its_sentence(home: Home, weights: Path) -> None:
    Desire(home)(spec(weights))
    fails = 'import os, sys; os.write(int(sys.argv[1]), b\'{"type":"failed","text":"no such file"}\\n\'); sys.exit(78)'

    def broken(settings: NodeSettings, index: int, listen: Sequence[int], local: int, link: int) -> list[str]:
        return [sys.executable, "-c", fails, str(link)]

    with pytest.raises(StartError, match=r"^no such file$"):
        run(run_node(Outside(home).settings, engines=ENGINES, commands=Commands(gateway=broken, control=control)))
    assert not list(home.run.iterdir())
    assert home.node_lock.read_text() == "", "it ended in order"


def test_a_home_too_deep_for_sockets_works_and_leaves_nothing_in_tmp(tmp_path: Path) -> None:
    home = Home(tmp_path / ("deep" * 20))
    home.run.mkdir(mode=0o700)
    (home.run / "mini-0-7.sock").touch()  # what a killed node leaves

    async def case() -> None:
        async with serving(Outside(home)) as started:
            assert home.run.parent == Path("/tmp")
            assert home.gateway_socket.exists()
            assert started.listen is not None
            assert await ask(started.listen)

    run(case())
    assert not home.run.exists()


def test_a_second_node_is_refused(home: Home) -> None:
    with node_process(home) as first, pytest.raises(StartError, match=rf"\(process {first.pid}\) is using {home.root}"):
        run(run_node(Outside(home).settings, engines=ENGINES, commands=COMMANDS))


@contextlib.contextmanager
def node_process(home: Home, port: int = 0) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.node.fake_node", str(home.root), str(port)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        try:
            if port == 0:
                wait_ready(process)
            yield process
        finally:
            process.kill()


def wait_ready(process: subprocess.Popen[str]) -> int:
    """Return the port of a node that has announced itself."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the node ended before it was ready"
    return int(line)


def descendants(pid: int) -> list[int]:
    children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(grand for each in children for grand in descendants(each))]


def test_sigterm_ends_all_with_code_0(home: Home, weights: Path) -> None:
    Desire(home)(spec(weights))
    with node_process(home) as process:
        pids = descendants(process.pid)
        assert len(pids) == 4, "two workers, control, one engine"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert all(gone(pid) for pid in pids)
    assert not list(home.run.iterdir())
    assert home.node_lock.read_text() == ""


def test_nothing_outlives_a_killed_node_and_the_next_one_gets_its_ports(home: Home, weights: Path) -> None:
    Desire(home)(spec(weights, replicas=2))
    with socket.create_server(ANYWHERE) as free:
        port = free.getsockname()[1]
    with node_process(home, port) as first:
        assert wait_ready(first) == port
        pids = descendants(first.pid)
        assert len(pids) == 5
        first.kill()
        first.wait()
        with node_process(home, port) as second:
            assert wait_ready(second) == port
            assert all(gone(pid) for pid in pids)
            second.terminate()
            assert second.wait(30) == 0


def test_a_second_signal_hurries(home: Home, weights: Path) -> None:
    async def case() -> None:
        outside = Outside(home, workers=1, drain_s=3600)
        async with serving(outside) as started:
            assert started.listen is not None
            worker = await ask(started.listen)
            os.kill(worker, signal.SIGSTOP)  # it will not drain
            outside.stop.set()
            await asyncio.sleep(0)
            outside.hurry.set()
        assert gone(worker)

    run(case())
