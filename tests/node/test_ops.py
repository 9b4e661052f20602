from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from penstock.http.server import Server
from penstock.node.metrics import Totals
from penstock.node.ops import LIMITS, Ops, Situation, refuse, verdict
from penstock.node.supervisor import Status
from penstock.snapshot.fleet import EngineSpec, Replica, ReplicaState
from penstock.telemetry.link import Metrics
from tests.node.conftest import run

UP = Status("gateway 0", 11, True, 0, "")
DOWN = Status("gateway 1", 0, False, 3, "exit code 1; starting again in 0.4 s")
SPEC = EngineSpec("mini", "a", "llama.cpp", "/w", 1, 512, 2)


def replica(state: ReplicaState, deployment: str = "mini") -> Replica:
    return Replica(f"{deployment}/0", deployment, "a", state, "/s.sock", 4, 99, "a detail")


READY, WEDGED = replica(ReplicaState.READY), replica(ReplicaState.WEDGED)


def situation(
    gateways: tuple[Status, ...] | None = (UP,),
    control: Status | None = UP,
    wanted: tuple[EngineSpec, ...] = (SPEC,),
    replicas: tuple[Replica, ...] = (READY,),
    *,
    stopping: bool = False,
) -> Situation:
    return Situation(gateways, control, wanted, replicas, stopping)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (situation(), ""),
        (situation(gateways=(UP, DOWN)), ""),
        (situation(gateways=(DOWN,)), "no gateway worker is ready"),
        (situation(gateways=()), "no gateway worker is ready"),
        (situation(gateways=None), ""),
        (situation(control=DOWN), ""),
        (situation(replicas=(WEDGED,)), "no engine has a ready replica"),
        (situation(replicas=(replica(ReplicaState.READY, "other"),)), "no engine has a ready replica"),
        (situation(replicas=()), "no engine has a ready replica"),
        (situation(wanted=(), replicas=()), ""),
        (situation(stopping=True), "stopping"),
    ],
)
def test_the_verdict(case: Situation, reason: str) -> None:
    assert verdict(case) == reason


async def get(
    path: str, case: Situation, request: str = "GET {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
) -> Any:
    totals = Totals()
    totals.update("gateway 0", Metrics([("penstock_requests", "", "counter", [("penstock_requests_total", {}, 7.0)])]))
    handler = Ops(lambda: case, totals, lambda: [("mini", 2)])
    server = Server(handler.answer, refuse, LIMITS)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    await server.listen(listener)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request.format(path).encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
    finally:
        await server.drain(1)
    return int(head.split()[1]), head.lower(), body


def test_readyz_names_each_dependency() -> None:
    status, head, body = run(get("/readyz", situation(gateways=(UP, DOWN), control=DOWN)))
    assert status == 200
    assert "content-type: application/json" in head
    assert json.loads(body) == {
        "ready": True,
        "reason": "",
        "gateways": {"workers": 2, "alive": 1, "ready": 1, "details": [DOWN.detail]},
        "control": {"alive": False, "ready": False, "detail": DOWN.detail},
        "engines": [{"deployment": "mini", "wanted": 1, "ready": 1}],
        "replicas": [
            {
                "name": "mini/0",
                "deployment": "mini",
                "version": "a",
                "generation": 4,
                "state": "ready",
                "detail": "a detail",
            }
        ],
    }
    status, _, body = run(get("/readyz", situation(replicas=(WEDGED,))))
    assert status == 503
    assert json.loads(body)["reason"] == "no engine has a ready replica"


def test_metrics_are_those_of_the_children_and_the_nodes_own() -> None:
    status, head, body = run(get("/metrics", situation(gateways=(UP, DOWN))))
    assert status == 200
    assert "text/plain; version=0.0.4" in head
    lines = body.splitlines()
    for line in (
        "penstock_requests_total 7.0",
        'penstock_process_up{process="gateway 0"} 1.0',
        'penstock_process_up{process="gateway 1"} 0.0',
        'penstock_process_restarts_total{process="gateway 1"} 3.0',
        'penstock_replicas{deployment="mini",state="ready"} 1.0',
        'penstock_replicas{deployment="mini",state="wedged"} 0.0',
        'penstock_replicas_wanted{deployment="mini"} 1.0',
        'penstock_engine_restarts_total{deployment="mini"} 2.0',
    ):
        assert line in lines


def test_other_requests() -> None:
    assert run(get("/livez", situation(gateways=())))[::2] == (200, "ok\n")
    assert run(get("/", situation()))[0] == 404
    assert run(get("/metrics", situation(), "DELETE {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))[0] == 405
    assert run(get("/metrics", situation(), "GET {} HTTP/1.1\r\nno host here\r\n\r\n"))[0] == 400
    big = "GET {} HTTP/1.1\r\nhost: x\r\n" + f"x: {'y' * 20_000}\r\n\r\n"
    assert run(get("/metrics", situation(), big))[0] == 431


def test_it_is_not_ready_before_it_is_known_which_engines_are_to_run() -> None:
    starting = Status("control", 12, False, 0, "starting")
    assert verdict(Situation((UP,), starting, (), (), stopping=False, informed=False))
    assert verdict(Situation((UP,), None, (), (), stopping=False, informed=False))
    assert not verdict(Situation((UP,), starting, (), (), stopping=False, informed=True))
