"""
The fault matrix: whatever one of a model's three deployments does wrong, clients notice next to nothing, the upstreams
are hardly asked more often, and nothing is billed twice.

All faults are met at the same time, each over a model of its own; what came of it is judged fault by fault.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import httpx
import msgspec
import pytest
from bench.client import Client, pool
from bench.faults import FAULTS, FIRST_TOKEN_S, NO_HOST, TOTAL_S, Asked, Fault, ask, ask_all, rules

from penstock.journal.records import Settled
from penstock.lab.running import free_port
from penstock.pricing.price import cost_nano
from penstock.snapshot.config import Deployment, Model
from penstock.snapshot.fleet import Fleet, Replica, ReplicaState
from penstock.types.address import Address
from tests.gateway.test_engines import UnixLab
from tests.gateway.test_engines import deployment as engine
from tests.gateway.test_serve import order
from tests.processes import PRICE, Front, Lab, eventually, model, provider

COUNT = 60
MOST_ATTEMPTS = 1.2
DIALECTS: Mapping[str, Mapping[str, Any]] = {"same": {}, "translated": {"provider": "anthropic"}}
"""How the upstreams are spoken to, as fields of their deployments."""

CASES = [
    pytest.param(dialect, fault, stream, id=f"{fault.name}-{'stream' if stream else 'plain'}-{dialect}")
    for dialect in DIALECTS
    for fault in FAULTS
    for stream in fault.kinds
]


def name_of(dialect: str, fault: Fault, stream: bool) -> str:
    return f"{dialect}-{FAULTS.index(fault)}-{'stream' if stream else 'plain'}"


def timed(name: str, *targets: str, **fields: Any) -> Model:
    return model(name, *targets, first_token_s=FIRST_TOKEN_S, total_s=TOTAL_S, **fields)


class Met:
    """What came of meeting all faults."""

    def __init__(self, front: Front, asked: Mapping[str, list[Asked]]) -> None:
        self.asked = asked
        self.settled: dict[str, list[Settled]] = {}
        for record in front.journal():
            if isinstance(record, Settled):
                self.settled.setdefault(record.id, []).append(record)


@pytest.fixture(scope="module")
def met(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Met]:
    with Lab() as lab, Front(tmp_path_factory.mktemp("faults")) as front:
        wheres = {
            "lab": lab.address(),
            "refused": Address(host="127.0.0.1", port=free_port(), path="/v1"),
            "dns": msgspec.structs.replace(lab.address(), host=NO_HOST),
            "tls": msgspec.structs.replace(lab.address(), tls=True),
        }
        kinds: dict[str, tuple[Fault, bool]] = {}
        deployments: list[Deployment] = []
        script: list[dict[str, object]] = []
        for dialect, fields in DIALECTS.items():
            for fault in FAULTS:
                for stream in fault.kinds:
                    name = name_of(dialect, fault, stream)
                    kinds[name] = (fault, stream)
                    script += rules(fault, f"{name}-bad-upstream")
                    deployments.append(provider(f"{name}-bad", wheres[fault.where], **fields))
                    deployments += [provider(f"{name}-{each}", wheres["lab"], **fields) for each in "bc"]
        httpx.post(f"{lab.url}/lab/script", content=json.dumps(script)).raise_for_status()
        front.publish(deployments, [timed(name, *(f"{name}-{each}" for each in ("bad", "b", "c"))) for name in kinds])
        eventually(lambda: front.client.get("/v1/models").json()["data"], "the configuration")
        yield Met(front, asyncio.run(ask_all(front.url, front.key, kinds, COUNT)))


@pytest.mark.parametrize(("dialect", "fault", "stream"), CASES)
def test_clients_notice_no_fault_before_content_and_few_behind_it(
    met: Met, dialect: str, fault: Fault, stream: bool
) -> None:
    asked = met.asked[name_of(dialect, fault, stream)]
    bad = [each for each in asked if not each.good]
    if fault.hidden:
        assert not bad, [(each.status, each.body) for each in bad]
    else:
        assert len(bad) <= 5 + fault.together, "the breaker opens"
        assert all(each.status == 200 and b'"error"' in each.body for each in bad), "and each is told so"


@pytest.mark.parametrize(("dialect", "fault", "stream"), CASES)
def test_upstreams_are_hardly_asked_more_often(met: Met, dialect: str, fault: Fault, stream: bool) -> None:
    asked = met.asked[name_of(dialect, fault, stream)]
    assert sum(each.attempts for each in asked) <= MOST_ATTEMPTS * len(asked)


@pytest.mark.parametrize(("dialect", "fault", "stream"), CASES)
def test_nothing_is_billed_twice(met: Met, dialect: str, fault: Fault, stream: bool) -> None:
    for each in met.asked[name_of(dialect, fault, stream)]:
        (record,) = met.settled[each.id]
        assert record.cost_nano == cost_nano(PRICE, record.usage)
        assert record.deployment == each.headers[b"x-penstock-deployment"].decode()
        if each.good:
            assert (record.outcome, record.usage.output_tokens) == ("answered", 4), "one good answer's words"
        else:
            assert (record.outcome, record.usage.output_tokens) == ("failed", 1), "what was delivered"


@pytest.mark.parametrize(("dialect", "fault", "stream"), CASES)
def test_an_answer_admits_what_it_took(met: Met, dialect: str, fault: Fault, stream: bool) -> None:
    name = name_of(dialect, fault, stream)
    for each in met.asked[name]:
        (record,) = met.settled[each.id]
        steps = [step for step, _ in record.explanation]
        assert (each.attempts > 1) == ("fallback" in steps)
        elsewhere = "fallback" in steps or "breaker" in steps
        assert (each.headers.get(b"x-penstock-degraded") == b"fallback") == elsewhere
    assert fault.name == "none" or any(b"x-penstock-degraded" in each.headers for each in met.asked[name])


def test_with_one_of_three_deployments_dead_clients_see_no_errors(met: Met) -> None:
    """Of all requests whose faults can be hidden; that is more than a thousand."""
    asked = [
        each
        for dialect in DIALECTS
        for fault in FAULTS
        for stream in fault.kinds
        if fault.hidden
        for each in met.asked[name_of(dialect, fault, stream)]
    ]
    assert len(asked) > 1000
    assert sum(not each.good for each in asked) <= len(asked) / 1000


async def flood(front: Front, name: str, *, count: int, together: int) -> list[Asked]:
    async with pool(front.url, together) as connections:
        return await ask(Client(connections, front.key), name, stream=False, count=count, together=together)


def test_half_of_an_engines_replicas_dead(tmp_path_factory: pytest.TempPathFactory) -> None:
    with ExitStack() as stack:
        home = tmp_path_factory.mktemp("half")
        front = stack.enter_context(Front(home))
        living = stack.enter_context(UnixLab(home / "run" / "living.sock"))
        broken = home / "broken.json"
        broken.write_text(json.dumps([{"order": {"status": 500}}]))
        breaking = stack.enter_context(UnixLab(home / "run" / "breaking.sock", "--script", str(broken)))
        front.publish([engine()], [model("chat", "mini")])
        for number, second in enumerate((home / "run" / "nobody.sock", breaking.path)):
            paths = [living.path, second] * 2
            replicas = [
                Replica(f"mini/{4 * number + index}", "mini", "v", ReplicaState.READY, str(path), index)
                for index, path in enumerate(paths)
            ]
            front.publish_fleet(Fleet(number + 1, tuple(replicas)))
            eventually(lambda: front.chat().status_code == 200, "the fleet being followed")
            asked = asyncio.run(flood(front, "chat", count=100, together=2))
            assert all(each.good for each in asked)
            assert sum(each.attempts for each in asked) <= MOST_ATTEMPTS * len(asked)


@pytest.mark.parametrize("end", ["dies", "stalls"])
def test_a_replica_that_fails_under_many_streams_is_no_matter_of_the_others(
    tmp_path_factory: pytest.TempPathFactory, end: str
) -> None:
    """All of them break at once; behind that everything goes to the replica that is well."""
    with ExitStack() as stack:
        home = tmp_path_factory.mktemp("streams")
        front = stack.enter_context(Front(home))
        labs = [stack.enter_context(UnixLab(home / "run" / f"{each}.sock")) for each in "ab"]
        front.publish([engine(seats=32)], [timed("chat", "mini")])
        replicas = [
            Replica(f"mini/{index}", "mini", "v", ReplicaState.READY, str(each.path), index)
            for index, each in enumerate(labs)
        ]
        front.publish_fleet(Fleet(1, tuple(replicas)))
        eventually(lambda: front.chat().status_code == 200, "the fleet being followed")
        body = order(events=40, delay_between="50ms")

        async def ask_many() -> list[bytes]:
            headers = {"authorization": f"Bearer {front.key}"}
            async with httpx.AsyncClient(base_url=front.url, headers=headers, timeout=30, trust_env=False) as client:
                message = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": body}]}
                asked = [asyncio.create_task(client.post("/v1/chat/completions", json=message)) for _ in range(14)]
                await asyncio.sleep(0.6)
                labs[0].process.send_signal(signal.SIGKILL if end == "dies" else signal.SIGSTOP)
                answers = await asyncio.gather(*asked)
                return [answer.content for answer in answers]

        try:
            broken = sum(b'"error"' in answer for answer in asyncio.run(ask_many()))
            assert broken >= 6, "enough for a breaker"
            for _ in range(10):
                assert front.chat().status_code == 200
        finally:
            if labs[0].process.poll() is None:
                labs[0].process.send_signal(signal.SIGCONT)


def test_when_everything_fails_it_is_not_asked_more_for_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Lab() as lab, Front(tmp_path_factory.mktemp("total")) as front:
        httpx.post(f"{lab.url}/lab/script", json=[{"order": {"status": 500}}]).raise_for_status()
        front.publish([provider(each, lab.address()) for each in "abc"], [model("chat", *"abc")])
        asked = asyncio.run(flood(front, "chat", count=200, together=2))
        assert not any(each.good for each in asked)
        assert lab.stats()["requests"] <= 1.2 * len(asked)
        told = asked[-1]
        assert told.status == 503
        assert int(told.headers[b"retry-after"]) >= 1
        assert b"x-penstock-deployment" not in told.headers, "none was asked"


def test_an_upstream_that_comes_back_is_not_run_down(tmp_path_factory: pytest.TempPathFactory) -> None:
    """First one probe, then few; a crowd of 64 presses on all the time."""
    with Lab() as lab, Front(tmp_path_factory.mktemp("herd")) as front:
        script = [{"order": {"status": 500}, "times": 5}, {"order": {"delay": "300ms"}}]
        httpx.post(f"{lab.url}/lab/script", json=script).raise_for_status()
        front.publish([provider("only", lab.address(), seats=64)], [model("chat", "only")])
        for _ in range(5):
            assert front.chat().status_code == 502
        assert front.chat().status_code == 503

        async def press_on() -> list[tuple[int, int]]:
            """Note how many are answered and in progress upstream, now and then, until it has recovered."""
            counts: list[tuple[int, int]] = []
            async with pool(front.url, 64) as connections, httpx.AsyncClient() as looking:
                crowd = Client(connections, front.key)
                pressing = [asyncio.create_task(ask(crowd, "chat", stream=False, count=10**6)) for _ in range(64)]
                while len(counts) < 3000 and (not counts or counts[-1][1] < 48):
                    stats = (await looking.get(f"{lab.url}/lab/stats")).json()
                    counts.append((stats["answered"], stats["in_progress"]))
                    await asyncio.sleep(0.01)
                for task in pressing:
                    task.cancel()
                await asyncio.gather(*pressing, return_exceptions=True)
            return counts

        counts = asyncio.run(press_on())
        # The probe, and as many more as there have been answers: those five failures are none.
        assert all(now <= answered - 5 + 2 for answered, now in counts), counts
        assert counts[-1][1] >= 48, "and it has recovered"
        eventually(lambda: front.chat().status_code == 200, "its recovery")


def test_what_a_failed_attempt_said_does_not_leak(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Neither its headers nor its usage nor its cost."""
    with Lab() as lab, Front(tmp_path_factory.mktemp("leak")) as front:
        bad = {"status": 500, "headers": {"x-of-the-first": "1", "retry-after": "1"}, "prompt_tokens": 5000}
        rule = {"model": "first-upstream", "order": bad}
        httpx.post(f"{lab.url}/lab/script", json=[rule]).raise_for_status()
        dear = msgspec.structs.replace(PRICE, output=PRICE.output * 100)
        front.publish(
            [provider("first", lab.address(), price=dear), provider("second", lab.address())],
            [model("chat", "first", fallback=("second",))],
        )
        answer = front.chat("one two")
        assert answer.status_code == 200
        assert not {"x-of-the-first", "retry-after"} & set(answer.headers)
        assert (answer.headers["x-penstock-degraded"], answer.headers["x-penstock-attempts"]) == ("fallback", "2")
        record = front.settled(answer.headers["x-request-id"])
        assert (record.deployment, record.usage.output_tokens) == ("second", 3)
        assert record.cost_nano == cost_nano(PRICE, record.usage)


