"""Follow-ups over real sockets: they stay with the deployment that keeps what they go on from, and with its tenant."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from penstock.auth import keys, pepper
from penstock.journal.records import Opened
from penstock.pricing.period import Period
from penstock.snapshot.config import Budget, Cache, Limit, Measure, Outage, Shadow
from penstock.snapshot.principals import KeyRecord
from penstock.types.address import Address
from penstock.types.dialect import Dialect
from penstock.types.usage import UsageSource
from tests.gateway.streams.client import order
from tests.processes import Front, Lab, eventually, model, provider

NAMES = ["a", "b", "c"]
NATIVE = (Dialect.RESPONSES, Dialect.CHAT)
NOBODY = Address(host="127.0.0.1", port=1)
SEALING: dict[str, Any] = {"store": False, "include": ["reasoning.encrypted_content"]}
THINKING = order(thinking=3)
BUDGET = Budget("b", "default", ("key",), Period.TOTAL, ("paid", "unbounded"), 10**12, Outage.DENY)
TOKENS = Limit("default", ("key",), Measure.TOKENS, 4000, Outage.LOCAL_SHARE)


def published(front: Front, labs: list[Lab]) -> None:
    known = [provider(name, lab.address(), speaks=NATIVE) for name, lab in zip(NAMES, labs, strict=True)]
    front.publish(
        [
            *known,
            provider("gone", NOBODY, speaks=NATIVE),
            provider("translated", labs[0].address()),
            provider("open", labs[0].address(), speaks=NATIVE, references=True),
            provider("bounded", labs[0].address(), speaks=NATIVE, references=True, context=3000),
            provider("claude", labs[0].address(), provider="anthropic"),
        ],
        [
            model("chat", *NAMES),
            model("other", "a"),
            model("translated", "translated"),
            model("mixed", "a", fallback=("translated",)),
            model("standby", "c", fallback=("a",)),
            model("open", "open"),
            model("messages", "claude"),
            model("paid", "bounded", budgets=(BUDGET,)),
            model("unbounded", "open", budgets=(BUDGET,)),
            model("few", "bounded", limits=(TOKENS,)),
            model("kept", "a", cache=Cache(3600, 64 * 1024)),
            model("shadowed", "a", shadow=Shadow("b", 1.0)),
        ],
    )


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Front, list[Lab]]]:
    """A gateway before three upstreams, each of which keeps what it answers to itself."""
    with contextlib.ExitStack() as stack:
        labs = [stack.enter_context(Lab()) for _ in NAMES]
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


def another_key(front: Front, tenant: str) -> str:
    new = keys.create(pepper.load(front.home.root, {}))
    front.records[new.id] = KeyRecord(new.id, new.digest, tenant)
    front.publish_keys()
    headers = {"authorization": f"Bearer {new.key}"}
    eventually(lambda: httpx.get(f"{front.url}/v1/models", headers=headers).status_code == 200, "the key")
    return new.key


def respond(front: Front, said: Any = "hello", key: str = "", **fields: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return front.client.post("/v1/responses", json={"model": "chat", "input": said, **fields}, headers=headers)


def explained(front: Front, answer: httpx.Response) -> dict[str, str]:
    return dict(front.settled(answer.headers["x-request-id"]).explanation)


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_stays_where_it_is_kept(client: openai.OpenAI, stream: bool) -> None:
    for _ in range(6):
        opening = client.responses.with_raw_response.create(model="chat", input="one two")
        home, reply = opening.headers["x-penstock-deployment"], opening.parse()
        for tokens in (3, 4):
            previous = reply.id
            if stream:
                with client.responses.stream(model="chat", input="go", previous_response_id=previous) as events:
                    named = {event.response.id for event in events if hasattr(event, "response")}
                    reply = events.get_final_response()
                assert named == {reply.id}, "all events of a stream call it the same"
            else:
                raw = client.responses.with_raw_response.create(model="chat", input="go", previous_response_id=previous)
                assert raw.headers["x-penstock-deployment"] == home
                reply = raw.parse()
            assert reply.previous_response_id == previous
            assert reply.usage is not None
            assert reply.usage.input_tokens == tokens, "what went before has been read again"


def test_the_upstream_is_asked_by_its_own_name_for_it(fleet: tuple[Front, list[Lab]]) -> None:
    front, (lab, *_) = fleet
    first = respond(front, model="other").json()["id"]
    answer = respond(front, model="other", previous_response_id=first)
    asked = json.loads(lab.last()[0]["body"])["previous_response_id"]
    assert first.startswith(f"{asked}-")
    assert "a alone, which keeps" in explained(front, answer)["route"]


def test_nobody_else_finds_it(front: Front) -> None:
    first = respond(front).json()["id"]
    strange = another_key(front, "strangers")
    later = respond(front, model="other").json()["id"]
    refused = {
        "another tenant": respond(front, key=strange, previous_response_id=first),
        "forged": respond(front, previous_response_id=first[:-1] + ("A" if first[-1] != "A" else "B")),
        "without its tag": respond(front, previous_response_id=first[:-23]),
        "never heard of": respond(front, previous_response_id="resp_1"),
        "empty": respond(front, previous_response_id=""),
        "translated": respond(front, model="translated", previous_response_id=later),
    }
    for why, answer in refused.items():
        error = answer.json()["error"]
        told = (answer.status_code, error["type"], error["param"], error["code"])
        assert told == (400, "invalid_request_error", "previous_response_id", "previous_response_not_found"), why
        assert error["message"].endswith("' not found."), why
        assert answer.headers["x-penstock-error-source"] == "client", why
        assert "x-penstock-deployment" not in answer.headers, why
    mate = another_key(front, "default")
    assert respond(front, key=mate, previous_response_id=first).status_code == 200, "keys of one tenant share it"


def test_one_that_is_not_stored_cannot_be_gone_on_from(front: Front) -> None:
    first = respond(front, store=False).json()["id"]
    assert "-" not in first.removeprefix("resp_req-")
    assert respond(front, previous_response_id=first).json()["error"]["code"] == "previous_response_not_found"


def test_what_the_upstream_has_forgotten_is_as_unknown(tmp_path: Path) -> None:
    with Lab() as lab, Lab() as successor, Front(tmp_path) as front:
        front.publish([provider("a", lab.address(), speaks=NATIVE)], [model("chat", "a")])
        first = respond(front).json()["id"]
        front.publish([provider("a", successor.address(), speaks=NATIVE)], [model("chat", "a"), model("new", "a")])
        eventually(lambda: respond(front, model="new").status_code == 200, "the change")
        answer = respond(front, previous_response_id=first)
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": f"Previous response with id '{first}' not found.",
        "type": "invalid_request_error",
        "param": "previous_response_id",
        "code": "previous_response_not_found",
    }


def test_an_engine_that_has_forgotten_says_so_in_a_sentence(front: Front) -> None:
    """As vLLM does, with its own name for the response, which is none of the client's."""
    first = respond(front).json()["id"]
    original = first[: -len("-kxMbBZ2NJXzAPKbvvuH7bA")]
    said = order(status=404, error=f"Response with id '{original}' not found.", error_type="NotFoundError")
    answer = respond(front, said, previous_response_id=first)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "previous_response_not_found")
    other = respond(front, order(status=404, error="The model does not exist."), previous_response_id=first)
    assert other.json()["error"]["code"] != "previous_response_not_found"


