import fcntl
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.journal.records import Opened, Outcome, Record, Settled
from penstock.journal.segment import Segment, Writer, read, segments
from penstock.types.errors import JournalError
from penstock.types.usage import Usage, UsageSource


def opened(number: int) -> Opened:
    return Opened(f"req-{number}", number, "k", "t", "chat", "chat", 12)


def settled(number: int) -> Settled:
    return Settled(
        f"req-{number}", number, "k", "t", "chat", "chat", True, "mini", 200, Outcome.ANSWERED,
        Usage(3, 4, 1, UsageSource.UPSTREAM), 99, 1.5, None, (("route", "chat: mini"),),
    )  # fmt: skip


def everything(directory: Path) -> list[Record]:
    return [record for segment in segments(directory) for record in segment.read(0, 10_000)[0]]


def test_records_come_back_as_they_were_written(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "gateway-0")
    written: list[Record] = [opened(1), settled(1), opened(2)]
    for record in written:
        writer.append(record)
    assert everything(tmp_path) == written
    writer.close()


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "gateway-0")
    for number in range(5):
        writer.append(opened(number))
    (segment,) = segments(tmp_path)
    first, offset = segment.read(0, 3)
    second, end = segment.read(offset, 3)
    assert [record.id for record in first + second] == [f"req-{number}" for number in range(5)]
    assert segment.read(end, 3) == ([], end)
    writer.append(opened(5))
    assert [record.id for record in segment.read(end, 3)[0]] == ["req-5"]
    writer.close()


def test_a_segment_is_closed_only_when_its_writer_has_let_go(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "gateway-0")
    (segment,) = segments(tmp_path)
    assert not segment.closed()
    writer.close()
    assert segment.closed()


def test_a_full_segment_is_followed_by_another(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "gateway-0", segment_bytes=200)
    for number in range(20):
        writer.append(opened(number))
    found = list(segments(tmp_path))
    assert len(found) > 2
    assert [segment.closed() for segment in found] == [True] * (len(found) - 1) + [False]
    assert [record.id for record in everything(tmp_path)] == [f"req-{number}" for number in range(20)]
    writer.close()


@settings(max_examples=60)
@given(st.data())
def test_a_file_cut_anywhere_yields_the_whole_records_before_the_cut(data: st.DataObject) -> None:
    directory = Path(os.environ["PYTEST_TMP"]) / f"{data.draw(st.integers(0, 10**12))}-{os.urandom(4).hex()}"
    directory.mkdir()
    writer = Writer(directory, "gateway-0")
    for number in range(4):
        writer.append(settled(number))
    writer.close()
    (path,) = directory.iterdir()
    ends = [Segment(path).read(0, count)[1] for count in range(1, 5)]
    assert ends[-1] == path.stat().st_size
    cut = data.draw(st.integers(0, ends[-1]))
    os.truncate(path, cut)
    records, offset = Segment(path).read(0, 100)
    whole = sum(end <= cut for end in ends)
    assert len(records) == whole
    assert offset == ([0, *ends])[whole]


@pytest.fixture(autouse=True)
def _directory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_TMP", str(tmp_path_factory.mktemp("cut")))


@given(st.binary(max_size=400))
def test_any_bytes_can_be_read(content: bytes) -> None:
    path = Path(os.environ["PYTEST_TMP"]) / f"{os.urandom(6).hex()}.journal"
    path.write_bytes(content)
    records, offset = Segment(path).read(0, 10)
    assert offset <= len(content)
    assert records == []


