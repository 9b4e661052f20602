"""However an upstream breaks: an honest status before content; behind it an error event, no `[DONE]`, a fair bill."""

import json
import socket
import sys
import time
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from penstock.pricing.price import cost_nano
from penstock.types.address import Address
from tests.gateway.streams.client import Client, ask, order
from tests.processes import PATIENCE_S, PRICE, Child, Front, Lab, eventually, front_with_lab, model, provider

pytestmark = pytest.mark.usefixtures("ends_the_row")

MIDDLE: list[dict[str, object]] = [
    {"cut_after": 2},
    {"cut_after": 2, "cut_with": "rst"},
    {"cut": "in_event", "cut_after": 2},
    {"cut": "in_event", "cut_after": 2, "cut_with": "rst"},
    {"cut": "in_character", "cut_after": 2},
    {"cut_after": 2, "framing": "close"},
    {"cut_after": 2, "framing": "length"},
    {"cut_after": 2, "newline": "crlf"},
    {"broken": "chunk_size", "broken_after": 2},
    {"broken": "chunk_end", "broken_after": 2},
    {"broken": "event", "broken_after": 2},
    {"broken": "event", "broken_after": 2, "events_per_write": 20},
    {"broken": "event", "broken_after": 2, "newline": "crlf"},
    {"broken": "utf8", "broken_after": 2},
    {"broken": "utf8", "broken_after": 2, "write_size": 1},
    {"broken": "last_chunk", "done": False},
    {"broken": "short_body", "done": False},
]


@pytest.mark.parametrize("fields", MIDDLE, ids=str)
@pytest.mark.parametrize("usage", ["own", "every"])
def test_a_stream_that_breaks_behind_content(front: Front, client: Client, usage: str, fields: dict[str, Any]) -> None:
    answer = client.ask(order(content="ä b c d e f g h", delay_between="15ms", usage_on=usage, **fields))
    assert (answer.status, answer.whole, answer.done) == (200, True, False)
    assert [(error["type"], error["code"]) for error in answer.errors] == [("server_error", "upstream_failed")]
    assert "error" in answer.documents[-1]
    assert answer.body.endswith(b"\n\n")
    record = front.settled(answer.request_id)
    assert (record.outcome, record.status) == ("failed", 200)
    assert record.error
    assert "broke off" in str(record.explanation)
    delivered = sum(
        bool(document.get("choices", [{}])[0].get("delta", {}).get("content")) for document in answer.documents
    )
    last = {"done": 8, "chunk_end": 3}  # what a chunk holds is good when it is its end that is not
    assert delivered == next((last[each] for each in last if each in str(fields)), 2)
    told = usage == "every" or "done" in fields
    assert (record.usage.source, record.usage.output_tokens) == ("upstream" if told else "counted", delivered)
    assert record.cost_nano == cost_nano(PRICE, record.usage) > 0
    assert client.ask("again").done, "the connection lives on"


def test_an_upstreams_own_error_is_the_last_word(front: Front, client: Client) -> None:
    answer = client.ask(order(content="a b c d e", error_after=2, error="out of memory"))
    assert [error["message"] for error in answer.errors] == ["out of memory"]
    assert (answer.text, answer.whole, answer.done) == ("a b", True, False)
    record = front.settled(answer.request_id)
    assert (record.outcome, record.status) == ("failed", 200)
    assert (record.usage.source, record.usage.output_tokens) == ("counted", 2)


def test_nothing_passes_behind_an_upstreams_error(front: Front, lab: Lab) -> None:
    """Neither content nor `[DONE]`, in the same read or later, and nobody waits for them."""
    said = [{"choices": [{"delta": {"content": "a"}}]}, {"error": {"message": "broken"}}]
    events = [f"data: {json.dumps(each)}\n\n" for each in [*said, said[0]]] + ["data: [DONE]\n\n"]
    answer = ask(front, order(raw="".join(events), content_type="text/event-stream"))
    assert (answer.text, answer.done, len(answer.errors)) == ("a", False, 1)
    assert front.settled(answer.request_id).outcome == "failed"


@pytest.mark.parametrize(
    "fields",
    [
        {"cut": "before_head"},
        {"cut": "in_head"},
        {"cut": "after_head"},
        {"cut": "after_head", "cut_with": "rst"},
        {"cut_after": 0},
        {"cut": "in_event", "cut_after": 0},
        {"broken": "status_line"},
        {"broken": "header"},
        {"broken": "two_lengths"},
        {"broken": "length_and_chunked"},
        {"broken": "chunk_size"},
        {"broken": "event"},
        {"broken": "utf8"},
        {"error_after": 0},
        {"status": 500},
        {"body": "html"},
        {"body": "empty"},
        {"gzip": True},
    ],
    ids=str,
)
def test_a_stream_that_fails_before_content_has_a_status(front: Front, fields: dict[str, object]) -> None:
    answer = ask(front, order(usage_on="every", prompt_tokens=5000, **fields))
    assert (answer.status, answer.error["code"]) == (502, "upstream_failed")
    record = front.settled(answer.request_id)
    assert (record.outcome, record.status, record.cost_nano) == ("failed", 502, 0)


