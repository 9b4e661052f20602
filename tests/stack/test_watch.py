from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.stack.problem import InvalidStack
from penstock.stack.stack import Stack
from penstock.stack.watch import Watch
from penstock.types.errors import StackError


def content(workers: int) -> str:
    return f"version: 1\ngateway: {{workers: {workers}}}\n"


def settled(watch: Watch) -> Stack | StackError | None:
    """Poll as often as a change needs to be told."""
    return watch.poll() or watch.poll()


def workers(found: Stack | StackError | None) -> int:
    assert isinstance(found, Stack), found
    return found.gateway.workers


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "penstock.yaml"
    path.write_text(content(1))
    return path


def started(file: Path) -> Watch:
    watch = Watch(Path(file.name), {}, file.parent)
    assert workers(watch.start()) == 1
    assert settled(watch) is None
    return watch


def test_a_change_is_told_once(file: Path) -> None:
    watch = started(file)
    file.write_text(content(22))
    assert workers(settled(watch)) == 22
    assert settled(watch) is None


def test_a_change_is_read_only_when_the_file_has_settled(file: Path) -> None:
    watch = started(file)
    file.write_text("version: 1\ngateway: {wor")
    assert watch.poll() is None
    file.write_text(content(33))
    assert watch.poll() is None
    assert workers(watch.poll()) == 33


def test_an_invalid_change_is_told_once_and_the_mended_file_again(file: Path) -> None:
    watch = started(file)
    file.write_text("version: 1\ngateway: {workrs: 2}\n")
    error = settled(watch)
    assert isinstance(error, StackError)
    assert str(error) == "penstock.yaml:2: gateway.workrs: unknown key, did you mean 'workers'?"
    assert settled(watch) is None
    file.write_text(content(1))
    assert workers(settled(watch)) == 1


def test_a_file_renamed_over_the_old_one_is_noticed(file: Path) -> None:
    watch = started(file)
    status = file.stat()
    draft = file.with_name("draft")
    draft.write_text(content(2))
    os.utime(draft, ns=(status.st_atime_ns, status.st_mtime_ns))  # the same time and size: only the inode differs
    assert draft.stat().st_size == status.st_size
    draft.replace(file)
    assert workers(settled(watch)) == 2


def test_a_file_that_is_gone_for_a_moment_is_no_error(file: Path) -> None:
    watch = started(file)
    away = file.rename(file.with_name("backup"))
    assert watch.poll() is None
    file.write_text(content(4))
    assert watch.poll() is None
    assert workers(watch.poll()) == 4
    assert away.exists()


def test_a_file_that_stays_away_is_told_once_and_its_return_too(file: Path) -> None:
    watch = started(file)
    file.unlink()
    error = settled(watch)
    assert isinstance(error, StackError)
    assert str(error) == "penstock.yaml: there is no such file"
    assert settled(watch) is None
    file.write_text(content(1))
    assert workers(settled(watch)) == 1


def test_links_swapped_further_up_are_noticed(tmp_path: Path) -> None:
    """A Kubernetes ConfigMap: penstock.yaml -> ..data/penstock.yaml, and ..data -> a directory that changes."""
    for number in (1, 2):
        version = tmp_path / f"..version_{number}"
        version.mkdir()
        (version / "penstock.yaml").write_text(content(number))
    data = tmp_path / "..data"
    data.symlink_to("..version_1")
    file = tmp_path / "penstock.yaml"
    file.symlink_to("..data/penstock.yaml")
    watch = started(file)
    fresh = tmp_path / "..data_tmp"
    fresh.symlink_to("..version_2")
    fresh.replace(data)
    assert workers(settled(watch)) == 2


def test_writing_the_same_again_is_no_change(file: Path) -> None:
    watch = started(file)
    file.write_text(content(1))
    os.utime(file, ns=(1, 1))
    assert settled(watch) is None


def test_a_change_that_looks_the_same_right_after_the_start_is_noticed(file: Path) -> None:
    watch = Watch(Path(file.name), {}, file.parent)
    assert workers(watch.start()) == 1
    file.write_text(content(7))  # perhaps within the resolution of the file system's clock
    assert workers(settled(watch)) == 7


def test_a_broken_file_at_the_start_is_an_error_and_watched_all_the_same(file: Path) -> None:
    file.write_text("version: 3\n")
    watch = Watch(Path(file.name), {}, file.parent)
    with pytest.raises(InvalidStack, match="reads version 1"):
        watch.start()
    assert settled(watch) is None
    file.write_text(content(5))
    assert workers(settled(watch)) == 5


def test_a_file_missing_at_the_start_is_an_error_and_waited_for(file: Path) -> None:
    file.unlink()
    watch = Watch(Path(file.name), {}, file.parent)
    with pytest.raises(InvalidStack, match="there is no such file"):
        watch.start()
    assert settled(watch) is None
    file.write_text(content(6))
    assert workers(settled(watch)) == 6


def test_the_built_in_stack_never_changes(tmp_path: Path) -> None:
    watch = Watch(None, {}, tmp_path)
    assert watch.start().path is None
    assert settled(watch) is None
