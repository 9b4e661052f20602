from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from penstock.control.fold import BATCH, Fold
from penstock.journal.host import writer_name
from penstock.journal.records import Outcome, Settled
from penstock.journal.segment import Writer, segments
from penstock.records import ledger, offsets, opened
from penstock.records.database import Database
from penstock.types.usage import Usage, UsageSource
from tests.records.exchanges import opened as an_opened
from tests.records.exchanges import settled as a_settled


class World:
    """A journal, a database and a fold over them."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.journal = directory / "journal"
        self.journal.mkdir(exist_ok=True)
        self.database = database
        self.fold = Fold(self.journal, database)

    async def entries(self) -> dict[str, Settled]:
        async with self.database.read() as connection:
            return {entry.id: entry for entry in await ledger.page(connection, 100_000, None)}

    async def outcomes(self) -> dict[str, str]:
        return {request: entry.outcome.value for request, entry in sorted((await self.entries()).items())}

    async def open(self) -> set[str]:
        async with self.database.read() as connection:
            writers = await opened.writers(connection)
            return {one.id for writer in writers for one in await opened.of_writer(connection, writer, 10_000)}

    async def positions(self) -> dict[str, int]:
        async with self.database.read() as connection:
            return await offsets.load(connection)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.journal.iterdir())


def in_world(directory: Path, case: Callable[[World], Awaitable[None]]) -> None:
    async def whole() -> None:
        database = await Database.open(directory / "p.db")
        try:
            await case(World(directory, database))
        finally:
            await database.close()

    asyncio.run(whole())


def test_what_is_settled_is_in_the_ledger_and_what_is_open_waits(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "0")
        for record in (an_opened(1), an_opened(2), a_settled(1), a_settled(3, outcome=Outcome.REFUSED)):
            writer.append(record)
        assert await world.fold.step()
        assert await world.entries() == {
            "req-000001": a_settled(1),
            "req-000003": a_settled(3, outcome=Outcome.REFUSED),
        }
        assert await world.open() == {"req-000002"}
        writer.append(a_settled(2))
        await world.fold.step()
        assert await world.entries() == {
            **{f"req-{number:06d}": a_settled(number) for number in (1, 2)},
            "req-000003": a_settled(3, outcome=Outcome.REFUSED),
        }
        assert await world.open() == set()
        assert len(world.files()) == 1  # its writer still has it
        writer.close()

    in_world(tmp_path, case)


def test_what_was_open_by_the_former_name_of_a_segment_is_open_no_more(tmp_path: Path) -> None:
    """The directory's name is lost once some of it is folded; it is folded anew by another, with what came after."""

    async def case(world: World) -> None:
        writer = Writer(world.journal, writer_name("former", "0"))
        writer.append(an_opened(1))
        assert await Fold(world.journal, world.database, host="former").step()
        assert await world.open() == {"req-000001"}
        writer.append(a_settled(1))
        writer.close()
        assert await Fold(world.journal, world.database, host="present").step()
        assert await world.entries() == {"req-000001": a_settled(1)}
        assert await world.open() == set()

    in_world(tmp_path, case)


def test_a_segment_that_is_let_go_is_removed_with_its_position(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "0")
        writer.append(a_settled(1))
        await world.fold.step()
        assert len(await world.positions()) == 1
        writer.append(a_settled(2))
        writer.close()
        await world.fold.step()
        assert world.files() == []
        assert await world.positions() == {}
        assert len(await world.entries()) == 2

    in_world(tmp_path, case)


def test_an_exchange_whose_writer_is_gone_is_lost_and_charged_nothing(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "0")
        writer.append(an_opened(1, reserved_nano=1_234))
        writer.append(an_opened(2))
        writer.append(a_settled(2))
        await world.fold.step()
        assert await world.outcomes() == {"req-000002": "answered"}
        writer.close()
        await world.fold.step()
        assert await world.outcomes() == {"req-000001": "lost", "req-000002": "answered"}
        lost = (await world.entries())["req-000001"]
        assert (lost.cost_nano, lost.usage, lost.key, lost.tenant) == (
            0,
            Usage(source=UsageSource.NONE),
            "key1",
            "acme",
        )
        assert "0.000001234 USD were reserved" in lost.explanation[-1][1]
        assert await world.open() == set()

    in_world(tmp_path, case)


def test_an_exchange_may_be_opened_in_one_segment_and_settled_in_the_next(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "0", segment_bytes=1)  # a new segment after each record
        for number in range(3):
            writer.append(an_opened(number))
        await world.fold.step()
        await world.fold.step()
        assert len(world.files()) == 1  # the full ones are gone, their exchanges are not lost
        assert await world.entries() == {}
        for number in range(3):
            writer.append(a_settled(number))
            await world.fold.step()
        writer.close()
        await world.fold.step()
        assert set((await world.outcomes()).values()) == {"answered"}

    in_world(tmp_path, case)


