"""What `up` and its parts say when they cannot start; `tests/test_up.py` has them start."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.types.home import Home
from tests.cli.conftest import Run


@pytest.mark.parametrize("role", ["up", "gateway", "control", "node"])
def test_a_stack_file_that_is_wrong(role: str, run: Run, tmp_path: Path, home: Home) -> None:
    (tmp_path / "penstock.yaml").write_text("version: 1\nmodel: {}\n")
    result = run(role)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: penstock.yaml:2: model: unknown key, did you mean 'models'?\n"
    assert not home.node_lock.exists()


def test_a_stack_file_that_is_not_there(run: Run) -> None:
    result = run("up", "-f", "nope.yaml")
    assert (result.exit_code, result.stderr) == (1, "Error: nope.yaml: there is no such file\n")


def test_a_data_port_on_a_unix_socket_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "penstock.yaml").write_text("version: 1\ngateway: {listen: 'unix:/x.sock'}\n")
    result = run("up")
    assert result.exit_code == 1
    assert "gateway.listen: listening on a Unix socket of your choice is not supported yet" in result.stderr
