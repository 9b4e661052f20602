"""A worker whose node is silent, and one that has nobody to wait for."""

from __future__ import annotations

import asyncio

import pytest

from penstock.gateway.cache.host.question import Taken
from penstock.gateway.cache.host.wire import Answers, Ask, Part, Ping, Refused, Told, Word
from penstock.gateway.cache.store import Entry
from tests.gateway.cache.host.field import Field, led, settled, taken, waiting


def test_a_silent_node_costs_one_wait_and_is_asked_again_after_a_second() -> None:
    async def test() -> None:
        field = Field(1, timeout_s=0.01)
        (one,) = field.workers
        field.frozen = True
        first = one.ask()
        while not first.done():
            field.clock.now += 0.001
            await asyncio.sleep(0)
        assert first.result() is None
        assert await asyncio.gather(*(one.ask() for _ in range(100))) == [None] * 100
        field.frozen = False
        assert await one.ask() is None, "a second has not passed"
        field.clock.now += 1.0
        (await led(one.ask())).release(None)
        await settled()
        assert field.empty

    asyncio.run(test())


def test_who_waits_while_the_node_falls_silent_goes_on_alone() -> None:
    async def test() -> None:
        field = Field(2)
        one, two = field.workers
        lead = await led(one.ask())
        others = [two.ask(), two.ask()]
        await waiting(*others)
        for _ in range(10):  # while it answers, it may take as long as it wants
            two.pilot.sweep()
            await waiting(*others)
        field.frozen = True
        for _ in range(4):
            two.pilot.sweep()
            await settled()
        assert [task.result() for task in others] == [None] * 2
        assert await two.ask() is None
        lead.land(Entry(1.0, b"x"), kept=True)

    asyncio.run(test())


def test_while_nobody_waits_nothing_is_said() -> None:
    async def test() -> None:
        field = Field(2)
        one, _ = field.workers
        lead = await led(one.ask())
        said = len(one.said)
        for _ in range(10):
            one.pilot.sweep()
            await settled()
        assert len(one.said) == said
        lead.release(None)

    asyncio.run(test())


def test_a_node_that_has_gone_is_not_asked_any_more() -> None:
    async def test() -> None:
        field = Field(1)
        (one,) = field.workers
        lead = await led(one.ask())
        asked = one.ask()
        await waiting(asked)
        one.pilot.lost()
        assert await asked is None
        field.clock.now += 1e6
        assert await one.ask() is None
        lead.release(None)

    asyncio.run(test())


def test_questions_of_one_turn_are_one_message() -> None:
    async def test() -> None:
        field = Field(1)
        (one,) = field.workers
        leads = [await led(task) for task in [one.ask(key=b"%d" % number) for number in range(100)]]
        assert one.up.frames == 1
        for lead in leads:
            lead.release(None)
        await settled()
        assert one.up.frames == 2

    asyncio.run(test())


@pytest.mark.parametrize("number", [0, 7, -1])
def test_what_is_said_of_questions_that_nobody_has_asked_is_nothing(number: int) -> None:
    async def test() -> None:
        field = Field(1)
        (one,) = field.workers
        for message in (Told(number, Word.LEAD), Told(number, Word.AGAIN), Refused(number, "", 400, b"", None, None)):
            one.pilot.heard(Answers([message]))
        await settled()
        assert not [message for message in one.said if isinstance(message, Ask | Ping)]

    asyncio.run(test())


def test_bytes_that_are_no_answer_are_none() -> None:
    async def test() -> None:
        field = Field(2)
        one, two = field.workers
        lead = await led(one.ask())
        asked = two.ask()
        await waiting(asked)
        two.pilot.heard(Answers([Part(1, b"\xc1nonsense", more=False, kept=True)]))
        assert await taken(asked) == Taken(None)
        lead.release(None)

    asyncio.run(test())
