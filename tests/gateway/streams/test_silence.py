"""The status waits for content; silences are broken by comments, before content and after."""

import time
from pathlib import Path

import httpx
import pytest

from tests.gateway.streams.client import Answer, Client, body, order
from tests.gateway.streams.conftest import Configured
from tests.processes import Front, Lab, eventually, model, provider

COMMENT = b": keep-alive\n\n"
SOON_S = 0.2


def test_the_status_waits_for_content(front: Front, lab: Lab, client: Client) -> None:
    """Not even the first line goes out for a head and content-free events."""
    client.request(body(order(role_events=3, delay_first="600ms", content="late")))
    began = time.monotonic()
    eventually(lambda: lab.stats()["in_progress"] == 1, "the request")
    answer = client.receive()
    assert time.monotonic() - began >= 0.5
    arrived = bytes(answer.pieces[0])
    assert arrived.count(b"data: ") >= 4, "three without content and the first with it came together"
    assert answer.text == "late"
    assert front.settled(answer.request_id).status == 200


def test_nothing_is_sent_while_there_is_only_a_head(lab: Lab, client: Client) -> None:
    client.request(body(order(role_events=3, stall_after=0)))
    eventually(lambda: lab.stats()["stalled"] == 1, "the silence")
    assert client.silent_for(0.3)


@pytest.mark.parametrize(
    "fields",
    [{"delay": "700ms"}, {"delay_first": "700ms"}, {"delay_first": "700ms", "role_events": 0}],
    ids=str,
)
def test_a_long_wait_for_content_is_told_by_comments(configured: Configured, fields: dict[str, object]) -> None:
    with configured(commit_after_s=SOON_S) as (front, _), Client(front) as client:
        client.request(body(order(content="late words", **fields)))
        first = client.receive(lambda answer: answer.pieces)
        assert (first.status, first.pieces[0]) == (200, COMMENT)
        assert first.headers["content-type"].startswith("text/event-stream")
        answer = client.receive(into=first)
        assert answer.body.startswith(COMMENT * 2)
        assert (answer.text, answer.done) == ("late words", True)
        record = front.settled(answer.request_id)
        assert (record.outcome, record.status) == ("answered", 200)
        assert "comments after 0.2 s of silence" in str(record.explanation)


@pytest.mark.parametrize("where", ["after_events", "in_event"])
def test_silences_after_the_first_content_are_told_too(configured: Configured, where: str) -> None:
    """Also while half an event is here, which is not passed on: no comment stands within an event."""
    with configured(commit_after_s=SOON_S) as (front, _), Client(front) as client:
        answer = client.ask(order(content="a b c d", stall=where, stall_after=2, stall_for="900ms"))
        assert answer.comments >= 2
        assert (answer.text, answer.done) == ("a b c d", True)
        before, _, after = answer.body.partition(COMMENT)
        assert before.count(b'"delta"') == 3, "the role and two words"
        assert after.removeprefix(COMMENT * (answer.comments - 1)).count(b'"delta"') == 3
        assert all(piece == COMMENT for piece in answer.pieces if piece.startswith(b":"))
        assert front.settled(answer.request_id).outcome == "answered"


def test_no_comments_among_events_that_flow(configured: Configured) -> None:
    """The time counts from what was sent last, whatever that was."""
    with configured(commit_after_s=1.5) as (front, _), Client(front) as client:
        answer = client.ask(order(events=19, delay_between="100ms"))
        assert (answer.comments, answer.done) == (0, True)
        pinged = client.ask(order(content="a b", delay_between="1900ms", ping_every="100ms"))
        assert (pinged.comments, pinged.done) == (0, True), "the upstream's own comments do"


def test_no_comment_follows_an_answer(configured: Configured) -> None:
    with configured(commit_after_s=0.1) as (front, _), Client(front) as client:
        assert client.ask().done
        assert client.silent_for(0.4)
        assert client.ask("one", stream=False).json["choices"][0]["message"]["content"] == "echo: one"


def test_a_plain_answer_has_no_comments(configured: Configured) -> None:
    with configured(commit_after_s=0.1) as (front, _), Client(front) as client:
        answer = client.ask(order(content="late", delay="500ms"), stream=False)
        assert answer.data.startswith(b"HTTP/1.1 200")
        assert answer.json["choices"][0]["message"]["content"] == "late"


def failed_in_band(front: Front, answer: Answer, code: str) -> None:
    """Check that a committed stream ended in an error, and nothing was billed."""
    assert (answer.status, answer.whole, answer.done) == (200, True, False)
    assert answer.body.startswith(COMMENT)
    assert [error["code"] for error in answer.errors] == [code]
    assert answer.events[-1].startswith(b"data: ")
    record = front.settled(answer.request_id)
    assert (record.outcome, record.status, record.cost_nano) == ("failed", 200, 0)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"delay": "500ms", "status": 500}, "upstream_failed"),
        ({"delay": "500ms", "status": 429}, "upstream_overloaded"),
        ({"stall": "before_head", "stall_for": "500ms", "cut": "before_head"}, "upstream_failed"),
        ({"delay_first": "500ms", "broken": "event"}, "upstream_failed"),
        ({"stall_after": 0, "stall_for": "500ms", "cut_after": 0}, "upstream_failed"),
        ({"stall": "after_head"}, "upstream_timeout"),
    ],
    ids=str,
)
def test_failures_after_the_comments_are_told_in_band(
    configured: Configured, fields: dict[str, object], code: str
) -> None:
    with configured(commit_after_s=SOON_S, first_token_s=2.0) as (front, _), Client(front) as client:
        failed_in_band(front, client.ask(order(content="a b", **fields)), code)
        assert client.ask("again").done, "the connection lives on"


def test_after_comments_another_deployment_may_still_answer(tmp_path: Path) -> None:
    with Lab() as bad, Lab() as good, Front(tmp_path) as front:
        rule = [{"order": {"delay": "500ms", "status": 500}}]
        httpx.post(f"{bad.url}/lab/script", json=rule).raise_for_status()
        front.publish(
            [provider("bad", bad.address()), provider("good", good.address())],
            [model("chat", "bad", fallback=("good",))],
            commit_after_s=0.1,
        )
        with Client(front) as client:
            answer = client.ask("one two")
        assert answer.body.startswith(COMMENT)
        assert (answer.text, answer.done) == ("echo: one two", True)
        assert front.settled(answer.request_id).deployment == "good"