def test_more_records_than_a_batch_are_folded_in_one_step(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "0")
        for number in range(2 * BATCH + 1):
            writer.append(a_settled(number))
        await world.fold.step()
        assert len(await world.entries()) == 2 * BATCH + 1
        assert world.fold.backlog() == (1, 0)
        writer.append(a_settled(1_000_000))
        assert world.fold.backlog()[1] > 0
        writer.close()

    in_world(tmp_path, case)


def test_a_record_torn_by_a_crash_is_dropped_with_its_segment(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "0")
        writer.append(a_settled(1))
        writer.append(a_settled(2))
        (segment,) = segments(world.journal)
        writer.close()
        os.truncate(segment.path, segment.path.stat().st_size - 5)
        await world.fold.step()
        assert await world.outcomes() == {"req-000001": "answered"}
        assert world.files() == []

    in_world(tmp_path, case)


def test_a_damaged_segment_is_kept_aside_and_stops_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def case(world: World) -> None:
        damaged, sound = Writer(world.journal, "0"), Writer(world.journal, "1")
        for number in (1, 2, 3):
            damaged.append(an_opened(number))
        damaged.append(a_settled(1))
        _, offset = next(iter(segments(world.journal))).read(0, 100)
        damaged.append(a_settled(2))
        damaged.append(a_settled(3))
        sound.append(a_settled(4))
        with next(iter(segments(world.journal))).path.open("r+b") as file:
            file.seek(offset + 20)
            file.write(b"\xff\xff\xff")
        await world.fold.step()
        assert await world.outcomes() == {"req-000001": "answered", "req-000004": "answered"}
        damaged.close()
        sound.close()
        for _ in range(3):
            await world.fold.step()
        assert [name.rpartition(".")[2] for name in world.files()] == ["damaged"]
        assert await world.positions() == {}
        assert await world.outcomes() == {
            "req-000001": "answered",
            "req-000002": "lost",
            "req-000003": "lost",
            "req-000004": "answered",
        }

    in_world(tmp_path, case)
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


def test_a_segment_that_cannot_be_kept_stops_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def case(world: World) -> None:
        bad, good = Writer(world.journal, "0"), Writer(world.journal, "1")
        bad.append(a_settled(99, at_ns=2**64 - 1))  # no 64-bit signed number, so no column takes it
        for number in range(50):
            good.append(a_settled(number))
            assert await world.fold.step()
            assert len(await world.entries()) == number + 1
        bad.close()
        good.close()
        for _ in range(50):
            await world.fold.step()
        assert len(world.files()) == 1  # it stays for whoever mends this

    in_world(tmp_path, case)
    assert len(caplog.records) == 1


def test_a_database_that_fails_for_a_while_loses_nothing(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "0")
        writer.append(an_opened(1))
        writer.append(a_settled(1))
        async with world.database.write() as connection:
            await connection.exec_driver_sql("ALTER TABLE ledger RENAME TO elsewhere")
        assert not await world.fold.step()
        assert await world.positions() == {}
        async with world.database.write() as connection:
            await connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO ledger")
        assert await world.fold.step()
        assert await world.outcomes() == {"req-000001": "answered"}
        writer.close()

    in_world(tmp_path, case)


def test_a_journal_that_is_no_more_is_told_and_tried_again(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "0")
        writer.append(a_settled(1))
        await world.fold.step()
        for path in world.journal.iterdir():
            path.unlink()  # taken away by hand
        assert await world.fold.step()
        fresh = Fold(world.journal, world.database)
        await fresh.step()
        assert await world.positions() == {}
        writer.close()

    in_world(tmp_path, case)


def test_callers_that_catch_up_at_once_find_everything_that_was_written_before(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "0")

        async def ask(number: int) -> None:
            writer.append(a_settled(number))
            await world.fold.catch_up(60)
            assert f"req-{number:06d}" in await world.entries()

        await asyncio.gather(*(ask(number) for number in range(10)))
        writer.close()

    in_world(tmp_path, case)


def test_an_impatient_caller_is_let_go_and_the_fold_goes_on(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "0")
        for number in range(BATCH):
            writer.append(a_settled(number))
        await world.fold.catch_up(0)
        await world.fold.catch_up(60)  # takes its turn after the first
        assert len(await world.entries()) == BATCH
        writer.close()

    in_world(tmp_path, case)


class Crash(BaseException):
    """Stands for the death of control: nothing in it may handle this."""


@asynccontextmanager
async def dying(database: Database, after: int) -> AsyncIterator[None]:
    """Let control die in front of the `after`-th statement that it sends to the database, commits included."""
    left = after

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Crash

    engine = database._reads.sync_engine
    for moment in ("before_cursor_execute", "commit"):
        event.listen(engine, moment, count)
    try:
        yield
    except Crash:
        pass
    finally:
        for moment in ("before_cursor_execute", "commit"):
            event.remove(engine, moment, count)


