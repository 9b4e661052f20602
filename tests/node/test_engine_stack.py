"""llama.cpp with the bundled model under the node's fleet: ready, killed, stopped, drained, broken."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from penstock import bundled
from penstock.http.pool import Pool, Timeouts
from penstock.node.engines import ENGINES
from penstock.node.engines.gguf_file import check
from penstock.node.fleet import Fleet
from penstock.node.health import Limits
from penstock.snapshot.fleet import EngineSpec, Replica
from penstock.types.address import Address
from penstock.types.errors import ExchangeError
from penstock.types.home import Home
from tests.node.conftest import gone, run, until
from tests.node.fakes import Desire, Seen

pytestmark = pytest.mark.stack

WEIGHTS = Path(bundled.__file__).with_name("mini.gguf")
SPEC = EngineSpec("mini", "a", "llama.cpp", str(WEIGHTS), 1, 512, 2)


@asynccontextmanager
async def running(home: Home, limits: Limits) -> AsyncIterator[Fleet]:
    fleet = Fleet(home, ENGINES, limits)
    await fleet.begin()
    following = asyncio.create_task(fleet.run())
    try:
        yield fleet
    finally:
        pids = [replica.pid for replica in fleet.replicas if replica.pid]
        following.cancel()
        await asyncio.wait({following})
        await fleet.close()
        assert all(gone(pid) for pid in pids)


async def generate(replica: Replica, tokens: int) -> int:
    """Return how many tokens came; 0 when the connection broke."""
    pool = Pool(Address(unix=replica.socket))
    body = msgspec.json.encode({"prompt": "Hello", "max_tokens": tokens, "ignore_eos": True})
    try:
        headers = b"content-type: application/json\r\n"
        with await pool.request(b"POST", b"/v1/completions", headers, body, Timeouts(total_s=60)) as reply:
            content = await reply.read(1_000_000)
        assert reply.status == 200, content
        tokens_generated: int = msgspec.json.decode(content)["usage"]["completion_tokens"]
        return tokens_generated
    except ExchangeError:
        return 0
    finally:
        await pool.aclose()


def busy(replica: Replica) -> bool:
    """Whether it decodes."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(replica.socket)
        client.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    progress = ENGINES["llama.cpp"].progress(answer)
    return progress is not None and progress.running > 0


def test_the_bundled_weights_pass_the_check() -> None:
    check(WEIGHTS)


def test_killed_it_is_back_with_a_new_generation(home: Home) -> None:
    Desire(home)(SPEC)
    seen = Seen(home)

    async def case() -> None:
        async with running(home, Limits()) as fleet:
            await until(lambda: seen.states() == ["mini/0 a ready"], 60)
            before = seen.replicas()[0]
            assert await generate(before, 8) == 8
            os.kill(before.pid, signal.SIGKILL)
            await until(lambda: seen.states() == ["mini/0 a ready"] and seen.replicas()[0].pid != before.pid, 60)
            assert await generate(before, 1) == 0
            assert await generate(seen.replicas()[0], 8) == 8
            assert fleet.restarts == {"mini": 1}

    run(case())


def test_stopped_with_a_request_in_flight_it_is_wedged_and_replaced(home: Home) -> None:
    Desire(home)(SPEC)
    seen = Seen(home)

    async def case() -> None:
        async with running(home, Limits(wedged_after=2.5)):
            await until(lambda: seen.states() == ["mini/0 a ready"], 60)
            before = seen.replicas()[0]
            os.kill(before.pid, signal.SIGSTOP)
            asking = asyncio.create_task(generate(before, 8))
            await until(lambda: seen.states() == ["mini/0 a wedged"])
            await until(lambda: seen.states() == ["mini/0 a ready"])
            assert gone(before.pid)
            assert await asking == 0, "it ended, and with an error"

    run(case())


def test_retired_it_finishes_what_it_has(home: Home) -> None:
    desire = Desire(home)
    desire(SPEC)
    seen = Seen(home)

    async def case() -> None:
        async with running(home, Limits()):
            await until(lambda: seen.states() == ["mini/0 a ready"], 60)
            asking = asyncio.create_task(generate(seen.replicas()[0], 500))
            await asyncio.sleep(0)
            desire()
            assert await asking == 500
            await until(lambda: seen.states() == [])

    run(case())


def test_told_to_end_it_finishes_what_it_has(home: Home) -> None:
    Desire(home)(SPEC)
    seen = Seen(home)

    async def case() -> None:
        async with running(home, Limits()) as fleet:
            await until(lambda: seen.states() == ["mini/0 a ready"], 60)
            asking = asyncio.create_task(generate(seen.replicas()[0], 500))
            await until(lambda: busy(seen.replicas()[0]))
            os.kill(seen.replicas()[0].pid, signal.SIGTERM)
            assert await asking == 500
            await until(lambda: fleet.restarts == {"mini": 1})

    run(case())


def test_truncated_weights_are_one_sentence_while_another_deployment_serves(home: Home) -> None:
    broken = home.root / "broken.gguf"
    broken.write_bytes(WEIGHTS.read_bytes()[:-1])
    Desire(home)(SPEC, msgspec.structs.replace(SPEC, deployment="broken", weights=str(broken)))
    seen = Seen(home)

    async def case() -> None:
        async with running(home, Limits()):
            await until(lambda: seen.states() == ["broken/0 a failed", "mini/0 a ready"], 60)
            size = WEIGHTS.stat().st_size
            sentence = f"{broken} is truncated: it has {size - 1} bytes of at least {size}"
            assert seen.replicas()[0].detail == sentence

    run(case())


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.3])
def test_its_process_ends_with_the_node_also_while_it_starts(home: Home, delay_s: float) -> None:
    command = ENGINES["llama.cpp"].command(SPEC, "mini/0", home.run / "x.sock")
    position = command.index("--parent") + 1
    code = (
        "import os, subprocess, time\n"
        f"command = {command!r}\n"
        f"command[{position}] = str(os.getpid())\n"
        "print(subprocess.Popen(command).pid, flush=True)\n"
        "time.sleep(99)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(delay_s)  # to meet it at different points of its start; any is right
        parent.kill()
        parent.wait()
        run(until(lambda: gone(pid)))
