"""Responses that upstreams keep, over real sockets: for their tenant, by their ids, from where they are."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.auth import keys, pepper
from penstock.gateway.stored import ACTIONS, PATH, _parsed
from penstock.http.request import Request
from penstock.journal.records import Opened, Outcome
from penstock.snapshot.config import Limit, Measure, Outage
from penstock.snapshot.principals import KeyRecord
from penstock.types.dialect import Dialect
from penstock.types.errors import MethodNotAllowed, UnknownPath
from penstock.types.operation import Operation
from penstock.types.usage import UsageSource
from tests.gateway.streams.client import order
from tests.processes import Front, Lab, eventually, model, provider

NATIVE = (Dialect.RESPONSES, Dialect.CHAT)
SEALING: dict[str, Any] = {"include": ["reasoning.encrypted_content"]}
REQUESTS = Limit("few", ("key",), Measure.REQUESTS, 3, Outage.LOCAL_SHARE)
TOKENS = Limit("few", ("key",), Measure.TOKENS, 100_000, Outage.LOCAL_SHARE)
PLACES = Limit("few", ("key",), Measure.CONCURRENCY, 1, Outage.LOCAL_SHARE)


def published(front: Front, labs: list[Lab]) -> None:
    known = [provider(name, lab.address(), speaks=NATIVE) for name, lab in zip("ab", labs, strict=True)]
    front.publish(
        [
            *known,
            *(provider(name, labs[0].address(), speaks=NATIVE) for name in ("lonely", "single")),
            provider("chats", labs[0].address()),
        ],
        [
            model("chat", "a", "b", fallback=("chats",)),
            model("few", "lonely", limits=(REQUESTS, TOKENS)),
            model("single", "single", limits=(PLACES,)),
        ],
    )


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, list[Lab]]]:
    """A gateway before two upstreams, each of which keeps what it answers to itself."""
    with contextlib.ExitStack() as stack:
        labs = [stack.enter_context(Lab()) for _ in "ab"]
        front = stack.enter_context(Front(tmp_path_factory.mktemp("fleet")))
        published(front, labs)
        yield front, labs


@pytest.fixture
def front(fleet: tuple[Front, list[Lab]]) -> Front:
    return fleet[0]


@pytest.fixture
def client(front: Front) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{front.url}/v1", api_key=front.key, max_retries=0) as client:
        yield client


@pytest.fixture
def ordered(fleet: tuple[Front, list[Lab]]) -> Iterator[Any]:
    """Return what has both upstreams follow an order, but for what creates responses; it ends with the test."""

    def follow(**fields: Any) -> None:
        for lab in fleet[1]:
            script = {"rules": [{"path": "/v1/responses/*", "order": fields}]}
            assert httpx.post(f"{lab.url}/lab/script", json=script).status_code == 200

    yield follow
    for lab in fleet[1]:
        httpx.post(f"{lab.url}/lab/script", json={"rules": []})


def key_of(front: Front, tenant: str, **fields: Any) -> dict[str, str]:
    """Return the headers of a new key."""
    new = keys.create(pepper.load(front.home.root, {}))
    front.records[new.id] = KeyRecord(new.id, new.digest, tenant, **fields)
    front.publish_keys()
    headers = {"authorization": f"Bearer {new.key}"}
    eventually(lambda: httpx.get(f"{front.url}/v1/models", headers=headers).status_code == 200, "the key")
    return headers


def respond(front: Front, said: Any = "hello", **fields: Any) -> httpx.Response:
    return front.client.post("/v1/responses", json={"model": "chat", "input": said, **fields})


def upstream_name(given: str) -> str:
    return given[: -len("-kxMbBZ2NJXzAPKbvvuH7bA")]


def requests(labs: list[Lab]) -> int:
    return sum(int(lab.stats()["requests"]) for lab in labs)


# With the official SDK


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_can_be_had_again(client: openai.OpenAI, stream: bool) -> None:
    for _ in range(4):  # wherever they are
        first = client.responses.create(model="chat", input="one two")
        with client.responses.stream(model="chat", input="three", previous_response_id=first.id) as events:
            second: Any = events.get_final_response()
        if stream:
            told = list(client.responses.retrieve(second.id, stream=True, starting_after=2))
            assert [event.sequence_number for event in told] == list(range(3, 3 + len(told)))
            assert told[-1].type == "response.completed"
            again: Any = told[-1].response
        else:
            again = client.responses.retrieve(second.id)
        assert (again.id, again.output_text, again.previous_response_id) == (second.id, "echo: three", first.id)


def test_its_input_is_listed_page_by_page(client: openai.OpenAI) -> None:
    turns: Any = [{"role": "user", "content": f"turn {number}"} for number in range(5)]
    reply = client.responses.create(model="chat", input=turns)
    page = client.responses.input_items.list(reply.id, limit=2, order="asc")
    assert page.has_next_page()
    listed: list[Any] = list(page)
    assert [item.content for item in listed] == [turn["content"] for turn in turns]
    latest: Any = client.responses.input_items.list(reply.id, limit=1).data[0]
    assert latest.content == "turn 4"


def test_what_is_deleted_is_gone(client: openai.OpenAI) -> None:
    reply = client.responses.create(model="chat", input="one")
    client.responses.delete(reply.id)
    with pytest.raises(openai.NotFoundError) as caught:
        client.responses.retrieve(reply.id)
    assert caught.value.body == {
        "message": f"Response with id '{reply.id}' not found.",
        "type": "invalid_request_error",
        "param": None,
        "code": "response_not_found",
    }
    with pytest.raises(openai.NotFoundError):
        client.responses.delete(reply.id)
    with pytest.raises(openai.BadRequestError, match="not found"):
        client.responses.create(model="chat", input="two", previous_response_id=reply.id)


def test_only_what_goes_on_can_be_cancelled(client: openai.OpenAI, ordered: Any) -> None:
    reply = client.responses.create(model="chat", input="one")
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel(reply.id)
    body = reply.model_dump() | {"id": upstream_name(reply.id), "status": "cancelled"}
    ordered(raw=json.dumps(body), content_type="application/json")
    cancelled = client.responses.cancel(reply.id)
    assert (cancelled.id, cancelled.status) == (reply.id, "cancelled")


def test_what_is_sealed_has_the_same_tag_each_time(client: openai.OpenAI) -> None:
    reply: Any = client.responses.create(model="chat", input=order(thinking=3), **SEALING)
    thought = reply.output[0]
    for stream in (False, True):
        told: Any = client.responses.retrieve(reply.id, stream=stream, **SEALING)
        again = list(told)[-1].response if stream else told
        assert again.output[0].encrypted_content == thought.encrypted_content
    assert client.responses.retrieve(reply.id).output[0].encrypted_content is None  # type: ignore[union-attr]  # a thought
    turns: Any = [{"role": "user", "content": "x"}, thought.model_dump(exclude_none=True)]
    second = client.responses.create(model="chat", input=turns)
    listed: Any = client.responses.input_items.list(second.id, order="asc").data[1]
    assert listed.encrypted_content == thought.encrypted_content


# For whom, and where


def test_nobody_else_finds_it(fleet: tuple[Front, list[Lab]]) -> None:
    front, labs = fleet
    name = respond(front).json()["id"]
    before = requests(labs)
    strangers = key_of(front, "strangers")
    others = key_of(front, "default", models=("few",))
    asked: list[tuple[str, str, dict[str, str]]] = [
        ("another tenant", name, strangers),
        ("of models that do not have it", name, others),
        ("forged", name[:-1] + ("A" if name[-1] != "A" else "B"), {}),
        ("without its tag", upstream_name(name), {}),
        ("never heard of", "resp_1", {}),
        ("very long", "r" * 20_000, {}),
        ("of other letters", "resp_%C3%A9%00%ff", {}),
    ]
    for why, called, headers in asked:
        for method, below in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
            answer = front.client.request(method, f"/v1/responses/{called}{below}", headers=headers)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (404, "response_not_found"), why
            assert len(error["message"]) < 300, why
            assert answer.headers["x-penstock-error-source"] == "client", why
            assert "x-penstock-deployment" not in answer.headers, why
    assert requests(labs) == before, "no upstream has heard of it"
    mate = key_of(front, "default", models=("chat",))
    assert front.client.get(f"/v1/responses/{name}", headers=mate).status_code == 200, "keys of one tenant share it"


def test_a_key_may_do_what_it_is_for(front: Front) -> None:
    name = respond(front).json()["id"]
    embeds = key_of(front, "default", operations=(Operation.EMBEDDINGS,))
    elsewhere = key_of(front, "default", networks=("10.0.0.0/8",))
    for headers in (embeds, elsewhere):
        assert front.client.delete(f"/v1/responses/{name}", headers=headers).status_code == 403
    wrong = {"authorization": "Bearer sk-wrong"}
    assert front.client.get(f"/v1/responses/{name}", headers=wrong).status_code == 401
    assert front.client.get(f"/v1/responses/{name}").status_code == 200


def test_a_deployment_that_is_no_more_has_nothing(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        front.publish([provider("a", lab.address(), speaks=NATIVE)], [model("chat", "a")])
        name = respond(front).json()["id"]
        assert front.client.get(f"/v1/responses/{name}").status_code == 200
        front.publish([provider("b", lab.address(), speaks=NATIVE)], [model("chat", "b")])
        eventually(lambda: front.client.get(f"/v1/responses/{name}").status_code == 404, "the change")


def test_where_it_cannot_be_asked_the_answer_says_so(tmp_path: Path) -> None:
    with Front(tmp_path) as front:
        with Lab() as lab:
            front.publish([provider("a", lab.address(), speaks=NATIVE)], [model("chat", "a")])
            name = respond(front).json()["id"]
        gone = front.client.get(f"/v1/responses/{name}")
        assert (gone.status_code, gone.json()["error"]["code"]) == (503, "upstream_unreachable")
        assert gone.headers["x-penstock-deployment"] == "a"
        eventually(lambda: "may be asked now" in respond(front).text, "the breaker being open")
        answer = front.client.get(f"/v1/responses/{name}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
        assert answer.json()["error"]["message"].endswith("no other keeps this")
        assert "retry-after" in answer.headers


# What goes to the upstream, and what comes back


def test_the_upstream_is_asked_by_its_own_name_for_it(fleet: tuple[Front, list[Lab]]) -> None:
    front, (lab, _) = fleet
    name = respond(front, model="few").json()["id"]
    query = "include[]=x&after=%20y"
    front.client.request("GET", f"/v1/responses/{name}/input_items?{query}", content=b"for nobody")
    (asked,) = lab.last()
    assert asked["path"] == f"/v1/responses/{upstream_name(name)}/input_items"
    assert (asked["query"], asked["body"]) == (query, "")
    assert "authorization" not in asked["headers"], "the client's key stays here"


ERRORS: list[tuple[dict[str, Any], int, str | None]] = [
    ({"status": 500}, 502, "upstream_failed"),
    ({"status": 401}, 502, "upstream_failed"),
    ({"status": 429, "retry_after": 7}, 503, "upstream_overloaded"),
    ({"status": 404}, 404, "response_not_found"),
    ({"status": 404, "body": "html"}, 400, "unsupported_operation"),
    ({"status": 405, "raw": '{"detail":"Method Not Allowed"}'}, 400, "unsupported_operation"),
    ({"status": 501}, 400, "unsupported_operation"),
    ({"status": 200, "body": "garbage"}, 502, "upstream_failed"),
    ({"raw": '{"id": half', "content_type": "application/json"}, 502, "upstream_failed"),
    ({"cut": "before_head"}, 502, "upstream_failed"),
    ({"broken": "short_body"}, 502, "upstream_failed"),
]


@pytest.mark.parametrize(("fields", "status", "code"), ERRORS)
def test_failures_are_told(front: Front, ordered: Any, fields: dict[str, Any], status: int, code: str) -> None:
    name = respond(front).json()["id"]
    ordered(**fields)
    answer = front.client.get(f"/v1/responses/{name}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert front.settled(answer.headers["x-request-id"]).outcome is Outcome.FAILED
    ordered(status=200)
    assert front.client.get(f"/v1/responses/{name}").status_code == 200, "nothing is held against it"


def test_an_upstreams_words_have_the_clients_name_for_it(front: Front, ordered: Any) -> None:
    name = respond(front).json()["id"]
    ordered(status=400, error=f"Response {upstream_name(name)} is not in the background.")
    answer = front.client.post(f"/v1/responses/{name}/cancel")
    assert answer.json()["error"]["message"] == f"Response {name} is not in the background."


def test_a_stream_that_breaks_off_says_so(front: Front, ordered: Any) -> None:
    name = respond(front, "one two three").json()["id"]
    ordered(cut_after=1)
    answer = front.client.get(f"/v1/responses/{name}?stream=true")
    assert answer.status_code == 200
    *told, last = answer.text.strip().split("\n\n")
    assert any("response.output_text.delta" in event for event in told)
    assert json.loads(last.removeprefix("event: error\ndata: "))["error"]["code"] == "upstream_failed"
    assert front.settled(answer.headers["x-request-id"]).outcome is Outcome.FAILED


DELTA = 'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"half"}\n\n'
BEGUN = 'data: {"type":"response.created","response":{"id":"resp_1","status":"in_progress"}}\n\n'
ENDED = 'data: {"type":"response.cancelled","response":{"status":"cancelled"}}\n\n'


@pytest.mark.parametrize("told", [DELTA, BEGUN, BEGUN + DELTA, DELTA + 'data: {"type":"response.output_te'])
def test_a_stream_without_its_last_event_has_been_cut(front: Front, ordered: Any, told: str) -> None:
    """A connection's end looks like that of the stream where neither is framed."""
    name = respond(front).json()["id"]
    ordered(raw=told, content_type="text/event-stream")
    answer = front.client.get(f"/v1/responses/{name}?stream=true")
    last = answer.text.strip().split("\n\n")[-1]
    assert json.loads(last.removeprefix("event: error\ndata: "))["error"]["code"] == "upstream_failed"
    assert front.settled(answer.headers["x-request-id"]).outcome is Outcome.FAILED


