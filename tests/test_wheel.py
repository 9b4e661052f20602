"""The wheel holds everything that runs, and runs outside the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (found,) = out.glob("*.whl")
    return found


def test_everything_that_is_no_code_is_in_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    source = ROOT / "src"
    tracked = subprocess.run(
        ["git", "ls-files", "src/penstock"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    missing = {str((ROOT / name).relative_to(source)) for name in tracked} - names
    assert not missing


def test_it_runs_elsewhere(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import pathlib, penstock; from penstock.cli.__main__ import main;"
        f"assert pathlib.Path(penstock.__file__).is_relative_to({str(tmp_path)!r}); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "check"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "2 deployments" in done.stdout
