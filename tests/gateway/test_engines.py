"""Replicas of an engine deployment, as the fleet tells them: here the lab on Unix sockets."""

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import msgspec
import pytest

from penstock.journal.records import Opened, Settled
from penstock.snapshot.config import Balance, Deployment
from penstock.snapshot.fleet import Fleet, Replica, ReplicaState
from penstock.types.dialect import Dialect
from tests.gateway.test_serve import order
from tests.processes import PRICE, Child, Front, eventually, model


class UnixLab(Child):
    """The lab upstream on a Unix socket, as an engine would be."""

    def __init__(self, path: Path, *extra: str) -> None:
        super().__init__([sys.executable, "-m", "penstock.lab.upstream", "--listen", f"unix:{path}", "--json", *extra])
        assert self.line()
        self.path = path


def deployment(seats: int = 8, balance: Balance = Balance.LEAST_OUTSTANDING) -> Deployment:
    return Deployment("mini", "openai", "mini", engine=True, price=PRICE, seats=seats, queue=64, balance=balance)


class Engines:
    """A gateway whose only deployment is an engine, and the fleet that the test publishes."""

    def __init__(self, home: Path, stack: ExitStack, **fields: float) -> None:
        self.home = home
        self.stack = stack
        self.sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ps-")))  # a socket's path is short
        self.front = stack.enter_context(Front(home))
        self.front.publish([deployment()], [model("chat", "mini", **fields)])
        self.version = 0

    def lab(self, name: str, *extra: str) -> UnixLab:
        return self.stack.enter_context(UnixLab(self.sockets / f"{name}.sock", *extra))

    def publish(self, *replicas: tuple[str, ReplicaState, Path | None, str]) -> None:
        self.version += 1
        found = [
            Replica(f"mini/{number}", "mini", "v", state, str(path or self.home / "none.sock"), self.version, 0, detail)
            for number, (_, state, path, detail) in enumerate(replicas)
        ]
        self.front.publish_fleet(Fleet(self.version, tuple(found)))


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[Engines]:
    with ExitStack() as stack:
        yield Engines(tmp_path, stack)


def replica_of(engines: Engines, request_id: str) -> str:
    return dict(engines.front.settled(request_id).explanation).get("upstream", "").partition(" ")[0]


def test_idle_replicas_share_the_work(engines: Engines) -> None:
    first, second = engines.lab("a"), engines.lab("b")
    engines.publish(("a", ReplicaState.READY, first.path, ""), ("b", ReplicaState.READY, second.path, ""))
    used = eventually(lambda: _both(engines), "both replicas being used")
    assert used == {"mini/0", "mini/1"}


def _both(engines: Engines) -> set[str] | None:
    used = {replica_of(engines, engines.front.chat().headers["x-request-id"]) for _ in range(4)} - {""}
    return used if len(used) == 2 else None


def _more(engines: Engines, used: set[str]) -> set[str]:
    """Ask once more, and add the replica that answers."""
    used.add(replica_of(engines, engines.front.chat().headers["x-request-id"]))
    return used


def _busy(engines: Engines) -> socket.socket:
    """Keep one replica busy for as long as the connection lasts."""
    content = 'lab: {"stall": "before_head"}'
    body = json.dumps({"model": "chat", "messages": [{"role": "user", "content": content}]})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {engines.front.key}\r\n"
    connection = socket.create_connection(("127.0.0.1", engines.front.port))
    connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
    return connection


def _in_progress(engines: Engines) -> set[str]:
    records = engines.front.journal()
    opened = {record.id for record in records if isinstance(record, Opened)}
    return opened - {record.id for record in records if isinstance(record, Settled)}


@pytest.mark.parametrize(("balance", "used"), [(Balance.LEAST_OUTSTANDING, 1), (Balance.ROUND_ROBIN, 2)])
def test_a_deployment_is_balanced_as_it_says(engines: Engines, balance: Balance, used: int) -> None:
    engines.front.publish([deployment(balance=balance)], [model("chat", "mini")])
    first, second = engines.lab("a"), engines.lab("b")
    engines.publish(("a", ReplicaState.READY, first.path, ""), ("b", ReplicaState.READY, second.path, ""))
    eventually(lambda: _both(engines), "both replicas being used")
    with _busy(engines):
        eventually(lambda: _in_progress(engines), "it being in progress")
        asked = [replica_of(engines, engines.front.chat().headers["x-request-id"]) for _ in range(4)]
    assert len(set(asked)) == used


