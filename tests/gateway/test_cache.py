"""The exact cache over real sockets: what a client sees of it, what the ledger has, and one call for a stampede."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.auth import keys, pepper
from penstock.auth.secrets import SecretRef
from penstock.gateway.upstream.breaker import IN_A_ROW
from penstock.pricing.period import Period
from penstock.snapshot.config import Budget, Cache, Limit, Measure, Outage
from penstock.snapshot.principals import KeyRecord
from penstock.types.address import Address
from tests.gateway.streams.client import Answer, body, order
from tests.processes import Front, Lab, eventually, model, provider
from tests.servers import RedisServer

CACHE = Cache(3600, 64 * 1024)
NOBODY = Address(host="127.0.0.1", port=1)


def published(front: Front, lab: Lab, **settings: Any) -> None:
    deployments = [
        provider("lab", lab.address(), seats=2000),
        provider("gone", NOBODY),
        provider("claude", lab.address(), provider="anthropic"),
    ]
    spent = Budget("b", "default", ("key",), Period.TOTAL, ("broke",), 1_000_000, Outage.DENY)
    few = Limit("default", ("key",), Measure.REQUESTS, 3, Outage.LOCAL_SHARE)
    models = [
        model("chat", "lab", cache=CACHE),
        model("plain", "lab"),
        model("small", "lab", cache=Cache(3600, 1024)),
        model("broke", "lab", cache=CACHE, budgets=(spent,)),
        model("few", "lab", cache=CACHE, limits=(few,)),
        model("stand-in", "gone", fallback=("lab",), cache=CACHE),
        model("translated", "claude", cache=CACHE),
        model("hasty", "lab", cache=CACHE, first_token_s=0.3, total_s=10.0),
        model("short", "lab", cache=CACHE, first_token_s=0.3, total_s=0.3),
    ]
    front.publish(deployments, models, **settings)


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, Lab]]:
    with Lab() as lab, Front(tmp_path_factory.mktemp("cached")) as front:
        published(front, lab, commit_after_s=0.2)
        yield front, lab


@pytest.fixture(autouse=True)
def ends_the_row(cached: tuple[Front, Lab]) -> Iterator[None]:
    """A success behind each test, so that the failures of many do not open the breaker of the deployment they share."""
    yield
    assert cached[0].chat(model="plain").status_code == 200


def asked(front: Front, content: str, control: str | None = None, key: str = "", **fields: Any) -> httpx.Response:
    headers = {} if control is None else {"cache-control": control}
    if key:
        headers["authorization"] = f"Bearer {key}"
    asks = {"model": "chat", "messages": [{"role": "user", "content": content}], **fields}
    return front.client.post("/v1/chat/completions", json=asks, headers=headers)


def said(response: httpx.Response) -> str | None:
    found: str | None = response.headers.get("x-penstock-cache")
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_the_second_answer_is_the_first_one_and_costs_nothing(cached: tuple[Front, Lab], stream: bool) -> None:
    front, lab = cached
    before = lab.stats()["requests"]
    first, second = (asked(front, f"twice {stream}", stream=stream) for _ in range(2))
    assert (said(first), said(second)) == ("miss", "exact")
    assert second.content == first.content
    assert second.headers["content-type"] == first.headers["content-type"]
    assert "age" not in first.headers
    assert int(second.headers["age"]) < 60
    assert lab.stats()["requests"] == before + 1
    assert "x-penstock-deployment" not in second.headers
    if not stream:
        assert second.headers["x-penstock-cost-usd"] == "0.000000000"
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    paid, free = (front.settled(response.headers["x-request-id"]) for response in (first, second))
    assert paid.cost_nano > 0
    assert (free.outcome, free.status, free.deployment, free.cost_nano) == ("answered", 200, "", 0)
    assert (free.usage.input_tokens, free.usage.output_tokens, free.usage.source) == (0, 0, "none")
    assert (free.first_content_ms is not None) is stream
    assert ("cache", "miss") in paid.explanation
    assert [step for step, _ in free.explanation] == ["identity", "cache"]
    assert free.explanation[1][1].startswith("exact, ")


def test_a_stream_and_a_plain_answer_are_kept_apart(cached: tuple[Front, Lab]) -> None:
    front, _ = cached
    asked(front, "apart")
    assert said(asked(front, "apart", stream=True)) == "miss"
    assert said(asked(front, "apart", stream=True, stream_options={"include_usage": True})) == "miss"
    assert said(asked(front, "apart", stream=False)) == "exact", "which is what nothing means, too"


def test_completions_and_embeddings_are_kept(cached: tuple[Front, Lab]) -> None:
    front, _ = cached
    for path, fields in (("completions", {"prompt": "kept"}), ("embeddings", {"input": "kept"})):
        answers = [front.client.post(f"/v1/{path}", json={"model": "chat", **fields}) for _ in range(2)]
        assert [said(answer) for answer in answers] == ["miss", "exact"]
        assert answers[0].content == answers[1].content


def test_a_model_without_a_cache_says_nothing_of_one(cached: tuple[Front, Lab]) -> None:
    front, _ = cached
    for _ in range(2):
        response = asked(front, "plain", "only-if-cached", model="plain")
        assert (response.status_code, said(response)) == (200, None)


def test_a_client_says_what_it_takes(cached: tuple[Front, Lab]) -> None:
    front, lab = cached
    refused = asked(front, "control", "only-if-cached")
    assert (refused.status_code, refused.json()["error"]["code"]) == (504, "not_cached")
    assert refused.headers["x-should-retry"] == "false"
    assert refused.headers["x-penstock-error-source"] == "client"
    assert said(asked(front, "control", "no-store")) == "bypass"
    assert said(asked(front, "control")) == "miss", "nothing was kept of that"
    assert said(asked(front, "control", "only-if-cached")) == "exact"
    assert said(asked(front, "control", "max-age=3600")) == "exact"
    assert said(asked(front, "control", "max-age=0")) == "miss"
    before = lab.stats()["requests"]
    fresh = asked(front, "control", "no-cache")
    assert (said(fresh), lab.stats()["requests"]) == ("bypass", before + 1)
    assert ("cache", "bypass: no-cache") in front.settled(fresh.headers["x-request-id"]).explanation
    assert said(asked(front, "renewed", "no-cache")) == "bypass"
    assert said(asked(front, "renewed")) == "exact", "it was kept all the same"


@pytest.mark.parametrize("field", [{"background": True}, {"conversation": "conv_1"}, {"conversation": {"id": "c"}}])
def test_what_does_more_than_to_be_answered_is_never_kept(cached: tuple[Front, Lab], field: dict[str, Any]) -> None:
    front, _ = cached
    for _ in range(2):
        response = asked(front, "stateful", **field)
        assert said(response) == "bypass"
    assert ("cache", f"bypass: {next(iter(field))}") in front.settled(response.headers["x-request-id"]).explanation
    assert said(asked(front, f"not {field}", background=False, conversation=None)) == "miss"


@pytest.mark.parametrize(
    ("stream", "fault"),
    [
        (False, {"status": 400}),
        (False, {"status": 500}),
        (False, {"body": "garbage"}),
        (False, {"cut": "in_head"}),
        (True, {"cut_after": 2, "events": 5}),
        (True, {"error_after": 2, "events": 5}),
        (True, {"broken": "event", "broken_after": 2, "events": 5}),
        (True, {"status": 500}),
    ],
)
def test_what_is_not_a_good_answer_is_not_kept(cached: tuple[Front, Lab], stream: bool, fault: dict[str, Any]) -> None:
    front, lab = cached
    before = lab.stats()["requests"]
    assert {said(asked(front, order(**fault), stream=stream)) for _ in range(3)} == {"miss"}
    assert lab.stats()["requests"] == before + 3


def test_what_is_too_large_is_not_kept_and_passes_as_it_is(cached: tuple[Front, Lab]) -> None:
    front, _ = cached
    for stream in (False, True):
        answers = [asked(front, order(size=2000), model="small", stream=stream) for _ in range(2)]
        assert [said(answer) for answer in answers] == ["miss", "miss"]
        assert all(len(answer.content) > 2000 for answer in answers)


def test_what_a_fallback_answered_is_not_kept(cached: tuple[Front, Lab]) -> None:
    front, _ = cached
    answers = [asked(front, "hello", model="stand-in") for _ in range(2)]
    assert [(said(answer), answer.headers["x-penstock-deployment"]) for answer in answers] == [("miss", "lab")] * 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_kept_answer_admits_what_it_falls_short_of(cached: tuple[Front, Lab], stream: bool) -> None:
    front, _ = cached
    answers = [asked(front, "short", model="translated", seed=7, stream=stream) for _ in range(2)]
    assert [said(answer) for answer in answers] == ["miss", "exact"]
    assert [answer.headers.get("x-penstock-dropped") for answer in answers] == ["seed", "seed"]
    assert "x-penstock-deployment" not in answers[1].headers


def test_those_that_share_the_answer_of_a_fallback_are_told(cached: tuple[Front, Lab]) -> None:
    front, _ = cached
    payload = body(order(delay="500ms"), model="stand-in", stream=False)
    answers = asyncio.run(_all(front, payload, 5))
    assert Counter(answer.headers["x-penstock-cache"] for answer in answers) == {"miss": 1, "exact": 4}
    assert {answer.headers.get("x-penstock-degraded") for answer in answers} == {"fallback"}


def test_a_kept_answer_takes_of_the_limits_and_not_of_the_budget(cached: tuple[Front, Lab]) -> None:
    front, _ = cached
    assert asked(front, "paid for", model="broke", max_tokens=1).status_code == 200
    assert asked(front, "too dear", model="broke", max_tokens=1000).status_code == 429
    held = asked(front, "paid for", model="broke", max_tokens=1)
    assert (held.status_code, said(held)) == (200, "exact")
    assert "x-penstock-budget-remaining-usd" not in held.headers
    answers = [asked(front, "limited", model="few") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["2", "1", "0", "0"]


def test_a_tenant_never_gets_what_another_one_asked(cached: tuple[Front, Lab]) -> None:
    front, _ = cached
    made = {name: keys.create(pepper.load(front.home.root, {})) for name in ("one", "two", "three")}
    tenants = {"one": "acme", "two": "acme", "three": "other"}
    for name, new in made.items():
        front.records[new.id] = KeyRecord(new.id, new.digest, tenants[name])
    front.publish_keys()
    eventually(
        lambda: front.client.get("/v1/models", headers={"authorization": f"Bearer {made['three'].key}"}).is_success
    )
    seen = [(name, said(asked(front, "whose", key=made[name].key))) for name in ("one", "three", "two", "three", "one")]
    assert seen == [("one", "miss"), ("three", "miss"), ("two", "exact"), ("three", "exact"), ("one", "exact")]


def test_another_configuration_of_the_model_has_other_answers(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        front.publish([provider("lab", lab.address())], [model("chat", "lab", cache=CACHE)])
        assert [said(asked(front, "same")) for _ in range(2)] == ["miss", "exact"]
        front.publish([provider("lab", lab.address(), model="newer")], [model("chat", "lab", cache=CACHE)])
        eventually(lambda: said(asked(front, "same")) == "miss", "the change")
        assert said(asked(front, "same")) == "exact"


async def _exchange(front: Front, payload: bytes) -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    head += f"authorization: Bearer {front.key}\r\ncontent-length: {len(payload)}\r\n\r\n"
    try:
        writer.write(head.encode() + payload)
        answer = Answer()
        while data := await reader.read(65536):
            answer.feed(data)
        return answer
    finally:
        writer.close()


async def _all(front: Front, payload: bytes, count: int) -> list[Answer]:
    return await asyncio.gather(*(_exchange(front, payload) for _ in range(count)))


@pytest.mark.parametrize("stream", [False, True])
def test_a_thousand_equal_requests_are_one_call(cached: tuple[Front, Lab], stream: bool) -> None:
    front, lab = cached
    before = lab.stats()["requests"]
    payload = body(order(delay="1s"), stream=stream)
    answers = asyncio.run(_all(front, payload, 1000))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body.replace(b": keep-alive\n\n", b"") for answer in answers}) == 1
    assert lab.stats()["requests"] == before + 1
    if not stream:
        assert Counter(answer.headers["x-penstock-cache"] for answer in answers) == {"miss": 1, "exact": 999}


def test_a_failing_upstream_is_asked_by_one_at_a_time(cached: tuple[Front, Lab]) -> None:
    front, lab = cached
    before = lab.stats()
    answers = asyncio.run(_all(front, body(order(status=500, delay="10ms"), stream=False), IN_A_ROW - 1))
    assert {answer.status for answer in answers} == {502}
    assert lab.stats()["requests"] == before["requests"] + IN_A_ROW - 1


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_upstream_refuses_is_refused_to_all_that_wait(cached: tuple[Front, Lab], stream: bool) -> None:
    front, lab = cached
    before = lab.stats()["requests"]
    answers = asyncio.run(_all(front, body(order(status=400, delay="1s"), stream=stream), 20))
    assert {answer.status for answer in answers} <= {400, 200}, "200 where a comment was due before"
    assert all(b"error" in answer.body for answer in answers)
    assert lab.stats()["requests"] == before + 1


def test_when_the_client_that_leads_leaves_the_next_one_leads(cached: tuple[Front, Lab]) -> None:
    front, lab = cached
    payload = body(order(stall="before_head", stall_for="2s"), stream=False)

    async def case() -> list[Answer]:
        before = lab.stats()["requests"]
        leader = asyncio.create_task(_exchange(front, payload))
        await asyncio.to_thread(eventually, lambda: lab.stats()["in_progress"] == 1, "the first call")
        others = [asyncio.create_task(_exchange(front, payload)) for _ in range(5)]
        leader.cancel()
        await asyncio.gather(leader, return_exceptions=True)
        answers = await asyncio.gather(*others)
        assert lab.stats()["requests"] == before + 2
        return answers

    answers = asyncio.run(case())
    assert [answer.status for answer in answers] == [200] * 5


def test_a_stream_that_waits_for_an_equal_one_is_kept_alive(cached: tuple[Front, Lab]) -> None:
    front, _ = cached
    answers = asyncio.run(_all(front, body(order(delay_first="1s", events=3)), 2))
    assert all(answer.comments and answer.done for answer in answers)
    assert answers[0].text == answers[1].text


def test_a_leader_that_is_slow_gets_another_one_beside_it(cached: tuple[Front, Lab]) -> None:
    front, lab = cached
    before = lab.stats()["requests"]
    answers = asyncio.run(_all(front, body(order(delay="1s"), stream=False, model="hasty"), 20))
    assert {answer.status for answer in answers} == {200}
    assert 1 < lab.stats()["requests"] - before < 20, "one more for each time that a first token may take"


def test_who_waits_in_vain_is_told_in_time(cached: tuple[Front, Lab]) -> None:
    front, _ = cached
    answers = asyncio.run(_all(front, body(order(stall="before_head"), stream=False, model="short"), 10))
    assert {answer.status for answer in answers} == {504}


def test_answers_that_are_too_large_to_share_are_asked_for_by_each(cached: tuple[Front, Lab]) -> None:
    front, lab = cached
    before = lab.stats()["requests"]
    answers = asyncio.run(_all(front, body(order(size=2000, delay="50ms"), stream=False, model="small"), 10))
    assert {answer.status for answer in answers} == {200}
    assert lab.stats()["requests"] == before + 10


def test_workers_that_share_a_redis_share_answers_and_go_on_without_it(tmp_path: Path) -> None:
    with RedisServer() as redis, Lab() as lab:
        environ = {"PENSTOCK_SECRET_KEY": "the same for both of them", "CACHE": redis.url}
        with Front(tmp_path / "one", environ=environ) as one, Front(tmp_path / "two", environ=environ) as two:
            new = keys.create(pepper.load(tmp_path, environ))
            for front in (one, two):
                front.records[new.id] = KeyRecord(new.id, new.digest, "default")
                front.publish_keys()
                published(front, lab, shared_cache=SecretRef(env="CACHE"))

            numbers = itertools.count()

            def shared() -> bool:
                content = f"to be shared {next(numbers)}"
                asked(one, content, key=new.key)
                return said(asked(two, content, key=new.key)) == "exact"

            eventually(lambda: asked(one, "a", key=new.key).is_success and asked(two, "a", key=new.key).is_success)
            eventually(shared, "both being connected")
            redis.freeze()
            try:
                assert [said(asked(two, "alone", key=new.key)) for _ in range(2)] == ["miss", "exact"]
            finally:
                redis.thaw()
            eventually(shared, "its being back")
            redis.kill()
            assert [said(asked(two, "alone again", key=new.key)) for _ in range(2)] == ["miss", "exact"]
            redis.start()
            eventually(shared, "its being back")
