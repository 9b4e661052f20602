"""What a worker holds: told anew when need be, and what is spent of it until the ledger has it."""

from __future__ import annotations

from penstock.counters.counter import Counter, Kind, Return
from penstock.counters.held import Held

SUM, OTHER, LEVEL = Counter("s", Kind.SUM, 100), Counter("o", Kind.SUM, 100), Counter("l", Kind.LEVEL, 100)


def test_levels_and_sums_are_held_and_rates_are_not() -> None:
    held = Held()
    for counter in (SUM, LEVEL, Counter("r", Kind.RATE, 100)):
        held.take(counter, 5)
        held.take(counter, -2)
    assert held.amounts == {SUM: 3, LEVEL: 3}
    held.take(SUM, -4)
    held.take(LEVEL, -3)
    assert held.amounts == {}


def test_what_is_spent_is_held_until_the_ledger_is_behind_its_record() -> None:
    held = Held()
    held.spend(SUM, 7)
    assert held.folded({"a-0": 10**9}) == [], "nobody has said yet where its record is"
    held.mark(("a-0", 100))
    held.spend(SUM, 1)
    held.spend(OTHER, 2)
    held.mark(("a-0", 200))
    assert held.folded({}) == []
    assert held.folded({"a-0": 99}) == []
    assert held.folded({"a-0": 100}) == [Return(SUM, 7, 0)]
    assert held.folded({"a-0": 250}) == [Return(SUM, 1, 0), Return(OTHER, 2, 0)]
    assert not held.waiting


def test_a_segment_that_is_not_named_is_in_the_ledger_if_a_later_one_is() -> None:
    held = Held()
    held.spend(SUM, 7)
    held.mark(("a-0", 100))
    held.spend(SUM, 1)
    held.mark(("a-1", 50))
    assert held.folded({"a-1": 0}) == [Return(SUM, 7, 0)]
    assert held.folded({"a-0": 100}) == []
    assert held.folded({"a-1": 50}) == [Return(SUM, 1, 0)]


def test_while_the_ledger_stands_still_no_more_than_so_much_is_remembered() -> None:
    held = Held()
    for offset in range(1, 5001):
        held.spend(SUM if offset % 2 else OTHER, 1)
        held.mark(("a-0", offset))
    assert len(held._marked) <= 1000
    done = [back for offset in range(5001) for back in held.folded({"a-0": offset})]
    assert sum(back.amount for back in done if back.counter == SUM) == 2500
    assert sum(back.amount for back in done if back.counter == OTHER) == 2500
