"""`penstock hosts`, against a fake of the admin port over a real socket."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Answer, Fake, Run

EU, US = "0123456789ab", "ba9876543210"


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


def listed(admin: Fake, *hosts: dict[str, Any]) -> None:
    admin.routes["GET /admin/v1/hosts"] = Answer({"hosts": list(hosts)})


@pytest.mark.parametrize("called", [EU, "eu-1"])
def test_a_host_is_forgotten_by_its_id_or_its_name_when_it_is_confirmed(admin: Fake, run: Run, called: str) -> None:
    listed(admin, host("ctl-1", id="00000000c0de", own=True), host("eu-1"), host("us-1", id=US))
    admin.routes[f"DELETE /admin/v1/hosts/{EU}"] = Answer(status=204)
    result = run("hosts", "forget", called, input="y\n")
    assert result.exit_code == 0
    assert "What eu-1 has not sent will be lost. Forget it?" in result.output
    assert "The host eu-1 is forgotten.\n" in result.stderr
    result = run("hosts", "forget", called, "--yes")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "The host eu-1 is forgotten.\n")
    assert [f"{call.method} {call.path}" for call in admin.calls] == [
        "GET /admin/v1/hosts", f"DELETE /admin/v1/hosts/{EU}",
    ] * 2  # fmt: skip


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_a_host_is_not_forgotten_without_a_yes(admin: Fake, run: Run, answer: str) -> None:
    listed(admin, host("eu-1"))
    assert run("hosts", "forget", EU, input=answer).exit_code == 1
    assert [call.method for call in admin.calls] == ["GET"]


@pytest.mark.parametrize(
    ("called", "said"),
    [
        ("us-1", "no host is called 'us-1'"),
        ("", "no host is called ''"),
        (EU[:-1], f"no host is called '{EU[:-1]}'"),
        ("../keys/x?y", "no host is called '../keys/x?y'"),
        ("eu-1", "2 hosts are called 'eu-1'"),
    ],
)
def test_what_names_no_host_or_several_is_wrong_usage(
    admin: Fake, run: Run, monkeypatch: pytest.MonkeyPatch, called: str, said: str
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # so that sentences stay in one line
    listed(admin, host("eu-1"), host("eu-1", id=US))
    result = run("hosts", "forget", called, "-y")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{said}; `penstock hosts list` shows their ids" in result.stderr
    assert [call.method for call in admin.calls] == ["GET"]


def test_an_id_goes_before_a_name(admin: Fake, run: Run) -> None:
    listed(admin, host(US), host("us-1", id=US))
    admin.routes[f"DELETE /admin/v1/hosts/{US}"] = Answer(status=204)
    assert run("hosts", "forget", US, "-y").stderr == "The host us-1 is forgotten.\n"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "there is no host of this name"),
        (409, "this is the host that control is on"),
        (409, "this host reports; stop it first, or wait until it has been silent for 10 s"),
    ],
)
def test_a_host_that_cannot_be_forgotten(admin: Fake, run: Run, status: int, message: str) -> None:
    listed(admin, host("eu-1"))
    admin.routes[f"DELETE /admin/v1/hosts/{EU}"] = Answer({"error": {"message": message}}, status=status)
    result = run("hosts", "forget", EU, "-y")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"Error: {message}\n")


def test_the_id_of_a_host_stays_one_part_of_the_address(admin: Fake, run: Run) -> None:
    listed(admin, host("eu-1", id="../keys/x?y"))
    assert run("hosts", "forget", "eu-1", "-y").exit_code == 1
    assert [call.path for call in admin.calls] == ["/admin/v1/hosts", "/admin/v1/hosts/..%2Fkeys%2Fx%3Fy"]


def test_what_a_host_calls_itself_cannot_write_on_the_terminal(admin: Fake, run: Run) -> None:
    name = "eu-1\x1b[2J"
    listed(admin, host(name))
    admin.routes[f"DELETE /admin/v1/hosts/{EU}"] = Answer(status=204)
    for arguments, answer in (([], "y\n"), (["-y"], "")):
        result = run("hosts", "forget", EU, *arguments, input=answer)
        assert result.exit_code == 0
        assert "\x1b" not in result.output + result.stderr


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
