"""`keys`, `usage`, `explain`, `status` and `models`, against a fake of the ports over real sockets."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cli.conftest import Answer, Call, Fake, Remote, Run

FIGURES: dict[str, Any] = {
    "requests": 12,
    "errors": 1,
    "input_tokens": 345,
    "output_tokens": 67,
    "cache_read_tokens": 0,
    "cost_nano": 8240,
    "cost_usd": "0.000008240",
}
USAGE = {
    "totals": FIGURES,
    "by_day": [
        {"day": "2026-11-19", **FIGURES, "cost_nano": 4120},
        {"day": "2026-11-20", **FIGURES},
        {"day": "2026-11-21", **FIGURES, "cost_nano": 1},
        {"day": "2026-11-22", **FIGURES, "cost_nano": 0},
    ],
    "by_tenant": [{"tenant": "default", **FIGURES}],
    "by_key": [{"key": "abc", "name": "first\x1b[31m", "tenant": "default", **FIGURES}],
    "by_model": [{"model": "[bold]chat[/bold]", **FIGURES}],
    "by_deployment": [{"deployment": "mini", **FIGURES}],
    "by_user": [{"user": "default/ann", **FIGURES}],
    "by_tag": [{"tag": "team=search", **FIGURES}],
}
REQUEST: dict[str, Any] = {
    "id": "r-1",
    "at": "2026-01-02T03:04:05.000006Z",
    "key": "abc",
    "tenant": "default",
    "model": "chat",
    "deployment": "mini",
    "status": 200,
    "outcome": "answered",
    "input_tokens": 9,
    "output_tokens": 2,
    "cost_usd": "0.000000220",
    "first_content_ms": None,
    "error": "",
    "explanation": [{"step": "identity", "decision": "key abc"}, {"step": "route", "decision": "mini\x1b[2J"}],
}
STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "uptime_s": 3725.4,
    "stack": {"source": "built-in", "version": 3, "error": None, "restart_needed": []},
    "gateway": {"listen": ["127.0.0.1:8080"], "ops": "127.0.0.1:8082", "workers": 2},
    "models": [
        {
            "name": "chat",
            "targets": [{"deployment": "mini", "weight": 3.0}, {"deployment": "large", "weight": 1.0}],
            "fallback": ["large"],
        }
    ],
    "deployments": [
        {"name": "mini", "provider": "openai", "model": "mini", "engine": True, "seats": 16, "queue": 64},
        {"name": "large", "provider": "openai", "model": "gpt-4o-mini", "engine": False, "seats": 64, "queue": 64},
    ],
    "replicas": [
        {"name": "mini/0", "deployment": "mini", "version": "1", "state": "failed", "generation": 1, "pid": 0,
         "detail": "weights are not GGUF"},
    ],
    "ledger": {"segments": 1, "backlog_bytes": 0},
    "processes": {"control": 12, "node": 11},
}  # fmt: skip


def key(key_id: str, **fields: object) -> dict[str, Any]:
    return {
        "id": key_id, "kind": "client", "name": "laptop", "tenant": "default", "models": None,
        "created_at": "2026-01-02T03:04:05.678901Z", "revoked_at": None, **fields,
    }  # fmt: skip


def test_a_key_goes_to_standard_output_alone(admin: Fake, run: Run) -> None:
    admin.routes["POST /admin/v1/keys"] = Answer({**key("abc"), "key": "sk-ps-abc-s"}, status=201)
    result = run("keys", "create", "--name", "laptop", "--tenant", "acme", "--model", "chat", "--model", "large")
    assert (result.exit_code, result.stdout) == (0, "sk-ps-abc-s\n")
    assert "shown this once" in result.stderr
    wanted = {"name": "laptop", "tenant": "acme", "models": ["chat", "large"], "kind": "client"}
    assert admin.calls[0].json() == wanted


def test_an_admin_key_and_json(admin: Fake, run: Run) -> None:
    made = {**key("abc", kind="admin"), "key": "sk-psadmin-abc-s"}
    admin.routes["POST /admin/v1/keys"] = Answer(made, status=201)
    assert json.loads(run("keys", "create", "--admin", "--json").stdout) == made
    assert admin.calls[0].json() == {"name": "", "kind": "admin"}


def test_a_tenant_that_a_key_makes_is_told(admin: Fake, run: Run) -> None:
    made = {**key("abc"), "key": "sk-ps-abc-s", "tenant": "nope"}
    for new_tenant in (True, False):
        admin.routes["POST /admin/v1/keys"] = Answer({**made, "new_tenant": new_tenant}, status=201)
        told = "The tenant nope is new and may use all models" in run("keys", "create", "--tenant", "nope").stderr
        assert told is new_tenant


def test_keys_are_listed_over_all_pages(admin: Fake, run: Run) -> None:
    admin.routes["GET /admin/v1/keys"] = Answer({"keys": [key("abc"), key("def")], "next": "d ef"})
    admin.routes["GET /admin/v1/keys?after=d+ef"] = Answer({"keys": [key("ghi", models=["chat"])], "next": None})
    lines = run("keys", "list").stdout.splitlines()
    assert lines[0].split() == ["ID", "FOR", "NAME", "TENANT", "MODELS", "MADE", "ENDS"]
    assert [line.split()[0] for line in lines[1:]] == ["abc", "def", "ghi"]
    assert lines[1].split()[1:] == ["client", "laptop", "default", "all", "2026-01-02", "03:04:05", "-"]
    assert lines[3].split()[4] == "chat"
    assert [row["id"] for row in json.loads(run("keys", "list", "--json").stdout)["keys"]] == ["abc", "def", "ghi"]


def test_a_key_has_bounds_and_an_end(admin: Fake, run: Run) -> None:
    admin.routes["POST /admin/v1/keys"] = Answer({**key("abc"), "key": "sk-ps-abc-s"}, status=201)
    bounds = ["--operation", "chat", "--network", "10.0.0.0/8", "--network", "::1/128", "--expires", "2027-01-31"]
    assert run("keys", "create", *bounds).exit_code == 0
    assert admin.calls[0].json() == {
        "name": "", "kind": "client", "operations": ["chat"], "networks": ["10.0.0.0/8", "::1/128"],
        "expires_at": "2027-01-31T00:00:00",
    }  # fmt: skip
    assert run("keys", "create", "--admin", "--role", "viewer", "--tenant", "acme", "--expires", "30d").exit_code == 0
    wanted = admin.calls[1].json()
    ends = datetime.fromisoformat(wanted.pop("expires_at"))
    assert timedelta(days=29) < ends - datetime.now(UTC) <= timedelta(days=30)
    assert wanted == {"name": "", "kind": "admin", "role": "viewer", "tenant": "acme"}
    for arguments in (["--role", "viewer"], ["--expires", "soon"], ["--expires", "99999999d"], ["--expires", "30"]):
        assert run("keys", "create", *arguments).exit_code == 2


def test_a_key_is_rotated(admin: Fake, run: Run) -> None:
    admin.routes["POST /admin/v1/keys/abc/rotate"] = Answer({**key("def"), "key": "sk-ps-def-s"}, status=201)
    assert run("keys", "rotate", "abc").stdout == "sk-ps-def-s\n"
    assert run("keys", "rotate", "abc", "--overlap", "10m", "--json").exit_code == 0
    assert [call.json() for call in admin.calls] == [{"overlap_s": 86_400}, {"overlap_s": 600}]


def test_tenants(admin: Fake, run: Run) -> None:
    acme = {"id": "acme", "models": ["chat", "large"], "created_at": "2026-01-02T03:04:05Z", "suspended_at": None}
    other = {**acme, "id": "other", "models": None, "suspended_at": "2026-01-02T03:04:05Z"}
    admin.routes["GET /admin/v1/tenants"] = Answer({"tenants": [acme, other]})
    admin.routes["POST /admin/v1/tenants"] = Answer(acme, status=201)
    admin.routes["PATCH /admin/v1/tenants/acme"] = Answer(acme)
    shown = [line.split() for line in run("tenants", "list").stdout.splitlines()]
    assert shown == [["TENANT", "MODELS", "STATE"], ["acme", "chat,", "large", "-"], ["other", "all", "suspended"]]
    assert run("tenants", "create", "acme", "--model", "chat").stderr == "The tenant acme is made.\n"
    assert run("tenants", "suspend", "acme").stderr == "The tenant acme is suspended.\n"
    assert run("tenants", "resume", "acme").stderr == "The tenant acme is let in again.\n"
    assert json.loads(run("tenants", "models", "acme", "--json").stdout) == acme
    assert [call.json() for call in admin.calls[1:]] == [
        {"id": "acme", "models": ["chat"]}, {"suspended": True}, {"suspended": False}, {"models": None},
    ]  # fmt: skip


def test_a_key_is_revoked(admin: Fake, run: Run) -> None:
    admin.routes["DELETE /admin/v1/keys/abc"] = Answer(status=204)
    result = run("keys", "revoke", "abc")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "The key abc is revoked.\n")
    result = run("keys", "revoke", "abc", "--json")
    assert (json.loads(result.stdout), result.stderr) == ({"id": "abc", "revoked": True}, "")


def test_an_unknown_key_cannot_be_revoked(admin: Fake, run: Run) -> None:
    admin.routes["DELETE /admin/v1/keys/..%2Fx"] = Answer({"error": {"message": "there is no valid key"}}, status=404)
    result = run("keys", "revoke", "../x")
    assert (result.exit_code, result.stderr) == (1, "Error: there is no valid key\n")


def test_usage(admin: Fake, run: Run) -> None:
    admin.routes["GET /admin/v1/usage"] = Answer(USAGE)
    shown = run("usage").stdout
    total, by_day, by_key, by_model = (part.splitlines() for part in shown.strip().split("\n\n"))
    assert [line.split()[6:] for line in by_day[1:]] == [["█" * 15], ["█" * 30], ["▏"], []]
    assert total[1].split() == ["all", "12", "1", "345", "67", "0.000008240"]
    assert by_key[1].split() == ["abc", "first\\x1b[31m", "12", "1", "345", "67", "0.000008240"]
    assert by_model[1].split()[0] == "[bold]chat[/bold]"
    assert json.loads(run("usage", "--json").stdout) == USAGE
    assert admin.calls[-1].path == "/admin/v1/usage?limit=30"
    shown = run("usage", "--by", "tenant", "--by", "deployment", "--since", "2026-11-01", "--key", "a&b").stdout
    assert [part.split()[0] for part in shown.strip().split("\n\n")] == ["TOTAL", "TENANT", "DEPLOYMENT"]
    assert admin.calls[-1].path == "/admin/v1/usage?since=2026-11-01T00%3A00%3A00&key=a%26b&limit=30"
    shown = run("usage", "--by", "user", "--by", "tag", "--tag", "team=search", "--user", "default/ann").stdout
    assert [part.split()[0] for part in shown.strip().split("\n\n")] == ["TOTAL", "USER", "TAG"]
    assert admin.calls[-1].path == "/admin/v1/usage?user=default%2Fann&tag=team%3Dsearch&limit=30"
    assert run("usage", "--since", "yesterday").exit_code == 2


def test_usage_whose_cost_is_not_known_is_told_apart(admin: Fake, run: Run) -> None:
    unpriced = {**FIGURES, "unpriced": 5}
    admin.routes["GET /admin/v1/usage"] = Answer({**USAGE, "totals": unpriced, "by_model": [{"model": "m", **FIGURES}]})
    result = run("usage", "--by", "model")
    total, by_model = (part.splitlines() for part in result.stdout.strip().split("\n\n"))
    assert total[0].split()[-2:] == ["USD", "UNPRICED"]
    assert total[1].split()[-2:] == ["0.000008240", "5"]
    assert by_model[1].split()[-1] == "0"
    assert "5 of these requests is not known" in result.stderr


def test_usage_that_was_free_is_plotted_by_requests(admin: Fake, run: Run) -> None:
    free = {**FIGURES, "cost_nano": 0}
    days = [{"day": "2026-11-19", **free}, {"day": "2026-11-20", **free, "requests": 3}]
    admin.routes["GET /admin/v1/usage"] = Answer({**USAGE, "by_day": days})
    lines = run("usage", "--by", "day").stdout.strip().split("\n\n")[1].splitlines()
    assert lines[0].endswith("REQUESTS BY DAY")
    assert [line.split()[6] for line in lines[1:]] == ["█" * 30, "█" * 7 + "▌"]


def test_a_cost_that_is_not_known_is_said_to_be(admin: Fake, run: Run) -> None:
    unknown = {**REQUEST, "cost_nano": None, "cost_usd": None, "tags": {"env": "prod", "team": "search"}}
    admin.routes["GET /admin/v1/requests/r-1"] = Answer(unknown)
    facts = [line.split(maxsplit=1) for line in run("explain", "r-1").stdout.splitlines()]
    assert ["cost_usd", "unknown"] in facts
    assert ["tags", "env=prod, team=search"] in facts
    admin.routes["GET /admin/v1/requests"] = Answer({"requests": [unknown], "next": None})
    assert run("explain").stdout.splitlines()[1].split()[-1] == "unknown"


def test_explain(admin: Fake, run: Run) -> None:
    admin.routes["GET /admin/v1/requests/r-1"] = Answer(REQUEST)
    shown = run("explain", "r-1").stdout
    facts, steps = (part.splitlines() for part in shown.strip().split("\n\n"))
    assert ["deployment", "mini"] in [fact.split() for fact in facts]
    assert not any(fact.startswith(("error", "first_content_ms")) for fact in facts)
    assert [step.split()[0] for step in steps] == ["STEP", "identity", "route"]
    assert "mini\\x1b[2J" in steps[2]
    assert json.loads(run("explain", "r-1", "--json").stdout) == REQUEST


def test_explain_of_an_unknown_request(admin: Fake, run: Run) -> None:
    result = run("explain", "r/2")
    assert result.exit_code == 1
    assert admin.calls[0].path == "/admin/v1/requests/r%2F2"


def test_explain_lists_the_latest(admin: Fake, run: Run) -> None:
    admin.routes["GET /admin/v1/requests"] = Answer({"requests": [REQUEST], "next": None})
    lines = run("explain").stdout.splitlines()
    assert lines[1].split()[0] == "r-1"
    assert "9+2" in lines[1].split()


def test_status(admin: Fake, run: Run) -> None:
    admin.routes["GET /admin/v1/status"] = Answer(STATUS)
    result = run("status")
    top, models, deployments, replicas = (part.splitlines() for part in result.stdout.strip().split("\n\n"))
    assert top[0] == "penstock 0.1.0, control up 1 h 2 min, stack: built-in v3"
    assert models[1].split() == ["chat", "mini", "3,", "large", "1", "large"]
    assert [line.split()[:2] for line in deployments[1:]] == [["mini", "engine"], ["large", "openai"]]
    assert replicas[1].split(maxsplit=3) == ["mini/0", "failed", "-", "weights are not GGUF"]
    assert result.stderr == ""
    assert json.loads(run("status", "--json").stdout) == STATUS


def test_status_tells_of_a_refused_file(admin: Fake, run: Run) -> None:
    stack = {"source": "p.yaml", "version": 3, "error": "p.yaml:2: unknown key", "restart_needed": ["gateway.listen"]}
    admin.routes["GET /admin/v1/status"] = Answer({**STATUS, "stack": stack})
    result = run("status")
    assert result.exit_code == 0
    assert "p.yaml:2: unknown key" in result.stderr
    assert "gateway.listen" in result.stderr


def test_status_tells_of_counters_and_hosts_that_are_not_heard_of(admin: Fake, run: Run) -> None:
    counters = {"kind": "redis", "reachable": False, "detail": "ConnectionRefusedError"}
    away = {**STATUS, "counters": counters, "hosts": {"reporting": 2, "silent": 1}}
    admin.routes["GET /admin/v1/status"] = Answer(away)
    result = run("status")
    assert "hosts elsewhere: 2 report, 1 silent" in result.stdout
    assert "redis cannot be reached: ConnectionRefusedError" in result.stderr


def test_models(gateway: Fake, run: Run) -> None:
    rows = [{"id": "chat", "object": "model", "owned_by": "penstock"}]
    gateway.routes["GET /v1/models"] = Answer({"object": "list", "data": rows})
    assert run("models").stdout.splitlines()[1].split() == ["chat", "penstock"]
    assert json.loads(run("models", "--json").stdout) == rows


COMMANDS = [
    ["status"],
    ["usage"],
    ["explain"],
    ["explain", "r-1"],
    ["keys", "list"],
    ["keys", "create"],
    ["keys", "revoke", "abc"],
    ["keys", "rotate", "abc"],
    ["tenants", "list"],
    ["tenants", "create", "acme"],
    ["tenants", "suspend", "acme"],
    ["models"],
    ["chat", "-m", "Hi"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_when_nothing_runs(run: Run, command: list[str]) -> None:
    result = run(*command)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: nothing answers at ")
    assert result.stderr.count("\n") == 1
    assert "penstock up" in result.stderr


@pytest.mark.parametrize("command", [c for c in COMMANDS if "revoke" not in c], ids=" ".join)
@pytest.mark.parametrize("value", [None, [], {}, {"keys": 1, "data": 2, "requests": {}, "explanation": [1]}])
def test_an_answer_of_another_shape(admin: Fake, gateway: Fake, run: Run, command: list[str], value: object) -> None:
    admin.other = gateway.other = Answer(value)
    result = run(*command)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1


def test_another_machine_gets_the_admin_key(remote: Remote, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def usage(call: Call) -> Answer:
        if call.headers.get("Authorization") != "Bearer sk-psadmin-1":
            return Answer({"error": {"message": "this admin key is not valid"}}, status=401)
        return Answer(USAGE)

    remote.fake.routes["GET /admin/v1/usage"] = usage
    monkeypatch.setenv("PENSTOCK_ADMIN_KEY", "sk-psadmin-1")
    assert json.loads(run("usage", "--json", "--url", remote.url).stdout) == USAGE
    monkeypatch.setenv("PENSTOCK_ADMIN_KEY", "wrong")
    result = run("usage", "--url", remote.url)
    assert (result.exit_code, result.stderr) == (1, "Error: this admin key is not valid\n")


@pytest.mark.parametrize("arguments", [[], ["--nope"], ["nope"], ["keys"], ["keys", "revoke"], ["usage", "--url", "x"]])
def test_wrong_usage_is_code_2(run: Run, arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_version(run: Run) -> None:
    assert run("--version").stdout == run("version").stdout
    assert run("version").stdout.startswith("penstock 0.")