def test_a_disk_that_fills_up_leaves_the_segment_readable(tmp_path: Path) -> None:
    """A file size limit stands for the full disk."""
    writer = Writer(tmp_path, "gateway-0")
    writer.append(opened(1))
    (path,) = tmp_path.iterdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, limits[1]))
    fits = 0
    try:
        with pytest.raises(JournalError, match="the journal cannot be written"):
            while fits < 10_000:
                writer.append(opened(2 + fits))
                fits += 1
        with pytest.raises(JournalError):
            writer.append(opened(0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    writer.append(opened(99))
    assert [record.id for record in everything(tmp_path)] == [
        *(f"req-{number}" for number in range(1, fits + 2)), "req-99",
    ]  # fmt: skip
    writer.close()


def test_records_larger_than_what_is_reserved_at_a_time(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "gateway-0")
    large = [msgspec.structs.replace(settled(number), error=str(number) * 400_000) for number in range(5)]
    for record in large:
        writer.append(record)
        writer.append(opened(9))
    assert [record for record in everything(tmp_path) if isinstance(record, Settled)] == large
    with pytest.raises(JournalError, match="too large"):
        writer.append(msgspec.structs.replace(settled(1), error="x" * 1024 * 1024))
    writer.append(opened(10))
    assert everything(tmp_path)[-1] == opened(10)
    writer.close()


def test_what_is_reserved_is_given_back(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "gateway-0")
    writer.append(opened(1))
    (segment,) = segments(tmp_path)
    _, end = segment.read(0, 10)
    assert segment.path.stat().st_size > end
    writer.close()
    assert segment.path.stat().st_size == end
    assert not segment.damaged(end)


def test_a_record_that_was_being_copied_at_the_end_is_no_damage(tmp_path: Path) -> None:
    """The payload goes first, so what a `kill -9` in between leaves has a header of zeros."""
    writer = Writer(tmp_path, "gateway-0")
    writer.append(opened(1))
    (segment,) = segments(tmp_path)
    _, end = segment.read(0, 10)
    with segment.path.open("r+b") as file:
        file.seek(end + 8)
        file.write(b"half a payload")
    assert segment.read(end, 10) == ([], end)
    assert not segment.damaged(end)


def test_what_was_appended_survives_kill_9(tmp_path: Path) -> None:
    script = (
        "import os,signal,sys; from pathlib import Path\n"
        "from penstock.journal.segment import Writer; from penstock.journal.records import Opened\n"
        "w = Writer(Path(sys.argv[1]), 'gateway-0')\n"
        "for n in range(100): w.append(Opened(f'req-{n}', n, 'k', 't', 'm', 'chat', 0))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    (segment,) = segments(tmp_path)
    assert segment.closed()
    assert len(everything(tmp_path)) == 100


def test_a_segment_has_its_name_only_once_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[list[Segment]] = []
    lock = fcntl.flock

    def flock(descriptor: int, operation: int) -> None:
        found.append(list(segments(tmp_path)))
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    Writer(tmp_path, "gateway-0").close()
    assert found == [[]]


def test_segments_name_the_writer_they_belong_to(tmp_path: Path) -> None:
    one, other = Writer(tmp_path, "0", segment_bytes=1), Writer(tmp_path, "0", segment_bytes=1)
    for number in range(3):
        one.append(opened(number))
    writers = [segment.writer for segment in segments(tmp_path)]
    assert sorted(writers.count(writer) for writer in set(writers)) == [1, 4]
    one.close()
    other.close()


def test_bytes_that_are_all_there_and_no_record_are_damage(tmp_path: Path) -> None:
    def damaged(tail: bytes) -> bool:
        path = tmp_path / "0-1-1-000000.journal"
        path.write_bytes(tail)
        return Segment(path).damaged(0)

    payload = b"\xc1 not MessagePack"
    header = len(payload).to_bytes(4, "little") + crc32(payload).to_bytes(4, "little")
    assert not damaged(b"")
    assert not damaged(header[:7])
    assert not damaged(header + payload[:-1])
    assert damaged(header + payload)
    assert not damaged(bytes(64)), "space that was reserved"
    assert damaged(b"\xff" * 8)


def test_nothing_is_appended_once_the_writer_has_let_go(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "gateway-0")
    writer.append(opened(1))
    writer.close()
    with pytest.raises(JournalError):
        writer.append(opened(2))
    assert everything(tmp_path) == [opened(1)]


def test_what_waits_is_counted_without_what_is_reserved(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "gateway-0")
    for number in range(3):
        writer.append(opened(number))
    (segment,) = segments(tmp_path)
    _, first = segment.read(0, 1)
    _, end = segment.read(0, 10)
    assert [segment.waiting(offset) for offset in (0, first, end)] == [end, end - first, 0]
    writer.close()


def test_raw_is_whole_records_of_about_a_size(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "gateway-0")
    for number in range(5):
        writer.append(settled(number))
    (segment,) = segments(tmp_path)
    ends = [segment.read(0, count)[1] for count in range(6)]
    content = segment.path.read_bytes()[: ends[-1]]
    for start in range(5):
        for size in (1, ends[1], ends[1] + 1, ends[2], ends[-1], 10**9):
            data = segment.raw(ends[start], size)
            assert ends[start] + len(data) in ends[start + 1 :]
            assert data == content[ends[start] : ends[start] + len(data)]
            assert len(data) >= size or ends[start] + len(data) == ends[-1]
            before = ends[ends.index(ends[start] + len(data)) - 1] - ends[start]
            assert before < size, "no record more than it takes"
    assert segment.raw(ends[-1], 10**9) == b"", "what is reserved is no record"
    writer.append(settled(5))
    assert read(segment.raw(ends[-1], 1)) == [(settled(5), segment.read(0, 6)[1] - ends[-1])]
    writer.close()


def test_a_record_larger_than_the_size_comes_alone(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "gateway-0")
    large = msgspec.structs.replace(settled(1), error="x" * 500_000)
    for record in (large, opened(2)):
        writer.append(record)
    (segment,) = segments(tmp_path)
    assert [record for record, _ in read(segment.raw(0, 1000))] == [large]
    writer.close()


def test_raw_stops_in_front_of_a_record_that_is_torn_or_damaged(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "gateway-0")
    for number in range(3):
        writer.append(opened(number))
    writer.close()
    (segment,) = segments(tmp_path)
    _, first = segment.read(0, 1)
    _, second = segment.read(0, 2)
    content = segment.path.read_bytes()
    for broken in (content[: second - 1], content[: first + 3], content[:second][:-1] + b"\x00" + content[second:]):
        segment.path.write_bytes(broken)
        assert segment.raw(0, 10**9) == content[:first]


def test_what_was_sent_is_read_up_to_what_cannot_be(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "gateway-0")
    written: list[Record] = [opened(1), settled(1)]
    for record in written:
        writer.append(record)
    (segment,) = segments(tmp_path)
    data = segment.raw(0, 10**9)
    end = len(data)
    payload = b"\xc1 not MessagePack"
    unknown = len(payload).to_bytes(4, "little") + crc32(payload).to_bytes(4, "little") + payload
    for rubbish in (b"", b"\x00" * 8, b"\xff" * 40, data[:-1], unknown + data):
        found = read(data + rubbish)
        assert [record for record, _ in found][:2] == written
        assert found[1][1] == end
        if rubbish != data[:-1]:
            assert len(found) == 2
        else:
            assert [record for record, _ in found] == [*written, opened(1)]
    writer.close()


@given(st.binary(max_size=400))
def test_any_bytes_can_be_sent(content: bytes) -> None:
    assert read(content) == []


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 3_000), max_size=12),
    size=st.integers(1, 10_000),
    tail=st.binary(max_size=40),
)
def test_what_is_sent_piece_by_piece_is_what_is_read_here(sizes: list[int], size: int, tail: bytes) -> None:
    directory = Path(os.environ["PYTEST_TMP"]) / os.urandom(6).hex()
    directory.mkdir()
    writer = Writer(directory, "gateway-0")
    for number, length in enumerate(sizes):
        writer.append(msgspec.structs.replace(settled(number), error="x" * length))
    writer.close()
    (segment,) = segments(directory)
    with segment.path.open("ab") as file:
        file.write(tail)
    records: list[Record] = []
    offset = 0
    while data := segment.raw(offset, size):
        found = read(data)
        assert found[-1][1] == len(data)
        records += [record for record, _ in found]
        offset += len(data)
    assert (records, offset) == segment.read(0, 1000)
