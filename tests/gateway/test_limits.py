"""Limits over real sockets: what a client sees of them, and that a place is free again however an exchange ends."""

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from penstock.pricing.period import Period
from penstock.snapshot.config import Budget, Limit, Measure, Outage
from penstock.types.address import Address
from tests.processes import Front, Lab, eventually, model, provider


def limit(measure: Measure, most: int, *per: str) -> Limit:
    return Limit("default", per or ("key",), measure, most, Outage.LOCAL_SHARE)


def order(**fields: object) -> str:
    """Return a prompt that the lab takes as an order."""
    return "lab: " + json.dumps(fields)


ONE = (limit(Measure.CONCURRENCY, 1), limit(Measure.REQUESTS, 1_000_000), limit(Measure.TOKENS, 10**9, "tenant"))


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, Lab]]:
    """A gateway that lets in one exchange at a time, and gives up on a silent upstream soon."""
    with Lab() as lab, Front(tmp_path_factory.mktemp("one")) as front:
        deployments = [provider("lab", lab.address()), provider("nobody", Address(host="127.0.0.1", port=1))]
        models = [
            model("chat", "lab", limits=ONE),
            model("hasty", "lab", limits=ONE, total_s=0.2, first_token_s=0.2),
            model("gone", "nobody", limits=ONE),
        ]
        front.publish(deployments, models)
        yield front, lab


ENDS: dict[str, dict[str, object]] = {
    "an answer": {},
    "a stream": {"stream": True, "content": order(events=5)},
    "no usage": {"content": order(usage="missing")},
    "400": {"content": order(status=400)},
    "500": {"content": order(status=500)},
    "429": {"content": order(status=429)},
    "garbage": {"content": order(body="garbage")},
    "a cut": {"content": order(cut="in_head")},
    "a cut stream": {"stream": True, "content": order(cut_after=2, events=5)},
    "a stream that fails at once": {"stream": True, "content": order(status=500)},
    "an error in a stream": {"stream": True, "content": order(error_after=2)},
    "a time-out": {"model": "hasty", "content": order(stall="before_head")},
    "a stream's time-out": {"model": "hasty", "stream": True, "content": order(stall_after=1, events=3)},
    "nobody there": {"model": "gone"},
}


@pytest.mark.parametrize("end", list(ENDS))
def test_the_place_is_free_as_soon_as_the_answer_is_there(one: tuple[Front, Lab], end: str) -> None:
    front, _ = one
    for _ in range(3):
        response = front.chat(**{"content": "hello", **ENDS[end]})  # type: ignore[arg-type]
        assert response.status_code != 429, response.text
    eventually(lambda: front.chat().status_code == 200, "the lab being asked again")


@pytest.mark.parametrize(
    ("stream", "stall"),
    [
        (False, order(stall="before_head")),
        (False, order(stall="after_head")),
        (True, order(stall="before_head")),
        (True, order(stall_after=2, events=5)),
    ],
)
def test_the_place_of_a_client_that_left_is_free(one: tuple[Front, Lab], stream: bool, stall: str) -> None:
    front, lab = one
    content = [{"role": "user", "content": stall}]
    body = json.dumps({"model": "chat", "stream": stream, "messages": content}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\ncontent-length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", front.port)) as raw:
        raw.sendall(head % (front.key.encode(), len(body)) + body)
        eventually(lambda: lab.stats()["in_progress"] == 1, "the request reaching the upstream")
        assert front.chat().status_code == 429
    eventually(lambda: front.chat().status_code == 200, "the place being free")


def test_a_request_that_is_no_call_takes_nothing(one: tuple[Front, Lab]) -> None:
    front, _ = one
    assert front.client.post("/v1/chat/completions", content=b"{").status_code == 400
    assert front.chat(model="nope").status_code == 404
    assert "x-ratelimit-limit-requests" not in front.client.get("/v1/models").headers
    assert front.chat().status_code == 200


def test_a_client_over_its_limit_is_told_what_and_when(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        limits = (limit(Measure.REQUESTS, 3), limit(Measure.TOKENS, 100_000, "tenant"))
        front.publish([provider("lab", lab.address())], [model("chat", "lab", limits=limits), model("free", "lab")])
        seen = [front.chat("one two") for _ in range(3)]
        assert [response.headers["x-ratelimit-remaining-requests"] for response in seen] == ["2", "1", "0"]
        assert {response.headers["x-ratelimit-limit-tokens"] for response in seen} == {"100000"}
        used = [response.json()["usage"]["total_tokens"] for response in seen]
        left = [int(response.headers["x-ratelimit-remaining-tokens"]) for response in seen]
        assert left[1] - left[2] == used[1], "what the first exchanges used is what they cost"
        refused = front.chat()
        assert refused.status_code == 429
        error = refused.json()["error"]
        assert (error["type"], error["code"], error["param"]) == ("requests", "rate_limit_exceeded", None)
        assert error["message"] == "The limit of 3 requests per minute for this key (policy default) is reached."
        assert 55 < int(refused.headers["retry-after"]) <= 61
        assert refused.headers["x-ratelimit-limit-requests"] == "3"
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert refused.headers["x-penstock-error-source"] == "client"
        assert lab.stats()["requests"] == 3
        record = front.settled(refused.headers["x-request-id"])
        assert (record.outcome, record.status, record.cost_nano) == ("refused", 429, 0)
        assert ("admission", "within 2 limits of default") in front.settled(seen[0].headers["x-request-id"]).explanation
        free = front.chat(model="free")
        assert free.status_code == 200
        assert "x-ratelimit-limit-requests" not in free.headers
        with (
            openai.OpenAI(base_url=f"{front.url}/v1", api_key=front.key, max_retries=0) as client,
            pytest.raises(openai.RateLimitError),
        ):
            client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "hi"}])
        front.publish([provider("lab", lab.address())], [model("chat", "lab", limits=(limit(Measure.REQUESTS, 4),))])
        eventually(lambda: front.chat().status_code == 200, "the higher limit, which counts on")
        assert front.chat().status_code == 429


