"""The documents that a worker follows: who may call is told in two of them, which come one after the other."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from penstock.counters.local import Local
from penstock.counters.seats.house import House
from penstock.counters.seats.usher import local
from penstock.counters.tally import Tally
from penstock.gateway.documents import Documents
from penstock.gateway.worker import Arguments, Worker
from penstock.snapshot.config import Config, GatewaySettings
from penstock.snapshot.file import publish
from penstock.snapshot.packed import pack
from penstock.snapshot.principals import KeyRecord, Principals
from penstock.types.home import Home


def record(name: str) -> KeyRecord:
    return KeyRecord(name, b"d" * 32, "acme")


class World:
    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.home.snapshot.mkdir()
        self.documents = Documents(self.home)

    def known(self, *names: str) -> list[str] | None:
        self.documents.refresh()
        callers = self.documents.callers
        return None if callers is None else [name for name in names if callers.find(name.encode())]


def test_a_few_keys_need_no_base_and_heed_none_that_was_left_behind(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert world.known() is None
    publish(world.home.snapshot, pack(7, [record("old")]))
    assert world.known("old") is None
    publish(world.home.snapshot, Principals(1, {"a": record("a")}))
    assert world.known("a", "old") == ["a"]


def test_changes_go_before_their_base(tmp_path: Path) -> None:
    world = World(tmp_path)
    publish(world.home.snapshot, Principals(1, {"new": record("new"), "gone": None}, 3))
    assert world.known("new") is None, "there is nothing yet that it is a change of"
    publish(world.home.snapshot, pack(3, [record("kept"), record("gone")]))
    assert world.known("new", "gone", "kept") == ["new", "kept"]


def test_a_later_base_has_the_changes_of_the_one_before(tmp_path: Path) -> None:
    world = World(tmp_path)
    publish(world.home.snapshot, pack(3, [record("kept"), record("gone")]))
    publish(world.home.snapshot, Principals(1, {"gone": None}, 3))
    assert world.known("gone", "kept") == ["kept"]
    publish(world.home.snapshot, pack(4, [record("kept"), record("gone"), record("late")]))  # where it was let in again
    assert world.known("gone", "kept", "late") == ["gone", "kept", "late"]
    publish(world.home.snapshot, Principals(2, {"kept": None}, 4))
    assert world.known("gone", "kept", "late") == ["gone", "late"]


def test_keys_that_come_before_the_configuration_are_known_with_it(tmp_path: Path) -> None:
    async def case() -> None:
        home = Home(tmp_path)
        for directory in (home.snapshot, home.journal):
            directory.mkdir()
        worker = Worker(
            Arguments(home, 0, -1, -1, -1),
            None,
            Local(Tally(time.monotonic)),
            local(House(time.monotonic), time.monotonic),
        )
        publish(home.snapshot, Principals(1, {"a": record("a")}))
        worker._follow()
        publish(home.snapshot, Config(1, {}, {}, GatewaySettings()))
        worker._follow()
        assert worker._gateway.view.callers.find(b"a") is not None
        worker._journal.close()

    asyncio.run(case())
