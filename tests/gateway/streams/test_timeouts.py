"""Time-outs fire on time, wherever the upstream is silent, and with the right words."""

import pytest

from tests.gateway.streams.client import Client, at_least, order
from tests.gateway.streams.conftest import Configured
from tests.processes import eventually

LIMIT_S = 0.6
MUCH_S = 8.0  # less than any other limit could explain, more than a busy machine needs


@pytest.mark.parametrize(
    "fields",
    [
        {"stall": "before_head"},
        {"stall": "in_head"},
        {"stall": "after_head"},
        {"stall_after": 0, "role_events": 2},
        {"delay_first": "1h", "ping_every": "50ms"},
        {"stall": "in_event", "stall_after": 0},
    ],
    ids=str,
)
def test_no_content_within_the_first_token_time(configured: Configured, fields: dict[str, object]) -> None:
    with configured(first_token_s=LIMIT_S) as (front, lab), Client(front) as client:
        with at_least(LIMIT_S, MUCH_S):
            answer = client.ask(order(**fields))
        assert answer.status == 504
        assert (answer.error["type"], answer.error["code"]) == ("timeout_error", "upstream_timeout")
        assert answer.headers["x-penstock-error-source"] == "upstream"
        record = front.settled(answer.request_id)
        assert (record.outcome, record.status, record.cost_nano) == ("failed", 504, 0)
        eventually(lambda: lab.stats()["in_progress"] == 0, "the upstream being freed")


@pytest.mark.parametrize("where", ["after_events", "in_event"])
def test_silence_in_the_middle(configured: Configured, where: str) -> None:
    with configured(first_token_s=LIMIT_S) as (front, lab), Client(front) as client:
        with at_least(LIMIT_S, MUCH_S):
            answer = client.ask(order(content="a b c d", stall=where, stall_after=2))
        assert (answer.status, answer.text, answer.done, answer.whole) == (200, "a b", False, True)
        assert [(error["type"], error["code"]) for error in answer.errors] == [("timeout_error", "upstream_timeout")]
        record = front.settled(answer.request_id)
        assert (record.outcome, record.status) == ("failed", 200)
        assert (record.usage.source, record.usage.output_tokens) == ("counted", 2)
        eventually(lambda: lab.stats()["in_progress"] == 0, "the upstream being freed")


def test_a_silence_shorter_than_the_limit_is_none(configured: Configured) -> None:
    """The limit is on each silence: together they may take longer."""
    with configured(first_token_s=1.0) as (front, _), Client(front) as client, at_least(1.2):
        assert client.ask(order(content="a b c d e", delay_between="300ms")).done


@pytest.mark.parametrize(
    "fields",
    [{"stall": "before_head"}, {"stall_after": 0}, {"delay_first": "1h", "ping_every": "50ms"}],
    ids=str,
)
@pytest.mark.parametrize("stream", [True, False])
def test_the_total_time_before_content(configured: Configured, fields: dict[str, object], stream: bool) -> None:
    with configured(total_s=LIMIT_S) as (front, lab), Client(front) as client:
        with at_least(LIMIT_S, MUCH_S):
            answer = client.ask(order(**fields), stream=stream)
        assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
        assert front.settled(answer.request_id).cost_nano == 0
        eventually(lambda: lab.stats()["in_progress"] == 0, "the upstream being freed")


@pytest.mark.parametrize(
    "fields",
    [
        {"delay_between": "20ms"},
        {"stall_after": 3, "ping_every": "50ms"},
        {"stall": "in_event", "stall_after": 3},
    ],
    ids=str,
)
def test_the_total_time_in_the_middle(configured: Configured, fields: dict[str, object]) -> None:
    with configured(total_s=LIMIT_S) as (front, lab), Client(front) as client:
        with at_least(LIMIT_S, MUCH_S):
            answer = client.ask(order(events=100_000, **fields))
        assert (answer.status, answer.done, answer.whole) == (200, False, True)
        assert [error["code"] for error in answer.errors] == ["upstream_timeout"]
        record = front.settled(answer.request_id)
        assert (record.outcome, record.status, record.usage.source) == ("failed", 200, "counted")
        assert record.usage.output_tokens == answer.body.count(b'"content":"') - 1, "all but the role's"
        eventually(lambda: lab.stats()["in_progress"] == 0, "the upstream being freed")
