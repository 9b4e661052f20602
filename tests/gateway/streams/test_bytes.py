"""What the upstream says reaches the client byte for byte, however it was cut on the way."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.streams.client import Answer, Client, ask, body, order
from tests.processes import Front, Lab

TEXT = 'žluťoučký 🐎 kůň řekl\tthree "usage":null words [DONE] ∑'
ODD: list[dict[str, object]] = [
    {},
    {"newline": "crlf"},
    {"newline": "cr"},
    {"comments": 2},
    {"multiline": True},
    {"spaceless": True},
    {"unknown_events": True},
    {"unknown_fields": True},
    {"role_events": 3},
    {"events_per_write": 5},
    {"chunk_size": 1},
    {"chunk_size": 7},
    {"write_size": 1},
    {"write_size": 3, "newline": "crlf"},
    {"framing": "close"},
    {"framing": "length"},
    {"gzip": False, "informational": [103]},
    {"comments": 1, "unknown_events": True, "unknown_fields": True, "newline": "crlf", "multiline": True},
    {"comments": 1, "unknown_events": True, "unknown_fields": True, "newline": "cr", "spaceless": True},
]  # fmt: skip


def direct(lab: Lab, request_id: str, given: dict[str, Any]) -> bytes:
    """Return what a client of the upstream itself gets for a request, de-chunked."""
    headers = {"x-request-id": request_id}
    with httpx.stream("POST", f"{lab.url}/v1/chat/completions", json=given, headers=headers) as response:
        return b"".join(response.iter_raw())


def alone(lab: Lab, answer: Answer, prompt: str) -> bytes:
    """Return what the lab says to the request behind an answer of the gateway, when it is asked without it."""
    messages = [{"role": "user", "content": prompt}]
    options = {"include_usage": True}
    given = {"model": "lab-upstream", "stream": True, "messages": messages, "stream_options": options}
    return direct(lab, answer.request_id, given)


@pytest.mark.parametrize("fields", ODD, ids=str)
def test_odd_but_valid_streams_pass_byte_for_byte(front: Front, lab: Lab, client: Client, fields: Any) -> None:
    prompt = order(content=TEXT, **fields)
    answer = client.ask(prompt, stream_options={"include_usage": True})
    assert answer.status == 200
    assert answer.whole
    assert answer.body == alone(lab, answer, prompt)
    assert answer.done
    assert front.settled(answer.request_id).outcome == "answered"


@pytest.mark.parametrize("newline", ["lf", "crlf", "cr"])
def test_a_last_event_without_its_blank_line_arrives_and_gets_it(front: Front, lab: Lab, newline: str) -> None:
    prompt = order(content=TEXT, newline=newline, last_blank=False)
    answer = ask(front, prompt, stream_options={"include_usage": True})
    line = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}[newline]
    assert answer.body == alone(lab, answer, prompt) + line
    assert front.settled(answer.request_id).outcome == "answered"


def test_the_end_goes_without_its_blank_line_only_where_nothing_came_of_it(front: Front) -> None:
    """A stream whose last word is its finish reason, without blank line and `[DONE]`, is made whole."""
    answer = ask(front, order(content="a b", done=False, last_blank=False))
    assert answer.documents[-1]["choices"][0]["finish_reason"] == "stop"
    assert answer.body.endswith(b"}\n\ndata: [DONE]\n\n")
    assert front.settled(answer.request_id).outcome == "answered"


def test_only_whole_events_are_passed_on(front: Front) -> None:
    """Else a comment or an error could come to stand within one."""
    answer = ask(front, order(content="a ž", write_size=1, write_pause="300us", newline="crlf", comments=1))
    assert answer.done
    assert all(piece.endswith((b"\r\n\r\n", b"\r\n\r")) for piece in answer.pieces)


@pytest.mark.parametrize("newline", ["lf", "crlf", "cr"])
@pytest.mark.parametrize("fields", [{}, {"write_size": 1, "write_pause": "200us"}], ids=str)
def test_no_event_waits_for_the_next(client: Client, newline: str, fields: Any) -> None:
    """Also where its blank line came in pieces: the upstream is silent behind it, and yet it is there."""
    client.request(body(order(content="a b c d", newline=newline, stall_after=2, **fields)))
    answer = client.receive(lambda answer: answer.text == "a b")
    assert answer.text == "a b"


# Every place at which the upstream's bytes can be cut

SHORT = {"content": "é {}", "comments": 1, "role_events": 1, "model": "m"}
THREADS = 8


class Cutter:
    """Asks for one and the same stream, cut in different ways."""

    def __init__(self, front: Front, lab: Lab) -> None:
        self._front = front
        with Client(front) as client:
            answer = client.ask(order(**SHORT))
        raw = alone(lab, answer, order(**SHORT))
        self._id = answer.request_id
        self.size = len(raw)
        self.bytes = self._anonymous(answer)
        assert len(raw) > len(self.bytes) > 500, "the usage is kept back, the rest is there"

    def passes(self, client: Client, fields: dict[str, object]) -> None:
        """Check one way of cutting."""
        answer = client.ask(order(**SHORT, **fields))
        assert self._anonymous(answer) == self.bytes, fields
        for piece in answer.pieces:
            assert piece.endswith(b"\n\n"), f"{fields}: half an event was passed on"

    @staticmethod
    def _anonymous(answer: Answer) -> bytes:
        """Return the body without the request's id, by which the lab names its answer."""
        assert (answer.status, answer.whole) == (200, True)
        return answer.body.replace(answer.request_id.encode(), b"ID")