def test_a_client_of_anthropics_shape_is_told_in_its_own_words_and_no_other_is(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        limits = (limit(Measure.REQUESTS, 3), limit(Measure.TOKENS, 100_000))
        front.publish([provider("lab", lab.address(), provider="anthropic")], [model("chat", "lab", limits=limits)])
        assert not [name for name in front.chat().headers if name.startswith("anthropic-")]
        body: Any = {"model": "chat", "max_tokens": 9, "messages": [{"role": "user", "content": "one two"}]}
        began = datetime.now(UTC)
        with anthropic.Anthropic(base_url=front.url, api_key=front.key, max_retries=0) as client:
            told = client.messages.with_raw_response.create(**body).headers
            client.messages.create(**body)
            with pytest.raises(anthropic.RateLimitError) as caught:
                client.messages.create(**body)
        ended = datetime.now(UTC)
        assert (told["anthropic-ratelimit-requests-limit"], told["x-ratelimit-limit-requests"]) == ("3", "3")
        assert told["anthropic-ratelimit-requests-remaining"] == "1"
        assert told["anthropic-ratelimit-tokens-limit"] == "100000"
        assert told["anthropic-ratelimit-tokens-remaining"] == told["x-ratelimit-remaining-tokens"]
        full = datetime.fromisoformat(told["anthropic-ratelimit-tokens-reset"])
        assert began + timedelta(seconds=60) < full < ended + timedelta(seconds=62)
        refused = caught.value.response.headers
        assert refused["anthropic-ratelimit-requests-limit"] == "3"
        assert refused["anthropic-ratelimit-requests-remaining"] == "0"
        reset, after = (
            datetime.fromisoformat(refused["anthropic-ratelimit-requests-reset"]),
            int(refused["retry-after"]),
        )
        assert began + timedelta(seconds=after - 1) < reset < ended + timedelta(seconds=after + 1)


def test_a_request_without_a_cap_gets_the_one_that_is_held_for(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        budget = Budget("b", "default", ("key",), Period.TOTAL, ("chat",), 10**9, Outage.DENY)
        front.publish([provider("lab", lab.address())], [model("chat", "lab", budgets=(budget,))])
        calls: list[tuple[str, dict[str, object], dict[str, object]]] = [
            ("chat/completions", {"messages": [{"role": "user", "content": "hi"}]}, {"max_tokens": 4096}),
            ("completions", {"prompt": "hi", "max_tokens": None}, {"max_tokens": 4096}),
            ("completions", {"prompt": "hi", "max_tokens": 7}, {"max_tokens": 7}),
            ("embeddings", {"input": "hi"}, {}),
        ]
        for path, fields, cap in calls:
            response = front.client.post(f"/v1/{path}", json={"model": "chat", **fields})
            assert response.status_code == 200
            (seen,) = lab.last()
            body = json.loads(seen["body"]) if isinstance(seen["body"], str) else seen["body"]
            assert body == {**fields, **cap, "model": "lab-upstream"}
            record = front.settled(response.headers["x-request-id"])
            assert [step for step, _ in record.explanation] == ["identity", "route", "budget", "upstream", "price"]


def test_a_client_whose_budget_is_spent_is_told_not_to_try_again(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        budget = Budget("b", "default", ("key",), Period.TOTAL, ("chat",), 150_000, Outage.DENY)
        front.publish([provider("lab", lab.address())], [model("chat", "lab", budgets=(budget,))])
        assert front.chat(max_tokens=1).headers["x-penstock-budget-remaining-usd"] < "0.000100000"
        refused = front.chat(max_tokens=100)
        assert (refused.status_code, refused.headers["x-should-retry"]) == (429, "false")
        error = refused.json()["error"]
        assert (error["type"], error["code"]) == ("insufficient_quota", "insufficient_quota")
        said = "The budget of 0.000150000 USD in all for this key (policy default) has 0.0001"
        assert error["message"].startswith(said)
        assert refused.headers["retry-after"] == "3600"
        assert lab.stats()["requests"] == 1
        with (
            openai.OpenAI(base_url=f"{front.url}/v1", api_key=front.key, max_retries=5) as client,
            pytest.raises(openai.RateLimitError),
        ):
            client.chat.completions.create(
                model="chat", max_tokens=100, messages=[{"role": "user", "content": "hi"}], timeout=5
            )
        refused_rows = [entry for entry in front.journal() if getattr(entry, "status", 0) == 429]
        assert len(refused_rows) == 2, "the SDK asks once"


def test_embeddings_hold_no_tokens_for_an_answer_they_do_not_have(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        front.publish([provider("lab", lab.address())], [model("chat", "lab", limits=(limit(Measure.TOKENS, 1000),))])
        body = {"model": "chat", "input": "hello"}
        remaining = front.client.post("/v1/embeddings", json=body).headers["x-ratelimit-remaining-tokens"]
        assert int(remaining) == 1000 - len(httpx.Request("POST", "http://x", json=body).content)
