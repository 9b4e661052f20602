"""A slow reader slows the upstream down; memory stays what it was."""

from pathlib import Path

import psutil

from tests.gateway.streams.client import Client, ask, body, order
from tests.gateway.streams.test_leaving import still
from tests.processes import Front, Lab, eventually, front_with_lab

MIB = 1024 * 1024
SOCKETS = 24 * MIB  # what the kernel's buffers on the way may hold, of two connections
MEMORY = 8 * MIB


def resident(front: Front) -> int:
    return int(psutil.Process(front.pid).memory_info().rss)


def peak(front: Front) -> int:
    """Return the most memory that the worker has ever had, in bytes."""
    (line,) = [line for line in Path(f"/proc/{front.pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def test_a_reader_that_stops_stops_the_upstream_and_one_that_goes_on_gets_all(front: Front, lab: Lab) -> None:
    size = 40 * MIB
    assert ask(front, order(size=MIB)).done, "warm"
    before = resident(front)
    with Client(front, receive_buffer=65_536) as client:
        sent_before = lab.stats()["bytes_sent"]
        client.request(body(order(size=size)))
        answer = client.receive(lambda answer: len(answer.pieces) > 3)
        eventually(still(lab), "the upstream standing still")
        sent = lab.stats()["bytes_sent"] - sent_before
        assert sent < SOCKETS
        assert resident(front) - before < MEMORY
        client.receive(lambda _: len(answer.data) > sent, into=answer)
        eventually(lambda: lab.stats()["bytes_sent"] - sent_before > sent, "more being sent")
        client.receive(into=answer)
    assert (answer.done, answer.whole) == (True, True)
    assert len(answer.text) == size
    record = front.settled(answer.request_id)
    assert (record.outcome, record.usage.source) == ("answered", "upstream")
    assert resident(front) - before < MEMORY


def test_a_long_answer_is_not_kept(tmp_path: Path) -> None:
    """
    Of 20 MB streamed, and not read slowly, no more than a little is ever in memory; also where usage is counted.

    The worker is new: what an older one has freed and not given back would hide what it keeps.
    """
    with front_with_lab(tmp_path) as (front, _):
        assert ask(front, order(size=MIB)).done, "warm"
        before = peak(front)
        answer = ask(front, order(size=20 * MIB, usage="missing"))
        assert (answer.done, len(answer.text)) == (True, 20 * MIB)
        assert peak(front) - before < MEMORY
        assert front.settled(answer.request_id).usage.output_tokens == 20 * MIB // 4096
