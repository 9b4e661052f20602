"""A client that leaves frees the upstream within a second and pays for what it got."""

import time
from typing import Any

import pytest

from penstock.journal.records import Settled
from tests.gateway.streams.client import Client, body, order
from tests.gateway.streams.conftest import Configured
from tests.processes import Front, Lab, eventually

SOON_S = 5.0  # the promise is one second; a busy machine gets more, and no other limit would come so early

BEHIND = {
    "nothing": b"",
    "a request": b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
    "half a request": b"GET /livez HTTP/1.1\r\nhos",
    "many requests": b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n" * 20_000,
}


def left(front: Front, lab: Lab, leave: Any) -> tuple[dict[str, Any], Settled]:
    """Let a client leave; return what the lab saw of it, and its record."""
    request_id = str(dict(lab.last()[0]["headers"])["x-request-id"])
    before = len(lab.stats()["departures"])
    began = time.monotonic()
    leave()
    departures = eventually(lambda: lab.stats()["departures"][before:], "the departure")
    assert time.monotonic() - began < SOON_S
    assert lab.stats()["in_progress"] == 0
    return departures[0], front.settled(request_id)


@pytest.mark.parametrize("behind", list(BEHIND))
@pytest.mark.parametrize("reset", [False, True])
def test_in_the_middle_of_a_stream(configured: Configured, behind: str, reset: bool) -> None:
    with configured() as (front, lab), Client(front) as client:
        client.request(body(order(content="a b c d e", stall_after=3)))
        answer = client.receive(lambda answer: answer.text == "a b c")
        client.send_what_fits(BEHIND[behind])
        departure, record = left(front, lab, lambda: client.close(reset=reset))
        assert (departure["state"], departure["events"]) == ("stalled", 3)
        assert (answer.request_id, record.outcome, record.status) == (record.id, "cancelled", 200)
        assert (record.usage.source, record.usage.output_tokens) == ("counted", 3)
        assert record.cost_nano > 0


def test_usage_told_by_then_is_billed(configured: Configured) -> None:
    with configured() as (front, lab), Client(front) as client:
        client.request(body(order(content="a b c d e", stall_after=3, usage_on="every", prompt_tokens=77)))
        client.receive(lambda answer: answer.text == "a b c")
        _, record = left(front, lab, client.close)
        assert (record.usage.source, record.usage.input_tokens, record.usage.output_tokens) == ("upstream", 77, 3)


@pytest.mark.parametrize("behind", list(BEHIND))
@pytest.mark.parametrize(
    ("stream", "fields"),
    [
        (True, {"stall": "before_head"}),
        (True, {"stall": "after_head"}),
        (True, {"stall_after": 0, "usage_on": "every"}),
        (False, {"stall": "before_head"}),
        (False, {"stall": "after_head"}),
    ],
    ids=str,
)
def test_before_the_first_byte(configured: Configured, stream: bool, fields: dict[str, Any], behind: str) -> None:
    with configured() as (front, lab), Client(front) as client:
        client.request(body(order(**fields), stream=stream))
        eventually(lambda: lab.stats()["stalled"] == 1, "the silence")
        client.send_what_fits(BEHIND[behind])
        _, record = left(front, lab, client.close)
        assert (record.outcome, record.status, record.cost_nano) == ("cancelled", 499, 0)


def test_while_comments_are_sent(configured: Configured) -> None:
    with configured(commit_after_s=0.1) as (front, lab), Client(front) as client:
        client.request(body(order(stall="before_head")))
        client.receive(lambda answer: answer.comments >= 2)
        _, record = left(front, lab, client.close)
        assert (record.outcome, record.status, record.cost_nano) == ("cancelled", 200, 0)


def test_a_reader_that_had_stopped(configured: Configured) -> None:
    """It leaves while the gateway waits for it to read."""
    with configured() as (front, lab), Client(front, receive_buffer=4096) as client:
        client.request(body(order(size="200MiB")))
        client.receive(lambda answer: len(answer.pieces) > 3)
        eventually(still(lab), "the upstream standing still")
        _, record = left(front, lab, client.close)
        assert (record.outcome, record.usage.source) == ("cancelled", "counted")
        assert record.usage.output_tokens > 3


def test_seats_are_free_again(configured: Configured) -> None:
    """Of one seat nothing stays taken, however clients leave."""
    with configured(seats=1) as (front, lab):
        for stream in (True, False):
            for fields in ({"stall": "before_head"}, {"stall_after": 0}, {"stall": "in_event"}):
                for reset in (True, False):
                    with Client(front) as client:
                        client.request(body(order(content="a b c", **fields), stream=stream))
                        eventually(lambda: lab.stats()["in_progress"] == 1, "the request")
                        assert front.chat().json()["error"]["code"] == "overloaded"
                        client.close(reset=reset)
                    eventually(lambda: lab.stats()["in_progress"] == 0, "the upstream being freed")
                    eventually(lambda: front.chat().status_code == 200, "the seat")


def still(lab: Lab) -> Any:
    """Return what tells whether the lab has sent nothing over many looks: two alike could be chance."""
    seen = [-1]

    def look() -> bool:
        seen.append(int(lab.stats()["bytes_sent"]))
        return len(seen) > 30 and len(set(seen[-30:])) == 1

    return look
