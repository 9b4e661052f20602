import os
import stat
from pathlib import Path

import pytest

from penstock.node.directory import prepare, prepare_home
from penstock.types.errors import StartError


def test_directories_are_private(tmp_path: Path) -> None:
    open_one = tmp_path / "open"
    open_one.mkdir(mode=0o755)
    for path in (tmp_path / "a" / "b", open_one):
        prepare(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(StartError, match=r"must be a directory"):
        prepare(link)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(StartError, match="must be a directory of user 12345"):
        prepare(tmp_path)


def test_a_file_in_the_way_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="cannot make the directory"):
        prepare(tmp_path / "file" / "run")


def test_a_home_is_made_private_when_it_is_new_empty_or_ours(tmp_path: Path) -> None:
    for name, content in (("new", None), ("empty", []), ("ours", ["node.lock", "penstock.db"])):
        home = tmp_path / name
        if content is not None:
            home.mkdir(mode=0o755)
            for each in content:
                (home / each).write_text("")
        prepare_home(home, home / "node.lock")
        assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_home_that_is_something_else_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "file").write_text("")
    with pytest.raises(StartError, match="has other files in it and is open to other users"):
        prepare_home(shared, shared / "node.lock")
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777
    shared.chmod(0o700)
    prepare_home(shared, shared / "node.lock")
