from __future__ import annotations

from pathlib import Path

from penstock.counters.counter import Counter, Kind
from penstock.node.standings import Ledger
from penstock.snapshot.file import publish, withdraw
from penstock.snapshot.standings import Standing, Standings


def counter(whom: str, begins: int, budget: str = "month") -> Counter:
    return Counter(f"{budget} {begins} {whom}", Kind.SUM, 100, budget, whom, begins)


def told(opening: Ledger, counter: Counter) -> int | None:
    opening.telling(counter)
    return opening.spent(counter)


def test_sums_begin_where_control_says(tmp_path: Path) -> None:
    opening = Ledger(tmp_path)
    assert told(opening, counter("ann", 20)) is None
    publish(tmp_path, Standings(1, {"month": Standing(20, {"ann": 7}, 1)}))
    assert told(opening, counter("ann", 20)) == 7
    assert told(opening, counter("bob", 20)) == 0, "who is not there has spent nothing"
    assert told(opening, counter("ann", 50)) == 0, "a new period has begun since"
    assert told(opening, counter("ann", 10)) is None, "nobody knows of an older one"
    assert told(opening, counter("ann", 20, "week")) is None
    publish(tmp_path, Standings(2, {"week": Standing(20, {"ann": 1}, 2)}))
    assert told(opening, counter("ann", 20, "week")) == 1


def test_what_an_earlier_node_was_told_is_withdrawn(tmp_path: Path) -> None:
    publish(tmp_path, Standings(1, {"month": Standing(20, {"ann": 7}, 1)}))
    withdraw(tmp_path, Standings)
    withdraw(tmp_path, Standings)
    assert told(Ledger(tmp_path), counter("ann", 20)) is None


def test_a_damaged_document_is_nothing_known(tmp_path: Path) -> None:
    (tmp_path / "standings.msgpack").write_bytes(b"\xff")
    assert told(Ledger(tmp_path), counter("ann", 20)) is None


def test_the_telling_is_another_one_when_a_budget_has_been_out_of_force(tmp_path: Path) -> None:
    opening, month = Ledger(tmp_path), counter("ann", 20)
    assert opening.telling(month) == 0
    publish(tmp_path, Standings(4, {"month": Standing(20, {}, 4)}))
    assert opening.telling(month) == 4
    publish(tmp_path, Standings(6, {"month": Standing(20, {"ann": 9}, 6)}))
    assert (opening.telling(month), opening.spent(month)) == (6, 9)