@pytest.mark.parametrize("told", ["", ": nothing yet\n\n", DELTA + ENDED, DELTA + ENDED + "data: [DONE]\n\n"])
def test_a_stream_may_have_ended_before_the_place_that_is_wanted(front: Front, ordered: Any, told: str) -> None:
    name = respond(front).json()["id"]
    ordered(raw=told, content_type="text/event-stream")
    answer = front.client.get(f"/v1/responses/{name}?stream=true&starting_after=9")
    assert answer.text == told
    assert front.settled(answer.headers["x-request-id"]).outcome is Outcome.ANSWERED


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "resp_1", "GET, DELETE"),
        ("HEAD", "resp_1", "GET, DELETE"),
        ("GET", "resp_1/cancel", "POST"),
        ("POST", "resp_1/input_items", "GET"),
        ("GET", "", None),
        ("GET", "resp_1/", None),
        ("GET", "resp_1/other", None),
        ("GET", "resp_1/input_items/x", None),
        ("GET", "/cancel", None),
        ("POST", "compact", None),
    ],
)
def test_other_paths_and_methods(front: Front, method: str, path: str, allow: str | None) -> None:
    answer = front.client.request(method, f"/v1/responses/{path}")
    assert answer.status_code == (404 if allow is None else 405)
    assert answer.headers.get("allow") == allow
    if method != "HEAD" and allow is None:
        assert answer.json()["error"]["code"] == "unknown_url"


