import asyncio
import socket

import pytest
from prometheus_client import CollectorRegistry, Counter

from penstock.telemetry.families import families
from penstock.telemetry.link import Failed, Link, Message, Metrics, Notice, Ready, receive
from penstock.types.errors import StartError


def test_messages_arrive_in_order_until_the_child_ends() -> None:
    async def case() -> list[Message]:
        here, there = socket.socketpair()
        got: list[Message] = []
        link = await Link.open(there.detach(), lambda: None)
        registry = CollectorRegistry()
        Counter("penstock_things", "Things.", ["kind"], registry=registry).labels("a").inc(3)
        link.send(Ready())
        link.send(Notice("first_key", "sk-ps-x"))
        for part in families(registry):
            link.send(Metrics(part))
        link.close()
        await receive(here, got.append)
        return got

    ready, notice, metrics = asyncio.run(case())
    assert (ready, notice) == (Ready(), Notice("first_key", "sk-ps-x"))
    assert isinstance(metrics, Metrics)
    assert metrics.families == [
        ("penstock_things", "Things.", "counter", [("penstock_things_total", {"kind": "a"}, 3.0)])
    ]


def test_an_error_of_ours_is_told_before_the_end() -> None:
    async def case(error: Exception) -> list[Message]:
        here, there = socket.socketpair()
        got: list[Message] = []
        link = await Link.open(there.detach(), lambda: None)
        with pytest.raises(type(error)), link.reporting():
            raise error
        link.close()
        await receive(here, got.append)
        return got

    assert asyncio.run(case(StartError("the disk is full"))) == [Failed("the disk is full")]
    assert asyncio.run(case(ValueError("not for people"))) == []


def test_the_child_learns_at_once_that_its_node_has_gone() -> None:
    async def case() -> None:
        here, there = socket.socketpair()
        gone = asyncio.Event()
        link = await Link.open(there.detach(), gone.set)
        here.close()
        await asyncio.wait_for(gone.wait(), 5)
        link.close()

    asyncio.run(case())


def test_the_child_learns_it_also_when_the_node_left_messages_unread() -> None:
    """The kernel then resets the connection instead of ending it."""

    async def case() -> None:
        here, there = socket.socketpair()
        gone = asyncio.Event()
        link = await Link.open(there.detach(), gone.set)
        link.send(Ready())
        assert here.recv(1, socket.MSG_PEEK), "there is a message, and it stays unread"
        here.close()
        await asyncio.wait_for(gone.wait(), 5)
        link.close()

    asyncio.run(case())


def test_a_large_registry_comes_in_several_messages() -> None:
    registry = CollectorRegistry()
    counter = Counter("penstock_things", "Things.", ["kind"], registry=registry)
    for number in range(5_000):
        counter.labels(str(number)).inc(number)
    Counter("penstock_more", "More.", registry=registry).inc()
    parts = list(families(registry))
    assert len(parts) > 2
    samples = [sample for part in parts for family in part for sample in family[3]]
    assert len(samples) == len({str(sample) for sample in samples}) == 5_001
    assert max(sum(len(family[3]) for family in part) for part in parts) <= 2_000


def test_lines_that_are_no_messages_are_skipped() -> None:
    async def case() -> list[Message]:
        here, there = socket.socketpair()
        got: list[Message] = []
        there.sendall(b'{"type":"unknown"}\nnot json\n\xff\n{"type":"ready"}\n')
        there.close()
        await receive(here, got.append)
        return got

    assert asyncio.run(case()) == [Ready()]