def test_thoughts_go_back_to_the_replica_that_sealed_them(engines: Engines) -> None:
    native = msgspec.structs.replace(deployment(balance=Balance.ROUND_ROBIN), speaks=(Dialect.RESPONSES, Dialect.CHAT))
    engines.front.publish([native], [model("chat", "mini")])
    first, second = engines.lab("a"), engines.lab("b")
    engines.publish(("a", ReplicaState.READY, first.path, ""), ("b", ReplicaState.READY, second.path, ""))
    eventually(lambda: _both(engines), "both replicas being used")
    sealing = {"model": "chat", "store": False, "include": ["reasoning.encrypted_content"]}
    opening = engines.front.client.post("/v1/responses", json={**sealing, "input": order(thinking=3)})
    said = [*opening.json()["output"][:1], {"role": "user", "content": "again"}]
    answers = [engines.front.client.post("/v1/responses", json={**sealing, "input": said}) for _ in range(4)]
    assert [answer.headers.get("x-penstock-dropped", "") for answer in answers] == [""] * 4
    home = replica_of(engines, opening.headers["x-request-id"])
    assert {replica_of(engines, answer.headers["x-request-id"]) for answer in answers} == {home}
    engines.publish(*(
        (name, ReplicaState.FAILED if f"mini/{number}" == home else ReplicaState.READY, lab.path, "")
        for number, (name, lab) in enumerate((("a", first), ("b", second)))
    ))  # fmt: skip
    left = eventually(lambda: _without(engines, {**sealing, "input": said}), "another being asked")
    assert left == "input.reasoning"


def test_a_response_is_had_again_from_the_replica_that_keeps_it(engines: Engines) -> None:
    native = msgspec.structs.replace(deployment(balance=Balance.ROUND_ROBIN), speaks=(Dialect.RESPONSES, Dialect.CHAT))
    engines.front.publish([native], [model("chat", "mini")])
    first, second = engines.lab("a"), engines.lab("b")
    engines.publish(("a", ReplicaState.READY, first.path, ""), ("b", ReplicaState.READY, second.path, ""))
    eventually(lambda: _both(engines), "both replicas being used")
    client, homes = engines.front.client, {}
    for _ in range(4):
        opening = client.post("/v1/responses", json={"model": "chat", "input": "hello"})
        name = opening.json()["id"]
        homes[name] = replica_of(engines, opening.headers["x-request-id"])
        again = client.get(f"/v1/responses/{name}")
        assert (again.status_code, replica_of(engines, again.headers["x-request-id"])) == (200, homes[name])
    assert set(homes.values()) == {"mini/0", "mini/1"}
    engines.publish(("a", ReplicaState.STARTING, None, ""), ("b", ReplicaState.READY, second.path, ""))
    away = next(name for name, home in homes.items() if home == "mini/0")
    gone = eventually(lambda: _refused(engines, f"/v1/responses/{away}"), "the change")
    assert (gone.status_code, gone.json()["error"]["code"]) == (503, "overloaded")
    assert dict(engines.front.settled(gone.headers["x-request-id"]).explanation)["replica"] == "mini/0 is not ready"


@pytest.mark.parametrize(("replicas", "broken", "times"), [(2, 1, 8), (4, 3, 2)])
def test_who_goes_on_at_broken_replicas_shuts_none_out_of_the_others(
    engines: Engines, replicas: int, broken: int, times: int
) -> None:
    """They can go nowhere else; that says nothing of the deployment, whose breaker is for everybody."""
    native = msgspec.structs.replace(deployment(balance=Balance.ROUND_ROBIN), speaks=(Dialect.RESPONSES, Dialect.CHAT))
    engines.front.publish([native], [model("chat", "mini")])
    labs = [engines.lab(str(number)) for number in range(replicas)]
    engines.publish(*(("", ReplicaState.READY, lab.path, "") for lab in labs))
    client, names = engines.front.client, dict[str, str]()

    def opened() -> bool:
        opening = client.post("/v1/responses", json={"model": "chat", "input": "hello"})
        if opening.is_success:
            names[replica_of(engines, opening.headers["x-request-id"])] = opening.json()["id"]
        return len(names) == replicas

    def order_all(*rules: object) -> None:
        for lab in labs[:broken]:
            with httpx.Client(base_url="http://lab", transport=httpx.HTTPTransport(uds=str(lab.path))) as ordering:
                ordering.post("/lab/script", json=rules).raise_for_status()

    eventually(opened, "all replicas being used")
    order_all({"order": {"status": 500}})
    for number in range(broken):
        going_on = {"model": "chat", "input": "and?", "previous_response_id": names[f"mini/{number}"]}
        assert {client.post("/v1/responses", json=going_on).status_code for _ in range(times)} == {502}
    order_all()
    assert engines.front.chat().status_code == 200