@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE"]),
    st.lists(st.sampled_from(["/", "resp_1", "cancel", "input_items", "%2F", "%", "..", "compact"]), max_size=6),
)
def test_every_path_is_one_of_these_or_none(method: str, parts: list[str]) -> None:
    path = PATH + "".join(parts)
    request = Request(method, path, "", True, {}, "", False, 0.0, 0, True, False)
    try:
        name, below, action = _parsed(request)
    except (UnknownPath, MethodNotAllowed):
        return
    assert ACTIONS[below][method] == action
    assert name
    assert path.endswith(below)
    assert unquote(path[len(PATH) : len(path) - len(below)]) == name
    assert "/" not in path[len(PATH) : len(path) - len(below)], "one segment is the id"


# What it counts as


def test_limits_of_requests_count_it_and_those_of_tokens_do_not(front: Front) -> None:
    headers = key_of(front, "default")

    def ask(method: str, path: str, **fields: Any) -> httpx.Response:
        return front.client.request(method, f"/v1/responses{path}", headers=headers, **fields)

    name = ask("POST", "", json={"model": "few", "input": "hello"}).json()["id"]
    left = [ask("GET", f"/{name}").headers for _ in range(2)]
    assert [line["x-ratelimit-remaining-requests"] for line in left] == ["1", "0"]
    assert len({line["x-ratelimit-remaining-tokens"] for line in left}) == 1
    refused = ask("GET", f"/{name}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert "retry-after" in refused.headers


def test_a_place_is_taken_while_it_lasts_and_free_again_however_it_ends(front: Front, ordered: Any) -> None:
    name = respond(front, model="single").json()["id"]
    for fields in ({"status": 200}, {"status": 500}, {"status": 404}, {"cut": "before_head"}):
        ordered(**fields)
        front.client.get(f"/v1/responses/{name}")
        ordered(status=200)
        assert front.client.get(f"/v1/responses/{name}").status_code == 200, fields
    ordered(stall_after=1, content="one two three")
    with front.client.stream("GET", f"/v1/responses/{name}?stream=true") as stream:
        assert stream.status_code == 200
        refused = front.client.get(f"/v1/responses/{name}")
        assert (refused.status_code, refused.json()["error"]["type"]) == (429, "requests")
    ordered(status=200)
    assert eventually(lambda: front.client.get(f"/v1/responses/{name}").is_success, "the client's leaving")


def test_the_journal_has_it(front: Front) -> None:
    created = respond(front)
    name = created.json()["id"]
    trace = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
    headers = {"x-penstock-tags": "team=search", "traceparent": trace}
    answer = front.client.delete(f"/v1/responses/{name}", headers=headers)
    assert answer.headers["x-penstock-cost-usd"] == "0.000000000"
    settled = front.settled(answer.headers["x-request-id"])
    deployment = created.headers["x-penstock-deployment"]
    told = (settled.operation, settled.model, settled.deployment, settled.status, settled.outcome, settled.cost_nano)
    assert told == ("delete_response", "chat", deployment, 200, Outcome.ANSWERED, 0)
    assert (settled.tags, settled.trace_id) == ("team=search", trace[3:35])
    assert settled.usage.source is UsageSource.NONE
    explained = dict(settled.explanation)
    assert explained["route"] == f"chat: {deployment} alone, which keeps {upstream_name(name)}"
    assert explained["upstream"] == f"{deployment} answers"
    assert any(isinstance(record, Opened) and record.id == settled.id for record in front.journal())
    missing = front.client.get("/v1/responses/resp_1")
    refused = front.settled(missing.headers["x-request-id"])
    assert (refused.operation, refused.outcome, refused.status) == ("retrieve_response", Outcome.REFUSED, 404)


def test_there_is_an_end_to_how_many_at_once(front: Front, ordered: Any) -> None:
    name = respond(front).json()["id"]

    async def crowd() -> tuple[set[int], int, int]:
        headers = {"authorization": f"Bearer {front.key}"}
        async with httpx.AsyncClient(base_url=front.url, headers=headers, timeout=30) as client:
            asked = [asyncio.create_task(client.get(f"/v1/responses/{name}")) for _ in range(18)]
            while len(left := [task for task in asked if not task.done()]) > 16:
                await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            refused = {task.result().status_code for task in asked if task.done()}
            for task in left:
                task.cancel()
            ordered(status=200)
            while (last := (await client.get(f"/v1/responses/{name}")).status_code) == 503:
                continue
            return refused, len(left), last

    ordered(stall="before_head")
    assert asyncio.run(crowd()) == ({503}, 16, 200), "who leaves makes room"