exchange_fates = st.sampled_from(["settled", "refused", "open"])


@settings(max_examples=10, deadline=None)
@given(
    fates=st.lists(st.tuples(st.integers(0, 2), exchange_fates), max_size=30),
    crashes=st.lists(st.integers(0, 60), max_size=12),
    segment_bytes=st.sampled_from([1, 700, 10_000]),
)
def test_every_exchange_is_in_the_ledger_once_whenever_control_dies(
    tmp_path_factory: pytest.TempPathFactory,
    fates: list[tuple[int, str]],
    crashes: list[int],
    segment_bytes: int,
) -> None:
    async def case(world: World) -> None:
        writers = [Writer(world.journal, str(worker), segment_bytes) for worker in range(3)]
        waiting = list(enumerate(fates))
        expected: dict[str, str] = {}
        for crash in [*crashes, None]:
            some = waiting[:7] if crash is not None else waiting
            waiting = waiting[len(some) :]
            for number, (worker, fate) in some:
                expected[f"req-{number:06d}"] = {"settled": "answered", "open": "lost"}.get(fate, fate)
                if fate != "refused":
                    writers[worker].append(an_opened(number))
                if fate != "open":
                    outcome = Outcome.ANSWERED if fate == "settled" else Outcome.REFUSED
                    writers[worker].append(a_settled(number, outcome=outcome))
            fold = Fold(world.journal, world.database)  # a control that starts knows nothing
            if crash is not None:
                async with dying(world.database, crash):
                    await fold.step()
        for writer in writers:
            writer.close()
        for crash in crashes:
            async with dying(world.database, crash):
                await Fold(world.journal, world.database).step()
        await Fold(world.journal, world.database).step()
        assert await world.outcomes() == expected
        assert await world.open() == set()
        assert await world.positions() == {}
        assert world.files() == []

    in_world(tmp_path_factory.mktemp("world"), case)


def test_a_fold_that_is_cancelled_at_any_moment_goes_on_later(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        writer = Writer(world.journal, "0", segment_bytes=1_000)
        for turns in range(60):
            writer.append(an_opened(turns))
            writer.append(a_settled(turns))
            step = asyncio.create_task(world.fold.step())
            for _ in range(turns):
                await asyncio.sleep(0)
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)
        writer.close()
        await world.fold.step()
        assert await world.outcomes() == {f"req-{number:06d}": "answered" for number in range(60)}
        assert (world.files(), await world.positions(), await world.open()) == ([], {}, set())

    in_world(tmp_path, case)


_WRITER = """
import sys
from pathlib import Path
from penstock.journal.segment import Writer
from tests.records.exchanges import opened, settled

writer, first = Writer(Path(sys.argv[1]), sys.argv[2], 20_000), int(sys.argv[3])
for number in range(first, first + 300):
    writer.append(opened(number))
    if number % 10 != 9:
        writer.append(settled(number))
sys.stdout.write("written\\n")
sys.stdout.flush()
sys.stdin.read()
"""


def test_workers_that_are_killed_while_control_folds_lose_nothing(tmp_path: Path) -> None:
    async def case(world: World) -> None:
        writers = [_start_writer(world.journal, worker) for worker in range(2)]
        written = [asyncio.create_task(asyncio.to_thread(_line, writer)) for writer in writers]
        while not all(task.done() for task in written):
            await world.fold.step()
        assert [task.result() for task in written] == [b"written\n"] * 2
        await world.fold.step()
        assert set((await world.outcomes()).values()) == {"answered"}  # they live: nothing is lost yet
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
        await world.fold.step()
        outcomes = await world.outcomes()
        assert len(outcomes) == 600
        assert {request for request, outcome in outcomes.items() if outcome == "lost"} == {
            f"req-{worker * 1000 + number:06d}" for worker in range(2) for number in range(9, 300, 10)
        }
        assert world.files() == []

    in_world(tmp_path, case)


def _start_writer(journal: Path, worker: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _WRITER, str(journal), str(worker), str(worker * 1000)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def test_whatever_bytes_end_a_segment_the_records_before_them_are_kept(tmp_path: Path) -> None:
    @given(tails=st.lists(st.binary(max_size=300), max_size=20))
    @settings(max_examples=5, deadline=None)
    def check(tails: list[bytes]) -> None:
        in_world(Path(tempfile.mkdtemp(dir=tmp_path)), partial(case, tails))

    async def case(tails: list[bytes], world: World) -> None:
        for number, tail in enumerate(tails):
            writer = Writer(world.journal, str(number))
            writer.append(a_settled(number))
            writer.close()
            with next(world.journal.glob(f"{number}-*")).open("ab") as file:
                file.write(tail)
        await world.fold.step()
        assert await world.outcomes() == {f"req-{number:06d}": "answered" for number in range(len(tails))}
        assert list(segments(world.journal)) == []

    check()