def _refused(engines: Engines, path: str) -> httpx.Response | None:
    answer = engines.front.client.get(path)
    return None if answer.is_success else answer


def _without(engines: Engines, body: dict[str, object]) -> str | None:
    """Return what is left out for the replica that is asked."""
    found: str | None = engines.front.client.post("/v1/responses", json=body).headers.get("x-penstock-dropped")
    return found


def test_a_slow_replica_is_left_alone_once_that_is_known(engines: Engines, tmp_path: Path) -> None:
    engines.front.publish([deployment(balance=Balance.PEAK_EWMA)], [model("chat", "mini")])
    script = tmp_path / "slow.yaml"
    script.write_text("rules: [{order: delay=1s}]")
    quick, slow = engines.lab("a"), engines.lab("b", "--script", str(script))
    engines.publish(("a", ReplicaState.READY, quick.path, ""), ("b", ReplicaState.READY, slow.path, ""))
    used = set[str]()  # of all: the slow one answers once, and may be the first to be ready
    eventually(lambda: _more(engines, used) >= {"mini/0", "mini/1"}, "both replicas being used")
    asked = [replica_of(engines, engines.front.chat().headers["x-request-id"]) for _ in range(6)]
    assert asked == ["mini/0"] * 6


def test_only_ready_replicas_are_used(engines: Engines) -> None:
    first, second = engines.lab("a"), engines.lab("b")
    engines.publish(("a", ReplicaState.DRAINING, first.path, ""), ("b", ReplicaState.READY, second.path, ""))
    assert eventually(lambda: engines.front.chat().status_code == 200)
    for _ in range(6):
        assert replica_of(engines, engines.front.chat().headers["x-request-id"]) == "mini/1"


def test_an_exchange_waits_for_a_replica_that_is_starting(engines: Engines) -> None:
    engines.publish(("a", ReplicaState.STARTING, None, "loading"))
    lab = engines.lab("a")
    asking = (
        "import sys,httpx; r = httpx.post(sys.argv[1], timeout=60, headers={'authorization': sys.argv[2]},"
        " json={'model': 'chat', 'messages': [{'role': 'user', 'content': 'hi'}]}); print(r.status_code)"
    )
    with Child(
        [sys.executable, "-c", asking, f"{engines.front.url}/v1/chat/completions", f"Bearer {engines.front.key}"]
    ) as caller:
        eventually(lambda: len(_accepted(engines)) > 0, "the request arriving")
        engines.publish(("a", ReplicaState.READY, lab.path, ""))
        assert caller.line().strip() == "200"


def _accepted(engines: Engines) -> list[str]:
    """Return the worker's established connections; the health port of the test has none."""
    out = subprocess.run(["cat", f"/proc/{engines.front.pid}/net/tcp"], capture_output=True, text=True, check=True)
    port = f":{engines.front.port:04X}"
    return [line for line in out.stdout.splitlines()[1:] if line.split()[1].endswith(port) and line.split()[3] == "01"]


def test_waiting_ends_with_the_first_token_time(tmp_path: Path) -> None:
    with ExitStack() as stack:
        engines = Engines(tmp_path, stack, first_token_s=0.3)
        engines.publish(("a", ReplicaState.STARTING, None, "loading"))
        response = engines.front.chat()
        assert response.status_code == 503
        assert response.headers["retry-after"]
        assert "loading" in str(engines.front.settled(response.headers["x-request-id"]).explanation)


def test_a_replica_that_cannot_run_is_said_at_once(engines: Engines) -> None:
    engines.publish(("a", ReplicaState.FAILED, None, "the weights are truncated"))
    response = engines.front.chat()
    explanation = eventually(
        lambda: text if "truncated" in (text := _explained(engines)) else None, "the fleet being followed"
    )
    assert "mini/0 is failed: the weights are truncated" in explanation
    assert response.status_code == 503
    assert engines.front.client.get("/readyz").status_code == 503


def _explained(engines: Engines) -> str:
    return str(engines.front.settled(engines.front.chat().headers["x-request-id"]).explanation)