def test_only_the_framing_behind_the_end_is_broken(front: Front) -> None:
    for broken in ("last_chunk", "short_body", "long_body"):
        answer = ask(front, order(broken=broken))
        assert (answer.text, answer.done, answer.whole) == ("echo: ", True, True)
        assert front.settled(answer.request_id).outcome == "answered"


def test_a_missing_done_behind_a_finish_reason_is_made_good(front: Front) -> None:
    answer = ask(front, order(content="a b", done=False))
    assert (answer.text, answer.done) == ("a b", True)
    assert front.settled(answer.request_id).outcome == "answered"


def test_what_a_failed_deployment_said_does_not_leak_into_the_next(tmp_path: Path) -> None:
    """Half an event, content-free events and usage of the first are neither seen nor billed."""
    with Lab() as bad, Lab() as good, Front(tmp_path) as front:
        rule = {"order": {"role_events": 3, "usage_on": "every", "prompt_tokens": 5000, "cut": "in_event"}}
        httpx.post(f"{bad.url}/lab/script", json=[rule]).raise_for_status()
        httpx.post(f"{good.url}/lab/script", json=[{"order": {"usage": "missing"}}]).raise_for_status()
        front.publish(
            [provider("bad", bad.address()), provider("good", good.address())],
            [model("chat", "bad", fallback=("good",))],
        )
        answer = ask(front, "one two")
        assert (answer.text, answer.done) == ("echo: one two", True)
        assert answer.body.count(b'"role"') == 1
        record = front.settled(answer.request_id)
        assert (record.deployment, record.usage.source, record.usage.output_tokens) == ("good", "counted", 3)
        assert record.usage.input_tokens < 100


class Measured:
    """A second worker of a gateway's data directory, which is told of its metrics as a node is."""

    def __init__(self, front: Front) -> None:
        self.key = front.key
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._here, self._there = socket.socketpair()
        self._here.settimeout(PATIENCE_S)
        self._home = front.home.root
        self._counts: dict[str, float] = {}

    def exchanges(self, outcome: str, count: int) -> None:
        """Wait until so many exchanges have been counted with an outcome."""
        while self._counts.get(outcome) != count:
            for _, _, _, samples in json.loads(self._lines.readline()).get("families", ()):
                for name, labels, value in samples:
                    if name == "penstock_exchanges_total":
                        self._counts[labels["outcome"]] = value

    def __enter__(self) -> Self:
        ends = (self._listener.fileno(), self._there.fileno())
        options = ["--home", str(self._home), "--index", "1", "--listen", str(ends[0]), "--link", str(ends[1])]
        command = [sys.executable, "-m", "penstock.gateway", *options]
        self._child = Child(command, pass_fds=ends, log=self._home / "second.log")
        self._there.close()
        self._lines = self._here.makefile("rb")
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()
        for each in (self._lines, self._here, self._listener):
            each.close()


def test_failures_in_band_are_counted_as_failures(tmp_path: Path) -> None:
    """Although each of them has a status 200."""
    with front_with_lab(tmp_path) as (front, _), Measured(front) as worker:
        for fields in ({"cut_after": 1}, {"broken": "event", "broken_after": 1}, {"error_after": 1}):
            assert ask(worker, order(content="a b", **fields)).status == 200
        assert ask(worker).done
        worker.exchanges("failed", 3)
        worker.exchanges("answered", 1)


def test_an_upstream_that_goes_on_behind_the_end_holds_nobody(tmp_path: Path) -> None:
    """Neither its seat nor the client's connection, on which the next request waits."""
    end = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    program = (
        "import socket,sys,threading,time\n"
        "s = socket.create_server(('127.0.0.1', 0))\n"
        "print(s.getsockname()[1], flush=True)\n"
        "def go(c):\n"
        "    try:\n"
        "        c.recv(65536)\n"
        "        c.sendall(b'HTTP/1.1 200 OK\\r\\ncontent-type: text/event-stream\\r\\n\\r\\n' + " + repr(end) + ")\n"
        "        while True:\n"
        "            time.sleep(0.04)\n"
        "            c.sendall(b': x\\n\\n')\n"
        "    except OSError:\n"
        "        pass\n"
        "while True:\n"
        "    threading.Thread(target=go, args=(s.accept()[0],), daemon=True).start()\n"
    )
    with Child([sys.executable, "-c", program]) as upstream, Front(tmp_path) as front:
        address = Address(host="127.0.0.1", port=int(upstream.line()), path="/v1")
        front.publish([provider("only", address, seats=1)], [model("chat", "only")])
        eventually(lambda: front.client.get("/v1/models").json()["data"], "the configuration")
        began = time.monotonic()
        for _ in range(3):
            answer = front.chat(stream=True)
            assert (answer.status_code, answer.text.endswith("data: [DONE]\n\n")) == (200, True)
        assert time.monotonic() - began < 5
