"""`penstock hosts`, against a fake of the admin port over a real socket."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Answer, Fake, Run

EU = "0123456789ab"


def host(name: str, **fields: object) -> dict[str, Any]:
    return {
        "id": EU, "name": name, "version": "0.1.0", "own": False, "started_at": "2026-01-02T03:04:05Z",
        "silent_s": 0.4, "segments": 2, **fields,
    }  # fmt: skip


def test_hosts_are_listed_with_how_they_are(admin: Fake, run: Run) -> None:
    hosts = [
        host("ctl-1", id="00000000c0de", own=True, silent_s=0.0),
        host("eu-1\x1b[2J", silent_s=9.9),
        host("[bold]eu-2[/bold]", silent_s=340.4, segments=12),
    ]
    admin.routes["GET /admin/v1/hosts"] = Answer({"hosts": hosts})
    result = run("hosts", "list")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["HOST", "NAME", "VERSION", "STATE", "SEGMENTS"],
        ["00000000c0de", "ctl-1", "0.1.0", "here", "2"],
        [EU, "eu-1\\x1b[2J", "0.1.0", "reports", "2"],
        [EU, "[bold]eu-2[/bold]", "0.1.0", "silent", "for", "340", "s", "12"],
    ]
    assert json.loads(run("hosts", "list", "--json").stdout) == {"hosts": hosts}


def test_a_host_is_forgotten_when_it_is_confirmed(admin: Fake, run: Run) -> None:
    admin.routes[f"DELETE /admin/v1/hosts/{EU}"] = Answer(status=204)
    result = run("hosts", "forget", EU, input="y\n")
    assert result.exit_code == 0
    assert f"What {EU} has not sent will be lost. Forget it?" in result.output
    assert f"The host {EU} is forgotten.\n" in result.stderr
    result = run("hosts", "forget", EU, "--yes")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"The host {EU} is forgotten.\n")
    assert [f"{call.method} {call.path}" for call in admin.calls] == [f"DELETE /admin/v1/hosts/{EU}"] * 2


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_a_host_is_not_forgotten_without_a_yes(admin: Fake, run: Run, answer: str) -> None:
    assert run("hosts", "forget", EU, input=answer).exit_code == 1
    assert admin.calls == []


@pytest.mark.parametrize(
    ("status", "message"), [(404, "there is no host of this name"), (409, "this is the host that control is on")]
)
def test_a_host_that_cannot_be_forgotten(admin: Fake, run: Run, status: int, message: str) -> None:
    admin.routes[f"DELETE /admin/v1/hosts/{EU}"] = Answer({"error": {"message": message}}, status=status)
    result = run("hosts", "forget", EU, "-y")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: {message}\n")


def test_whatever_is_given_as_a_host_stays_one_part_of_the_address(admin: Fake, run: Run) -> None:
    assert run("hosts", "forget", "../keys/x?y", "-y").exit_code == 1
    assert [call.path for call in admin.calls] == ["/admin/v1/hosts/..%2Fkeys%2Fx%3Fy"]


@pytest.mark.parametrize("command", [["list"], ["forget", EU, "-y"]], ids=" ".join)
def test_when_no_control_runs(run: Run, command: list[str]) -> None:
    result = run("hosts", *command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: nothing answers at ")


@pytest.mark.parametrize("value", [None, [], {}, {"hosts": 1}, {"hosts": [{"id": 1}]}])
def test_an_answer_of_another_shape(admin: Fake, run: Run, value: object) -> None:
    admin.other = Answer(value)
    result = run("hosts", "list")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["forget"], ["nope"], ["forget", EU, "other"]])
def test_wrong_usage_is_code_2(run: Run, arguments: list[str]) -> None:
    assert run("hosts", *arguments).exit_code == 2
