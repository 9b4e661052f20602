"""What is cut at the end of a drain is told so, settled once, and holds nothing up."""

from pathlib import Path
from typing import Any

import pytest

from tests.gateway.streams.client import Client, body, order
from tests.gateway.streams.test_leaving import still
from tests.processes import Front, Lab, eventually, model, provider


def begin(home: Path, lab: Lab, **settings: Any) -> Front:
    front = Front(home)
    front.publish([provider("lab", lab.address())], [model("chat", "lab")], **settings)
    return front


@pytest.mark.parametrize(("drain_s", "hurry"), [(0.3, False), (600.0, True)])
def test_a_stream_is_told_that_it_is_cut(tmp_path: Path, drain_s: float, hurry: bool) -> None:
    """By the limit, and by a second signal."""
    with Lab() as lab, begin(tmp_path, lab, drain_s=drain_s) as front, Client(front) as client, Client(front) as idle:
        client.request(body(order(content="a b c d", stall_after=3)))
        answer = client.receive(lambda answer: answer.text == "a b c")
        front.process.terminate()
        assert idle.bytes() == b"", "it drains"
        if hurry:
            front.process.terminate()
        client.receive(into=answer)
        assert (answer.text, answer.whole, answer.done) == ("a b c", True, False)
        assert [error["code"] for error in answer.errors] == ["overloaded"]
        assert "shutting down" in answer.errors[0]["message"]
        assert client.bytes() == b"", "the connection ends in good order"
        assert front.process.wait(20) == 0
        record = front.settled(answer.request_id)
        assert (record.outcome, record.status) == ("cancelled", 200)
        assert (record.usage.source, record.usage.output_tokens) == ("counted", 3)


@pytest.mark.parametrize(("stream", "committed"), [(True, True), (True, False), (False, False)])
def test_what_has_had_no_content_is_told_too(tmp_path: Path, stream: bool, committed: bool) -> None:
    """With a status where none is out."""
    commit_after_s = 0.1 if committed else 15.0
    with (
        Lab() as lab,
        begin(tmp_path, lab, drain_s=0.3, commit_after_s=commit_after_s) as front,
        Client(front) as client,
    ):
        client.request(body(order(stall="before_head"), stream=stream))
        eventually(lambda: lab.stats()["stalled"] == 1, "the silence")
        answer = client.receive(lambda answer: answer.comments or not committed)
        front.process.terminate()
        client.receive(into=answer)
        assert answer.whole
        error = answer.errors[0] if committed else answer.error
        assert (answer.status, error["code"]) == (200 if committed else 503, "overloaded")
        assert committed or answer.headers["retry-after"] == "1"
        assert front.process.wait(20) == 0
        record = front.settled(answer.request_id)
        assert (record.outcome, record.cost_nano) == ("cancelled", 0)


def test_a_reader_that_has_stopped_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with Lab() as lab, begin(tmp_path, lab, drain_s=0.3) as front, Client(front, receive_buffer=4096) as client:
        client.request(body(order(size="100MiB")))
        answer = client.receive(lambda answer: len(answer.pieces) > 3)
        eventually(still(lab), "the upstream standing still")
        front.process.terminate()
        assert front.process.wait(20) == 0
        record = front.settled(answer.request_id)
        assert (record.outcome, record.usage.source) == ("cancelled", "counted")