def test_another_gateway_with_the_same_secret_knows_it_too(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        labs = [stack.enter_context(Lab()) for _ in NAMES]
        with Front(tmp_path / "one") as one:
            published(one, labs)
            firsts = [respond(one).json()["id"] for _ in range(6)]
        (tmp_path / "two").mkdir()
        shutil.copy(tmp_path / "one" / "secret.key", tmp_path / "two")
        two = stack.enter_context(Front(tmp_path / "two"))
        published(two, labs)
        for first in firsts:
            answer = respond(two, previous_response_id=first)
            assert (answer.status_code, answer.json()["previous_response_id"]) == (200, first)


def test_where_the_owner_is_gone_nobody_else_is_asked(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        with Lab() as owner:
            front.publish(
                [provider("a", owner.address(), speaks=NATIVE), provider("b", lab.address(), speaks=NATIVE)],
                [model("chat", "a", fallback=("b",))],
            )
            first = respond(front).json()["id"]
        assert respond(front).headers["x-penstock-deployment"] == "b"
        before = lab.stats()["requests"]
        answers = [respond(front, previous_response_id=first) for _ in range(6)]
        assert {answer.status_code for answer in answers} == {503}
        assert all("retry-after" in answer.headers for answer in answers)
        error = answers[-1].json()["error"]
        assert (error["code"], lab.stats()["requests"]) == ("overloaded", before), "the breaker is open by now"
        assert error["message"].endswith("no other keeps what this goes on from")


@pytest.mark.parametrize("fields", [{"previous_response_id": "?"}, {"conversation": "conv_1"}])
def test_what_nobody_has_seen_is_held(front: Front, fields: dict[str, Any]) -> None:
    first = respond(front, model="paid")
    if "previous_response_id" in fields:
        fields = {"previous_response_id": first.json()["id"]}
    answer = respond(front, model="paid", max_output_tokens=7, **fields)
    opened = next(record for record in front.journal() if record.id == answer.headers["x-request-id"])
    body = len(answer.request.content) - (23 if "previous_response_id" in fields else 0)  # its tag stays here
    assert isinstance(opened, Opened)
    assert opened.reserved_nano == (body + 3000) * 1000 + 7 * 2000, "a dollar and two for a million tokens"
    settled = front.settled(answer.headers["x-request-id"])
    assert settled.cost_nano == settled.usage.input_tokens * 1000 + settled.usage.output_tokens * 2000


def test_tokens_that_nobody_has_seen_count(front: Front) -> None:
    first = respond(front, model="few", max_output_tokens=7)
    assert first.status_code == 200
    answer = respond(front, model="few", max_output_tokens=7, previous_response_id=first.json()["id"])
    assert answer.status_code == 200
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) < 1000, "while it was under way"


def test_what_a_stream_that_broke_off_has_not_told_is_taken_to_have_been_all_that_it_could(front: Front) -> None:
    """Else a budget could be overrun by leaving in time, again and again."""
    first = respond(front, model="paid").json()["id"]
    cut = order(events=9, cut_after=3)
    answer = respond(front, cut, model="paid", stream=True, previous_response_id=first)
    settled = front.settled(answer.headers["x-request-id"])
    assert settled.usage.source is UsageSource.COUNTED
    assert settled.usage.input_tokens == 3000 + -(-len(json.dumps(cut)) // 4)


@pytest.mark.parametrize("name", ["previous_response_id", "conversation"])
def test_without_a_bound_nothing_is_counted_on(front: Front, name: str) -> None:
    value = respond(front, model="open").json()["id"] if name == "previous_response_id" else "conv_1"
    assert respond(front, model="open", **{name: value}).status_code == 200, "where nothing is counted"
    error = respond(front, model="unbounded", **{name: value}).json()["error"]
    assert (error["param"], error["code"]) == (name, "unsupported_parameter")
    assert "deployments.open.context" in error["message"]


# What is sealed


def turns(reply: Any) -> list[Any]:
    return [{"role": "user", "content": "hello"}, *reply["output"], {"role": "user", "content": "again"}]


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_go_back_to_who_can_open_them(client: openai.OpenAI, stream: bool) -> None:
    for _ in range(6):
        said: Any = {"model": "chat", **SEALING}
        if stream:
            with client.responses.stream(input=THINKING, **said) as events:
                found = {event.item.encrypted_content for event in events
                         if event.type == "response.output_item.done" and event.item.type == "reasoning"}  # fmt: skip
                reply: Any = events.get_final_response()
            assert found == {reply.output[0].encrypted_content}, "the same wherever it is told"
        else:
            reply = client.responses.create(input=THINKING, **said)
        thought = reply.output[0].model_dump(exclude_none=True)
        again = client.responses.with_raw_response.create(input=turns({"output": [thought]}), **said)
        assert "x-penstock-dropped" not in again.headers
        assert again.parse().output_text == "echo: again", "the lab refuses what others have sealed"


def test_a_fallback_goes_first_where_it_is_the_one(front: Front) -> None:
    thought = respond(front, THINKING, model="other", **SEALING).json()
    answer = respond(front, turns(thought), model="standby", **SEALING)
    assert answer.headers["x-penstock-deployment"] == "a"
    assert "x-penstock-degraded" not in answer.headers
    assert "a can open the sealed items" in explained(front, answer)["route"]


def test_others_are_asked_without_them_and_say_so(tmp_path: Path) -> None:
    with Lab() as lab, Front(tmp_path) as front:
        with Lab() as owner:
            front.publish(
                [provider("a", owner.address(), speaks=NATIVE), provider("b", lab.address(), speaks=NATIVE)],
                [model("chat", "a", fallback=("b",))],
            )
            thought = respond(front, THINKING, **SEALING).json()
        answer = respond(front, turns(thought), **SEALING)
        assert (answer.status_code, answer.headers["x-penstock-deployment"]) == (200, "b")
        assert answer.headers["x-penstock-dropped"] == "input.reasoning"
        assert answer.headers["x-penstock-degraded"] == "fallback"
        assert explained(front, answer)["ownership"] == "left out for b: input.reasoning"
        asked = json.loads(lab.last()[0]["body"])["input"]
        assert [item.get("type", "message") for item in asked] == ["message"] * 3
        condensed = {**thought["output"][0], "type": "compaction"}
        refused = respond(front, [condensed, {"role": "user", "content": "x"}])
        assert refused.status_code == 503, "its owner may come back, and others have nothing to go on from"


def test_what_another_tenant_was_told_is_left_out(front: Front) -> None:
    thought = respond(front, THINKING, **SEALING).json()
    answer = respond(front, turns(thought), key=another_key(front, "aliens"), **SEALING)
    assert (answer.status_code, answer.headers["x-penstock-dropped"]) == (200, "input.reasoning")


def test_what_has_no_tag_is_for_the_upstream_to_judge(front: Front) -> None:
    moved = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAfromElsewhere"}
    answer = respond(front, turns({"output": [moved]}))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_encrypted_content")
    assert answer.headers["x-penstock-error-source"] == "upstream"


# What an account keeps


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}, "tools[0].vector_store_ids"),
    ],
)
def test_what_an_account_keeps_is_not_for_all(front: Front, fields: dict[str, Any], param: str) -> None:
    error = respond(front, **fields).json()["error"]
    assert (error["param"], error["code"]) == (param, "unsupported_parameter")
    assert "kept at the provider" in error["message"]
    assert respond(front, **{"model": "open", **fields}).status_code == 200


