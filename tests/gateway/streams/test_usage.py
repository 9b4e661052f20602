"""Usage is known of every stream, and told to those who asked."""

import json
from typing import Any

import pytest

from tests.gateway.streams.client import Client, ask, order
from tests.gateway.streams.test_bytes import TEXT, direct
from tests.processes import Front, Lab

EVENTS = 9  # content events that the lab makes of TEXT
PROMPT, COMPLETION, CACHED = 1234, 56, 34
FIGURES = {"prompt_tokens": PROMPT, "completion_tokens": COMPLETION, "cached_tokens": CACHED}
WHERE = ["own", "finish", "every", "null_choices"]


def test_a_stream_is_relayed_and_accounted(front: Front, lab: Lab) -> None:
    """Usage is asked of the upstream, whatever else stands in the options."""
    answer = ask(front, stream_options={"other": 1})
    assert json.loads(lab.last()[0]["body"])["stream_options"] == {"other": 1, "include_usage": True}
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.text == "echo: one two three"
    record = front.settled(answer.request_id)
    assert (record.outcome, record.usage.source, record.stream) == ("answered", "upstream", True)
    assert record.usage.output_tokens == 4
    assert record.first_content_ms is not None


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("fields", [{}, {"newline": "crlf"}, {"unknown_fields": True, "spaceless": True}], ids=str)
def test_nobody_gets_usage_unasked_and_it_is_recorded(
    front: Front, lab: Lab, client: Client, where: str, fields: Any
) -> None:
    """What the client gets is byte for byte what the upstream says to somebody who asks for none."""
    prompt = order(content=TEXT, usage_on=where, **FIGURES, **fields)
    answer = client.ask(prompt)
    messages = [{"role": "user", "content": prompt}]
    given = {"model": "lab-upstream", "stream": True, "messages": messages}
    assert answer.body == direct(lab, answer.request_id, given)
    assert answer.usages == []
    usage = front.settled(answer.request_id).usage
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (PROMPT, COMPLETION, CACHED)
    assert usage.source == "upstream"


@pytest.mark.parametrize("where", WHERE)
def test_no_null_either_when_events_span_lines_or_come_together(front: Front, where: str) -> None:
    for fields in ({"multiline": True}, {"events_per_write": 4}, {"newline": "cr"}):
        answer = ask(front, order(content=TEXT, usage_on=where, **FIGURES, **fields))
        assert answer.usages == []
        assert (answer.text, answer.done) == (TEXT, True)
        assert front.settled(answer.request_id).usage.source == "upstream"


@pytest.mark.parametrize("where", WHERE)
def test_who_asks_gets_what_the_upstream_tells(front: Front, client: Client, where: str) -> None:
    answer = client.ask(order(content=TEXT, usage_on=where, **FIGURES), stream_options={"include_usage": True})
    told = [document["usage"] for document in answer.usages if document["usage"]]
    assert told[-1]["prompt_tokens"] == PROMPT
    assert len(told) == (EVENTS + 2 if where == "every" else 1)
    assert front.settled(answer.request_id).usage.source == "upstream"


@pytest.mark.parametrize("kind", ["missing", "null", "negative", "huge", "text"])
@pytest.mark.parametrize("wanted", [False, True])
def test_without_usage_to_believe_the_delivered_events_are_counted(front: Front, kind: str, wanted: bool) -> None:
    answer = ask(front, order(content=TEXT, usage=kind), stream_options={"include_usage": wanted})
    assert (answer.text, answer.done) == (TEXT, True)
    record = front.settled(answer.request_id)
    assert (record.usage.source, record.usage.output_tokens) == ("counted", EVENTS)
    assert record.cost_nano > 0
    assert wanted or answer.usages == []


def test_an_answer_without_a_word_costs_its_prompt(front: Front) -> None:
    answer = ask(front, order(content="", usage="missing"))
    assert (answer.text, answer.done) == ("", True)
    usage = front.settled(answer.request_id).usage
    assert (usage.source, usage.output_tokens) == ("counted", 0)
    assert usage.input_tokens > 0


@pytest.mark.parametrize("done", [True, False])
def test_what_is_told_of_a_whole_answer_counts_also_without_its_last_event(
    front: Front, client: Client, done: bool
) -> None:
    answer = client.ask(order(events=5, completion_tokens=2, done=done))
    record = front.settled(answer.request_id)
    assert (record.outcome, record.usage.source, record.usage.output_tokens) == ("answered", "upstream", 2)