@pytest.fixture(scope="module")
def cutter(pair: tuple[Front, Lab]) -> Cutter:
    return Cutter(*pair)


@pytest.fixture(scope="module")
def kept(pair: tuple[Front, Lab]) -> Iterator[Client]:
    with Client(pair[0]) as client:
        yield client


def test_one_cut_at_every_place(front: Front, cutter: Cutter) -> None:
    """The pauses between the lab's writes let the gateway see each on its own."""

    def some(first: int) -> int:
        with Client(front) as client:
            for place in range(first, cutter.size, THREADS):
                cutter.passes(client, {"split_at": [place], "framing": "chunked", "write_pause": "1ms"})
        return len(range(first, cutter.size, THREADS))

    with ThreadPoolExecutor(THREADS) as threads:
        assert sum(threads.map(some, range(1, THREADS + 1))) == cutter.size - 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(places=st.sets(st.integers(1, 900), min_size=2, max_size=12), events=st.integers(1, 4))
def test_many_cuts_at_any_places(kept: Client, cutter: Cutter, places: set[int], events: int) -> None:
    cut = {"split_at": sorted(places), "framing": "chunked", "write_pause": "300us"}
    cutter.passes(kept, {**cut, "events_per_write": events})


@pytest.mark.parametrize(
    "fields", [{"write_size": 1}, {"write_size": 1, "write_pause": "100us"}, {"chunk_size": 1}], ids=str
)
def test_one_byte_at_a_time(kept: Client, cutter: Cutter, fields: dict[str, object]) -> None:
    cutter.passes(kept, fields)


def test_unknown_json_is_not_touched(front: Front, lab: Lab) -> None:
    """Whatever stands beside what Penstock acts on stays as it is: numbers, escapes, order, blanks."""
    said = json.dumps({"choices": [{"index": 0, "delta": {"content": "x", "odd": [1.50, 1e3]}, "finish_reason": None}]})
    event = "event: mine\nid: 1\nretry: 10\nwhat is this\ndata: " + said.replace(", ", " ,  ") + "\n\n"
    stream = event * 3 + 'data:  {"choices":[{"finish_reason":"stop"}], "a":"\\u00e9"}\n\n:\n\ndata: [DONE]\n\n'
    answer = ask(front, order(raw=stream, content_type="text/event-stream"), stream_options={"include_usage": True})
    assert answer.body == stream.encode()
