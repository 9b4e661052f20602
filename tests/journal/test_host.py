from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.journal import host
from penstock.journal.segment import Segment, Writer, segments, writer_of
from penstock.types.errors import StartError


def test_a_name_is_made_once(tmp_path: Path) -> None:
    name = host.load(tmp_path)
    assert re.fullmatch("[0-9a-f]{12}", name)
    assert [host.load(tmp_path) for _ in range(3)] == [name] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["host.id"], "nothing else is left"
    assert (tmp_path / "host.id").stat().st_mode & 0o077 == 0


def test_data_directories_have_names_of_their_own(tmp_path: Path) -> None:
    names = set()
    for number in range(20):
        (tmp_path / str(number)).mkdir()
        names.add(host.load(tmp_path / str(number)))
    assert len(names) == 20


def test_threads_that_start_together_agree(tmp_path: Path) -> None:
    for number in range(20):
        directory = tmp_path / str(number)
        directory.mkdir()
        together = Barrier(8)

        def load(directory: Path = directory, together: Barrier = together) -> str:
            together.wait(30)
            return host.load(directory)

        with ThreadPoolExecutor(8) as pool:
            names = {task.result() for task in [pool.submit(load) for _ in range(8)]}
        assert names == {host.load(directory)}
        assert len(list(directory.iterdir())) == 1


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from penstock.journal import host\n"
        "print(flush=True); sys.stdin.readline()\n"
        "print(host.load(Path(sys.argv[1])))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:  # all of them are there
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    names = {process.communicate(timeout=60)[0] for process in started}
    assert names == {f"{host.load(tmp_path)}\n"}


def test_one_that_was_first_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made_meanwhile(path: Path, *_: object) -> bool:
        (tmp_path / "host.id").write_text("0123456789ab\n")
        return False

    monkeypatch.setattr(Path, "exists", made_meanwhile)
    assert host.load(tmp_path) == "0123456789ab"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"0123456789AB", b"0123456789abc", b"0123456789a", b"\xff" * 12, b"a b"]
)
def test_rubbish_is_refused_and_stays(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "host.id").write_bytes(content)
    with pytest.raises(StartError, match=r"host\.id does not hold 12 hexadecimal digits; remove it"):
        host.load(tmp_path)
    assert (tmp_path / "host.id").read_bytes() == content


def test_what_cannot_be_read_or_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"missing/host\.id cannot be read or made: No such file or directory"):
        host.load(tmp_path / "missing")
    (tmp_path / "host.id").mkdir()
    with pytest.raises(StartError, match=r"host\.id cannot be read or made: Is a directory"):
        host.load(tmp_path)


@pytest.mark.parametrize("name", ["0123456789ab", "0" * 12])
def test_what_can_be_a_name(name: str) -> None:
    assert host.is_name(name)


@pytest.mark.parametrize("name", ["", "0123456789AB", "0123456789ab\n", "../../../etc", "٠" * 12, "0" * 13])
def test_what_cannot_be_a_name(name: str) -> None:
    assert not host.is_name(name)


def test_it_can_be_told_of_a_segment_whose_it_is(tmp_path: Path) -> None:
    name = host.load(tmp_path)
    journal = tmp_path / "journal"
    journal.mkdir()
    writers = [Writer(journal, host.writer_name(name, "gateway-0")), Writer(journal, "gateway-0")]
    whose = {segment.writer: host.host_of(segment.path.name) for segment in segments(journal)}
    assert whose == {writers[0].name: name, writers[1].name: ""}
    assert [host.host_of(writer.name) for writer in writers] == [name, ""]
    for writer in writers:
        writer.close()
    assert all(segment.born_ns > 0 for segment in segments(journal))


@given(st.from_regex("[0-9a-f]{12}", fullmatch=True), st.text(st.characters(blacklist_characters="/\0"), max_size=20))
def test_the_host_of_any_writer(name: str, worker: str) -> None:
    writer = host.writer_name(name, worker)
    assert host.host_of(writer) == name
    segment = f"{writer}-17-4-000000.journal"
    assert host.host_of(segment) == host.host_of(writer_of(segment)) == name
    assert Segment(Path(segment)).born_ns == 17