def test_what_clients_do_wrong_opens_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Lab() as lab, Front(tmp_path_factory.mktemp("wrong")) as front:
        front.publish([provider("only", lab.address())], [model("chat", "only")])
        for status in (400, 401, 403, 404, 413, 422) * 4:
            assert front.chat("lab: " + json.dumps({"status": status})).status_code in (400, 413, 422, 502)
        assert front.chat().status_code == 200


@pytest.mark.parametrize("events", [0, 2])
def test_what_clients_do_wrong_opens_nothing_though_a_stream_tells_it(
    tmp_path_factory: pytest.TempPathFactory, events: int
) -> None:
    """As vLLM and SGLang do: status 200, and an error with the code 400 for an event."""
    told = b'data: {"error":{"message":"too long","type":"BadRequestError","code":400}}\n\n'
    said = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    raw = (said * events + told).decode()
    with Lab() as lab, Front(tmp_path_factory.mktemp("in-band")) as front:
        front.publish([provider(each, lab.address()) for each in "ab"], [model("chat", "a", fallback=("b",))])
        eventually(lambda: front.chat().status_code == 200, "the configuration")
        for _ in range(12):
            answer = front.chat(order(status=200, raw=raw, content_type="text/event-stream"), stream=True)
            assert answer.status_code == (200 if events else 400)
            assert "too long" in answer.text
            assert "an error in its stream" in str(front.settled(answer.headers["x-request-id"]).explanation)
            assert answer.headers["x-penstock-deployment"] == "a", "another one would say the same"
        assert front.chat().status_code == 200