def test_without_a_node_that_runs_engines_nobody_waits(engines: Engines) -> None:
    response = engines.front.chat()
    assert response.status_code == 503
    assert "no replica has been started" in str(engines.front.settled(response.headers["x-request-id"]).explanation)


def test_a_dead_replicas_exchange_goes_to_the_next_one(engines: Engines) -> None:
    living = engines.lab("b")
    dead = engines.home / "run" / "dead.sock"
    engines.publish(("a", ReplicaState.READY, dead, ""), ("b", ReplicaState.READY, living.path, ""))
    eventually(lambda: engines.front.chat().status_code == 200, "the fleet being followed")
    for _ in range(6):
        assert engines.front.chat().status_code == 200


def test_an_exchange_that_loses_its_engine_is_answered_by_the_next_one(engines: Engines) -> None:
    """The engine dies over the request; nothing has reached the client, so it waits for the successor."""
    first = engines.lab("a")
    engines.publish(("a", ReplicaState.READY, first.path, ""))
    eventually(lambda: engines.front.chat().status_code == 200, "the fleet being followed")
    second = engines.lab("b")
    asking = (
        "import sys,httpx,json; r = httpx.post(sys.argv[1], timeout=60, headers={'authorization': sys.argv[2]},"
        " json=json.loads(sys.argv[3])); print(r.status_code, r.headers['x-request-id'])"
    )
    long = {"model": "chat", "messages": [{"role": "user", "content": order(delay="400ms", content="fine")}]}
    with Child(
        [
            sys.executable, "-c", asking, f"{engines.front.url}/v1/chat/completions",
            f"Bearer {engines.front.key}", json.dumps(long),
        ]
    ) as caller:  # fmt: skip
        eventually(lambda: _opened_not_settled(engines) == 1, "the exchange being dispatched")
        first.stop(9)
        engines.publish(("b", ReplicaState.READY, second.path, ""))
        status, request_id = caller.line().split()
    assert status == "200"
    steps = [step for step, _ in engines.front.settled(request_id).explanation]
    assert steps.count("upstream") == 2, "the loss and the answer are both explained"


def _opened_not_settled(engines: Engines) -> int:
    records = engines.front.journal()
    settled = {record.id for record in records if isinstance(record, Settled)}
    return len({record.id for record in records} - settled)


def test_nonsense_from_a_live_engine_is_told_at_once(engines: Engines) -> None:
    """No successor is coming for an engine that lives."""
    lab = engines.lab("a")
    engines.publish(("a", ReplicaState.READY, lab.path, ""))
    eventually(lambda: engines.front.chat().status_code == 200, "the fleet being followed")
    response = engines.front.chat(order(body="html"))
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "upstream_failed"


def test_a_response_is_gone_on_from_at_the_replica_that_keeps_it(engines: Engines) -> None:
    speaking = msgspec.structs.replace(deployment(), speaks=(Dialect.RESPONSES,))
    labs = [engines.lab(name) for name in "ab"]
    engines.front.publish([speaking], [model("kept", "mini")])

    def publish(*states: ReplicaState) -> None:
        engines.publish(*(("", state, lab.path, "") for state, lab in zip(states, labs, strict=True)))

    def respond(**fields: object) -> httpx.Response:
        return engines.front.client.post("/v1/responses", json={"model": "kept", "input": "hi", **fields})

    publish(ReplicaState.READY, ReplicaState.READY)
    first = eventually(lambda: answer if (answer := respond()).status_code == 200 else None, "the replicas")
    home = replica_of(engines, first.headers["x-request-id"])
    for _ in range(6):
        answer = respond(previous_response_id=first.json()["id"])
        assert (answer.status_code, replica_of(engines, answer.headers["x-request-id"])) == (200, home)
    left = [ReplicaState.FAILED if home == f"mini/{number}" else ReplicaState.READY for number in (0, 1)]
    publish(*left)
    gone = eventually(lambda: answer if (answer := respond(previous_response_id=first.json()["id"])).status_code != 200
                      else None, "the end of its replica")  # fmt: skip
    assert (gone.status_code, gone.json()["error"]["code"]) == (503, "overloaded")
    assert gone.json()["error"]["message"].endswith("no other keeps what this goes on from")
    assert respond().status_code == 200
    publish(*reversed(left))
    eventually(lambda: respond(previous_response_id=first.json()["id"]).status_code == 200, "its return")
