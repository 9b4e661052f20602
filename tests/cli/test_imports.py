"""`penstock import litellm`, and the page about it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Run

PAGE = (Path(__file__).parents[2] / "docs" / "migrate.md").read_text()
COMMAND = ("import", "litellm", "config.yaml")
CONFIG = """\
model_list:
  - model_name: chat
    litellm_params: {model: openai/gpt-4o, api_key: sk-planted-secret, seed: 1}
"""


@pytest.fixture
def config(tmp_path: Path, run: Run) -> Path:
    """A configuration in the working directory, which `run` has made an empty one."""
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def test_the_example_of_the_page_is_what_the_command_does(config: Path, run: Run) -> None:
    source, result = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (listed,) = re.findall(r"^```text\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    config.write_text(source)
    done = run(*COMMAND)
    assert (done.exit_code, done.stdout, done.stderr) == (0, result, listed)


def test_the_stack_passes_the_check(config: Path, run: Run) -> None:
    assert run(*COMMAND, "-o", "penstock.yaml").exit_code == 0
    assert run("check").exit_code == 0


def test_a_stack_file_is_replaced_only_by_force(config: Path, run: Run) -> None:
    to = config.with_name("penstock.yaml")
    to.write_text("mine")
    done = run(*COMMAND, "-o", "penstock.yaml")
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", "Error: penstock.yaml exists; --force replaces it\n")
    assert to.read_text() == "mine"
    done = run(*COMMAND, "-o", "penstock.yaml", "--force")
    assert (done.exit_code, done.stdout) == (0, "")
    assert to.read_text().startswith("# Made from config.yaml")


def test_a_place_that_cannot_be_written(config: Path, run: Run) -> None:
    done = run(*COMMAND, "-o", "nowhere/penstock.yaml")
    assert (done.exit_code, done.stderr) == (
        1,
        "Error: nowhere/penstock.yaml cannot be written: No such file or directory\n",
    )


def test_strict_ends_in_an_error_when_something_was_left_out(config: Path, run: Run) -> None:
    assert "Left out: config.yaml:3: model_list[0].litellm_params.seed" in run(*COMMAND).stderr
    assert run(*COMMAND, "--strict").exit_code == 1
    config.write_text(CONFIG.replace(", seed: 1", ""))
    assert run(*COMMAND, "--strict").exit_code == 0


def test_json_has_the_stack_and_the_notes(config: Path, run: Run) -> None:
    report = json.loads(run(*COMMAND, "--json").stdout)
    assert (report["file"], report["left_out"]) == ("config.yaml", 1)
    assert report["stack"]["deployments"]["openai-gpt-4o"]["api_key"] == "${CHAT_API_KEY}"
    (note,) = [note for note in report["notes"] if note["left_out"]]
    assert (note["path"], note["lines"]) == ("model_list[0].litellm_params.seed", [3])
    config.with_name("penstock.yaml").write_text(json.dumps(report["stack"]))
    assert run("check").exit_code == 0


def test_the_summary_counts_each_note_once(config: Path, run: Run) -> None:
    lines = run(*COMMAND).stderr.splitlines()
    notes, left_out = (sum(line.startswith(kind) for line in lines) for kind in ("Note: ", "Left out: "))
    assert lines[-1] == f"config.yaml: deployments: 1, models: 1, notes: {notes}, left out: {left_out}"


def test_a_key_in_the_file_is_printed_nowhere(config: Path, run: Run) -> None:
    for options in ((), ("--json",), ("--strict",)):
        assert "planted-secret" not in run(*COMMAND, *options).output


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            "version: 1\nmodels: {}\n",
            "not a LiteLLM configuration: it has no model_list, and none of its other sections",
        ),
        ("a: [", "not valid YAML"),
        (None, "there is no such file"),
    ],
)
def test_a_file_that_is_no_configuration_gets_one_error(
    config: Path, run: Run, content: str | None, sentence: str
) -> None:
    config.unlink() if content is None else config.write_text(content)
    done = run(*COMMAND)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: config.yaml")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