def test_an_open_breaker_outlives_a_change_of_the_configuration(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Lab() as lab, Front(tmp_path_factory.mktemp("change")) as front:
        httpx.post(f"{lab.url}/lab/script", json=[{"order": {"status": 500}, "times": 5}]).raise_for_status()
        front.publish([provider("only", lab.address())], [model("chat", "only")])
        for _ in range(5):
            assert front.chat().status_code == 502
        front.publish([provider("only", lab.address(), seats=3)], [model("chat", "only"), model("mark", "only")])
        eventually(lambda: "mark" in front.client.get("/v1/models").text, "the change")
        refused = front.chat()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
        assert lab.stats()["requests"] == 5


def test_a_provider_that_refused_is_asked_again_when_there_is_nobody_else(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A 503 that says when to come back has not been processed, so this cannot be charged twice."""
    with Lab() as lab, Front(tmp_path_factory.mktemp("again")) as front:
        rule = {"order": {"status": 503, "retry_after": "0.3"}, "times": 1}
        httpx.post(f"{lab.url}/lab/script", json=[rule]).raise_for_status()
        front.publish([provider("only", lab.address())], [model("chat", "only")])
        answer = front.chat()
        assert (answer.status_code, answer.headers["x-penstock-attempts"]) == (200, "2")
        assert "x-penstock-degraded" not in answer.headers
