"""Replicas with processes of a fake engine: what is desired happens, and the published fleet tells the truth."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from penstock.node.fleet import Fleet
from penstock.node.health import Limits
from penstock.snapshot.file import publish
from penstock.snapshot.fleet import Fleet as Published
from penstock.snapshot.fleet import Replica, ReplicaState
from penstock.types.home import Home
from tests.node.conftest import gone, run, until
from tests.node.fakes import ENGINES, Desire, Seen, order, spec

LIMITS = Limits(answer=0.3, suspect_after=0.3, wedged_after=1.5)


def sockets(home: Home) -> list[Path]:
    return list(home.run.glob("*.sock"))


@asynccontextmanager
async def running(home: Home, limits: Limits = LIMITS) -> AsyncIterator[Fleet]:
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
        assert sockets(home) == []


@pytest.fixture
def weights(home: Home) -> Path:
    path = home.root / "weights"
    order(path)
    return path


@pytest.fixture
def seen(home: Home) -> Seen:
    return Seen(home)


@pytest.fixture
def desire(home: Home) -> Desire:
    return Desire(home)


def test_what_was_desired_before_is_started_and_what_is_published_can_be_asked(
    home: Home, weights: Path, seen: Seen, desire: Desire
) -> None:
    desire(spec(weights, replicas=2))

    async def case() -> None:
        async with running(home) as fleet:
            await until(lambda: seen.states() == ["mini/0 a ready", "mini/1 a ready"])
            assert fleet.settled
            first, second = seen.replicas()
            assert first.generation != second.generation
            for replica in (first, second):
                _, writer = await asyncio.open_unix_connection(replica.socket)
                writer.close()
                assert replica.pid > 0
        assert seen.replicas() == ()

    run(case())
    versions = [fleet.version for fleet in seen.history]
    assert versions == sorted(set(versions))


def test_versions_and_generations_grow_across_restarts(home: Home, weights: Path, seen: Seen, desire: Desire) -> None:
    old = Replica("mini/0", "mini", "a", ReplicaState.READY, "/gone.sock", generation=900)
    publish(home.snapshot, Published(1000, (old,)))
    seen.replicas()
    desire(spec(weights))

    async def case() -> None:
        async with running(home):
            assert seen.replicas() == (), "those of the earlier node are gone"
            await until(lambda: seen.states() == ["mini/0 a ready"])

    run(case())
    assert seen.fleet.version > 1000
    assert all(replica.generation > 1000 or not replica.pid for fleet in seen.history[1:] for replica in fleet.replicas)


def test_a_damaged_fleet_document_does_not_stop_the_node(home: Home, seen: Seen) -> None:
    (home.snapshot / "fleet.msgpack").write_bytes(b"\xc1")

    async def case() -> None:
        async with running(home):
            assert seen.replicas() == ()
            assert seen.fleet.version > 1_000_000

    run(case())


def test_a_damaged_desired_document_changes_nothing(home: Home, weights: Path, seen: Seen, desire: Desire) -> None:
    desire(spec(weights))

    async def case() -> None:
        async with running(home) as fleet:
            await until(lambda: seen.states() == ["mini/0 a ready"])
            (home.snapshot / "desired.msgpack").write_bytes(b"\xc1")
            assert fleet.settled  # has read it
            assert len(fleet.wanted) == 1

    run(case())


def test_bad_weights_are_one_sentence_and_good_ones_are_noticed(
    home: Home, weights: Path, seen: Seen, desire: Desire
) -> None:
    missing = home.root / "later"
    desire(spec(missing), msgspec.structs.replace(spec(weights), deployment="other"))

    async def case() -> None:
        async with running(home) as fleet:
            await until(lambda: seen.states() == ["mini/0 a failed", "other/0 a ready"])
            assert seen.replicas()[0].detail == f"{missing} is not fake weights"
            assert fleet.settled
            missing.write_text("not yet")
            order(missing)
            await until(lambda: seen.states() == ["mini/0 a ready", "other/0 a ready"])

    run(case())


def test_an_engine_that_does_not_exist(home: Home, weights: Path, seen: Seen, desire: Desire) -> None:
    desire(spec(weights, engine="cray"))

    async def case() -> None:
        async with running(home):
            await until(lambda: seen.states() == ["mini/0 a failed"])
            assert seen.replicas()[0].detail == "there is no engine 'cray'"
            desire()
            await until(lambda: seen.states() == [])

    run(case())


def test_kill_9_is_noticed_published_and_mended(home: Home, weights: Path, seen: Seen, desire: Desire) -> None:
    desire(spec(weights))

    async def case() -> None:
        async with running(home) as fleet:
            await until(lambda: seen.states() == ["mini/0 a ready"])
            before = seen.replicas()[0]
            os.kill(before.pid, signal.SIGKILL)
            await until(lambda: seen.states() == ["mini/0 a starting"])
            assert seen.replicas()[0].detail == "killed by SIGKILL; starting again"
            await until(lambda: seen.states() == ["mini/0 a ready"])
            after = seen.replicas()[0]
            assert after.generation > before.generation
            assert after.socket != before.socket
            assert Path(before.socket) not in sockets(home)
            assert fleet.restarts == {"mini": 1}

    run(case())


def test_an_exit_while_starting_tells_the_cause_and_is_tried_again(
    home: Home, weights: Path, seen: Seen, desire: Desire
) -> None:
    order(weights, "exit")
    desire(spec(weights))

    async def case() -> None:
        async with running(home) as fleet:
            await until(
                lambda: [r.detail for r in seen.replicas()] == ["exit code 4: the cause; trying again in 0.1 s"]
            )
            assert fleet.settled
            order(weights)
            await until(lambda: seen.states() == ["mini/0 a ready"])

    run(case())


@pytest.mark.parametrize(
    ("start", "detail"),
    [
        ("mute", "the engine was not ready after 1 s; starting again"),
        ("tokenless", "the engine answered its first request with status 200 and no token; starting again"),
    ],
)
def test_ready_means_that_it_has_generated_a_token(
    home: Home, weights: Path, seen: Seen, desire: Desire, start: str, detail: str
) -> None:
    order(weights, start)
    desire(spec(weights))

    async def case() -> None:
        async with running(home, msgspec.structs.replace(LIMITS, start=1.0)):
            await until(lambda: detail in [replica.detail for replica in seen.replicas()])
        assert not any(r.state is ReplicaState.READY for fleet in seen.history for r in fleet.replicas)

    run(case())


def test_a_new_version_replaces_the_old_one_without_a_gap(
    home: Home, weights: Path, seen: Seen, desire: Desire
) -> None:
    newer = home.root / "newer"
    order(newer, "mute")
    desire(spec(weights))

    async def case() -> None:
        async with running(home):
            await until(lambda: seen.states() == ["mini/0 a ready"])
            old = seen.replicas()[0]
            order(weights, running=1)
            desire(spec(newer, "b"))
            await until(lambda: seen.states() == ["mini/0 a ready", "mini/0 b starting"])
            order(newer)
            await until(lambda: seen.states() == ["mini/0 a draining", "mini/0 b ready"])
            assert not gone(old.pid), "it still has a request"
            order(weights)
            await until(lambda: seen.states() == ["mini/0 b ready"])
            assert gone(old.pid)
            assert Path(old.socket) not in sockets(home)
        started = next(n for n, fleet in enumerate(seen.history) if fleet.replicas)
        ready = [any(r.state is ReplicaState.READY for r in fleet.replicas) for fleet in seen.history[started:-1]]
        assert ready == sorted(ready), "once there is a ready replica there always is one"

    run(case())


def test_scaling_down_drains_and_up_again_starts(home: Home, weights: Path, seen: Seen, desire: Desire) -> None:
    desire(spec(weights, replicas=2))

    async def case() -> None:
        async with running(home) as fleet:
            await until(lambda: seen.states() == ["mini/0 a ready", "mini/1 a ready"])
            desire(spec(weights, replicas=1))
            await until(lambda: seen.states() == ["mini/0 a ready"])
            desire(spec(weights, replicas=3))
            await until(lambda: fleet.settled and len(seen.states()) == 3)
            desire()
            await until(lambda: seen.states() == [])

    run(case())
    assert any("draining" in replica.state for fleet in seen.history for replica in fleet.replicas)


def test_a_drain_ends_at_its_limit(home: Home, weights: Path, seen: Seen, desire: Desire) -> None:
    desire(spec(weights))

    async def case() -> None:
        async with running(home, msgspec.structs.replace(LIMITS, drain=0.5)):
            await until(lambda: seen.states() == ["mini/0 a ready"])
            order(weights, running=1)
            desire()
            await until(lambda: seen.states() == [])

    run(case())


def test_a_stopped_process_is_suspected_forgiven_and_in_the_end_replaced(
    home: Home, weights: Path, seen: Seen, desire: Desire
) -> None:
    desire(spec(weights))

    async def case() -> None:
        async with running(home) as fleet:
            await until(lambda: seen.states() == ["mini/0 a ready"])
            before = seen.replicas()[0]
            os.kill(before.pid, signal.SIGSTOP)
            await until(lambda: seen.states() == ["mini/0 a wedged"])
            assert seen.replicas()[0].detail == "does not answer and does not move"
            os.kill(before.pid, signal.SIGCONT)
            await until(lambda: seen.states() == ["mini/0 a ready"])
            assert seen.replicas()[0].pid == before.pid

            os.kill(before.pid, signal.SIGSTOP)
            await until(lambda: seen.states() == ["mini/0 a ready"] and seen.replicas()[0].pid != before.pid)
            assert gone(before.pid)
            assert fleet.restarts == {"mini": 1}
        details = {replica.detail for fleet in seen.history for replica in fleet.replicas}
        assert "wedged: work was queued and nothing moved for 1.5 s; starting again" in details

    run(case())


def test_a_full_or_missing_disk_is_survived(home: Home, weights: Path, seen: Seen, desire: Desire) -> None:
    desire(spec(weights))

    async def case() -> None:
        async with running(home) as fleet:
            await until(lambda: seen.states() == ["mini/0 a ready"])
            shutil.rmtree(home.snapshot)
            os.kill(seen.replicas()[0].pid, signal.SIGKILL)
            await until(lambda: fleet.restarts["mini"] == 1)
            home.snapshot.mkdir()
            await until(lambda: seen.states() == ["mini/0 a ready"] and seen.replicas()[0].generation > 1)

    run(case())
