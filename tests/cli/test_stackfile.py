"""`penstock check` and `penstock schema`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

GOOD = """\
version: 1
deployments:
  mini: {engine: llama.cpp, weights: bundled:mini}
  large: {provider: openai, base_url: "http://127.0.0.1:9/v1", model: m, api_key: "${PS_TEST_KEY}"}
models:
  chat: {targets: [mini], fallback: [large]}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PS_TEST_KEY", "provider-secret")
    path = tmp_path / "penstock.yaml"
    path.write_text(GOOD)
    return path


def test_a_valid_file(file: Path, run: Run) -> None:
    result = run("check")
    assert (result.exit_code, result.stdout) == (0, "penstock.yaml is valid: 2 deployments, 1 model\n")


def test_without_a_file_the_built_in_stack_is_judged(run: Run) -> None:
    result = run("check")
    assert (result.exit_code, result.stdout) == (0, "built-in stack is valid: 2 deployments, 3 models\n")


def test_json(file: Path, run: Run) -> None:
    report = json.loads(run("check", "-f", str(file), "--json").stdout)
    assert report["valid"] is True
    assert (report["deployments"], report["models"]) == (["mini", "large"], ["chat"])
    assert "values" not in report


def test_every_value_has_its_origin(file: Path, run: Run) -> None:
    lines = run("check", "--effective").stdout.splitlines()
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in lines[1:] if len(line.split()) > 2}
    assert rows["deployments.mini.weights"] == ["bundled:mini", "penstock.yaml:3"]
    assert rows["gateway.listen"] == ["127.0.0.1:8080", "default"]
    assert rows["deployments.large.api_key"][0] == "${PS_TEST_KEY}"
    values = json.loads(run("check", "--effective", "--json").stdout)["values"]
    assert {value["path"] for value in values} >= set(rows)


def test_the_secret_is_never_shown(file: Path, run: Run) -> None:
    for arguments in ([], ["--effective"], ["--json"], ["--effective", "--json"]):
        assert "provider-secret" not in run("check", *arguments).output


def test_all_that_is_wrong_is_said(file: Path, run: Run) -> None:
    file.write_text(GOOD.replace("targets: [mini]", "targts: [mini]").replace("version: 1", "version: 1\ngateways: {}"))
    result = run("check")
    assert (result.exit_code, result.stdout) == (1, "")
    lines = result.stderr.splitlines()
    assert lines[0].startswith("penstock.yaml:2: gateways: unknown key, did you mean 'gateway'?")
    assert any("did you mean 'targets'?" in line for line in lines)
    assert lines[-1] == f"penstock.yaml is not valid: {len(lines) - 1} problems"
    report = json.loads(run("check", "--json").stdout)
    assert report["valid"] is False
    assert len(report["problems"]) == len(lines) - 1
    assert report["problems"][0]["line"] == 2


def test_a_file_that_is_not_there(run: Run) -> None:
    result = run("check", "-f", "nope.yaml")
    assert result.exit_code == 1
    assert result.stderr.startswith("nope.yaml: there is no such file")


def test_doubts_are_warnings(file: Path, run: Run) -> None:
    file.write_text(GOOD.replace(", fallback: [large]", ""))
    result = run("check")
    assert result.exit_code == 0
    assert "Warning: penstock.yaml:4: deployments.large: no model uses this deployment" in result.stderr


def test_the_schema_is_one(run: Run) -> None:
    schema = json.loads(run("schema").stdout)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert {"version", "gateway", "deployments", "models"} <= schema["properties"].keys()
