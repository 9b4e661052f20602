import os
from pathlib import Path

from penstock import __version__
from penstock.journal.shipping import Report
from penstock.snapshot.file import publish
from penstock.snapshot.fleet import Fleet, Replica, ReplicaState
from tests.control.admin.api import NONCE, Api, with_api
from tests.records.exchanges import settled

STATUS = "/admin/v1/status"


def test_what_is_wanted_is_shown(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        status = await api.get(STATUS)
        assert status["version"] == __version__
        assert status["uptime_s"] >= 0
        assert status["stack"] == {"source": "built-in", "version": 1, "error": None, "restart_needed": []}
        assert status["gateway"] == {"listen": ["127.0.0.1:8080"], "ops": "127.0.0.1:8082", "workers": 1}
        assert status["models"] == [
            {"name": name, "targets": [{"deployment": deployment, "weight": 1.0}], "fallback": []}
            for name, deployment in (("chat", "mini"), ("mini", "mini"), ("base", "base"))
        ]
        assert [(one["name"], one["engine"]) for one in status["deployments"]] == [("mini", True), ("base", True)]
        assert status["replicas"] == []
        assert status["processes"] == {"control": os.getpid(), "node": None}

    with_api(tmp_path, case)


def test_what_runs_is_shown(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        replica = Replica("mini/0", "mini", "abcd1234", ReplicaState.STARTING, "/run/mini-0.sock", 3, 4711, "loading")
        publish(api.home.snapshot, Fleet(7, (replica,)))
        api.home.node_lock.write_text("99\n")
        for _ in range(2):
            status = await api.get(STATUS)
            assert status["replicas"] == [
                {
                    "name": "mini/0",
                    "deployment": "mini",
                    "version": "abcd1234",
                    "state": "starting",
                    "generation": 3,
                    "pid": 4711,
                    "detail": "loading",
                }
            ]
            assert status["processes"]["node"] == 99
        (api.home.snapshot / "fleet.msgpack").write_bytes(b"\xff")  # not one this control understands
        assert len((await api.get(STATUS))["replicas"]) == 1

    with_api(tmp_path, case)


def test_how_far_the_ledger_is_behind_is_shown(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        api.write(settled(1))
        assert (await api.get(STATUS))["ledger"]["backlog_bytes"] > 0
        await api.get("/admin/v1/usage")
        assert (await api.get(STATUS))["ledger"] == {"segments": 1, "backlog_bytes": 0}

    with_api(tmp_path, case)


def test_counters_and_hosts_are_shown(tmp_path: Path) -> None:
    async def case(api: Api) -> None:
        status = await api.get("/admin/v1/status")
        assert status["counters"] == {"kind": "local", "reachable": True, "detail": ""}
        assert status["hosts"] == {"reporting": 0, "silent": 0}
        for host in ("0123456789ab", "ba9876543210"):
            await api.hosts.report(host, Report(1, "elsewhere", "1.0", (), control=NONCE))
        assert (await api.get("/admin/v1/status"))["hosts"] == {"reporting": 2, "silent": 0}
        api.silence("ba9876543210")
        assert (await api.get("/admin/v1/status"))["hosts"] == {"reporting": 1, "silent": 1}

    with_api(tmp_path, case)


def test_where_the_stack_comes_from_is_shown(tmp_path: Path) -> None:
    stack = tmp_path / "penstock.yaml"
    stack.write_text("version: 1\ngateway: {listen: '[::1]:0', workers: 2}\n")

    async def case(api: Api) -> None:
        status = await api.get(STATUS)
        assert status["stack"]["source"] == str(stack)
        assert status["gateway"] == {"listen": ["[::1]:0"], "ops": "127.0.0.1:8082", "workers": 2}
        assert (status["models"], status["deployments"]) == ([], [])

    with_api(tmp_path, case, stack)
