import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from penstock.auth import pepper
from penstock.types.errors import StartError


def test_the_file_is_made_once_and_private(tmp_path: Path) -> None:
    first = pepper.load(tmp_path, {})
    assert pepper.load(tmp_path, {}) == first
    assert len(first) == 32
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600


def test_processes_starting_together_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = {future.result() for future in [pool.submit(pepper.load, tmp_path, {}) for _ in range(8)]}
    assert results == {pepper.load(tmp_path, {})}
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"], "no draft is left"


def test_the_variable_wins_and_is_never_written(tmp_path: Path) -> None:
    value = pepper.load(tmp_path, {"PENSTOCK_SECRET_KEY": "correct horse battery"})
    assert len(value) == 32
    assert value != pepper.load(tmp_path, {"PENSTOCK_SECRET_KEY": "correct horse batterz"})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", ["", "short"])
def test_a_short_variable_is_refused_without_repeating_it(tmp_path: Path, value: str) -> None:
    with pytest.raises(StartError, match="PENSTOCK_SECRET_KEY is shorter than 16") as caught:
        pepper.load(tmp_path, {"PENSTOCK_SECRET_KEY": value})
    assert not value or value not in str(caught.value).replace("shorter", "")


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    pepper.load(tmp_path, {})
    (tmp_path / "secret.key").chmod(0o644)
    with pytest.raises(StartError, match="chmod 600"):
        pepper.load(tmp_path, {})


def test_a_damaged_file_is_refused_rather_than_replaced(tmp_path: Path) -> None:
    pepper.load(tmp_path, {})
    (tmp_path / "secret.key").write_bytes(b"short")
    with pytest.raises(StartError, match="32 bytes"):
        pepper.load(tmp_path, {})
