"""The place where limits are counted changes: each exchange goes back to where it was counted."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from penstock.auth.secrets import SecretRef
from penstock.counters.counter import Store
from penstock.counters.local import Local
from penstock.counters.tally import Tally
from penstock.gateway.admission.admission import Admission
from penstock.gateway.admission.counting import Counting
from penstock.gateway.admission.decisions import Decisions
from penstock.gateway.admission.rules import Rules
from penstock.snapshot.config import Measure
from penstock.types.errors import LimitReached
from penstock.types.usage import Usage
from tests.counters.test_tally import Clock
from tests.gateway.admission.test_admission import ANN, call, limit

ONE, TWO = SecretRef(env="ONE"), SecretRef(env="TWO")


class Elsewhere(Local):
    def __init__(self, clock: Clock) -> None:
        super().__init__(Tally(clock))
        self.closed = False

    async def aclose(self) -> None:
        self.closed = True


def test_each_reference_is_connected_to_once_and_left_for_the_next() -> None:
    async def case() -> None:
        clock, used = Clock(), list[Store]()
        here, places = Local(Tally(clock)), {ONE: Elsewhere(clock), TWO: Elsewhere(clock)}
        counting = Counting(here, places.__getitem__, used.append)
        for reference in (None, ONE, ONE, TWO, None, TWO):
            counting.follow(reference)
        assert used == [places[ONE], places[TWO], here, places[TWO]]
        await counting.aclose()
        assert [place.closed for place in places.values()] == [True, True]

    asyncio.run(case())


def test_what_was_taken_in_the_old_place_frees_nothing_in_the_new_one() -> None:
    async def case() -> None:
        clock = Clock()
        old, new = Tally(clock), Tally(clock)
        worker = Admission(Local(old), Decisions(CollectorRegistry()), clock)
        rules = Rules("m", [limit(Measure.CONCURRENCY, 10)])
        before = [await worker.admit(rules, ANN, call(), "192.0.2.1") for _ in range(10)]
        worker.use(Local(new))
        for _ in range(10):
            await worker.admit(rules, ANN, call(), "192.0.2.1")
        for hold in before:
            hold.release(Usage())
        worker.sweep()
        other = Admission(Local(new, 1), Decisions(CollectorRegistry()), clock)
        with pytest.raises(LimitReached):
            await other.admit(rules, ANN, call(), "192.0.2.1")
        assert old.take(1, []) == []
        back = Admission(Local(old, 1), Decisions(CollectorRegistry()), clock)
        for _ in range(10):
            await back.admit(rules, ANN, call(), "192.0.2.1")

    asyncio.run(case())