def test_a_thought_by_its_id_alone_is_left_out_where_its_account_is_not_for_all(front: Front) -> None:
    said = turns({"output": [{"type": "reasoning", "id": "rs_1", "summary": []}]})
    answer = respond(front, said)
    assert (answer.status_code, answer.headers["x-penstock-dropped"]) == (200, "input.reasoning")
    assert "left out for" in explained(front, answer)["ownership"]
    answer = respond(front, said, model="paid", max_output_tokens=7)
    assert (answer.status_code, "x-penstock-dropped" in answer.headers) == (200, False)
    opened = next(record for record in front.journal() if record.id == answer.headers["x-request-id"])
    assert isinstance(opened, Opened)
    assert opened.reserved_nano == (len(answer.request.content) + 3000) * 1000 + 7 * 2000, "it may be that long"


def test_files_of_chats_and_messages(front: Front) -> None:
    content = [{"type": "text", "text": "hi"}, {"type": "file", "file": {"file_id": "file-1"}}]
    turn: dict[str, Any] = {"messages": [{"role": "user", "content": content}]}
    error = front.chat(**turn).json()["error"]
    assert (error["param"], error["code"]) == ("messages[0].content[1].file.file_id", "unsupported_parameter")
    assert front.chat(model="open", **turn).status_code == 200
    block = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    asked = {"model": "messages", "max_tokens": 5, "messages": [{"role": "user", "content": [block]}]}
    answer = front.client.post("/v1/messages", json=asked, headers={"anthropic-version": "2023-06-01"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages[0].content[0].source.file_id")


# What is not for others


def test_each_kept_response_has_an_id_of_its_own(front: Front) -> None:
    answers = [respond(front, "same", model="kept") for _ in range(2)]
    assert [answer.headers["x-penstock-cache"] for answer in answers] == ["bypass"] * 2
    assert len({answer.json()["id"] for answer in answers}) == 2
    assert explained(front, answers[1])["cache"] == "bypass: store"
    follow_up = respond(front, "same", model="kept", store=False, previous_response_id=answers[0].json()["id"])
    assert explained(front, follow_up)["cache"] == "bypass: previous_response_id"
    answers = [respond(front, "same", model="kept", store=False) for _ in range(2)]
    assert [answer.headers["x-penstock-cache"] for answer in answers] == ["miss", "exact"]


def test_no_follow_up_is_copied(front: Front) -> None:
    first = respond(front, model="shadowed").json()["id"]
    answer = respond(front, model="shadowed", previous_response_id=first)
    assert explained(front, answer)["shadow"] == "not copied: it has previous_response_id"
