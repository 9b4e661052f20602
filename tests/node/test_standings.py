from __future__ import annotations

from pathlib import Path

from penstock.counters.counter import Counter, Kind
from penstock.node.standings import Ledger
from penstock.snapshot.file import publish, withdraw
from penstock.snapshot.standings import Standing, Standings


def counter(whom: str, begins: int, budget: str = "month") -> Counter:
    return Counter(f"{budget} {begins} {whom}", Kind.SUM, 100, budget, whom, begins)


def test_sums_begin_where_control_says(tmp_path: Path) -> None:
    opening = Ledger(tmp_path)
    assert opening.spent(counter("ann", 20)) is None
    publish(tmp_path, Standings(1, {"month": Standing(20, {"ann": 7})}))
    assert opening.spent(counter("ann", 20)) == 7
    assert opening.spent(counter("bob", 20)) == 0, "who is not there has spent nothing"
    assert opening.spent(counter("ann", 50)) == 0, "a new period has begun since"
    assert opening.spent(counter("ann", 10)) is None, "nobody knows of an older one"
    assert opening.spent(counter("ann", 20, "week")) is None
    publish(tmp_path, Standings(2, {"week": Standing(20, {"ann": 1})}))
    assert opening.spent(counter("ann", 20, "week")) == 1


def test_what_an_earlier_node_was_told_is_withdrawn(tmp_path: Path) -> None:
    publish(tmp_path, Standings(1, {"month": Standing(20, {"ann": 7})}))
    withdraw(tmp_path, Standings)
    withdraw(tmp_path, Standings)
    assert Ledger(tmp_path).spent(counter("ann", 20)) is None


def test_a_damaged_document_is_nothing_known(tmp_path: Path) -> None:
    (tmp_path / "standings.msgpack").write_bytes(b"\xff")
    assert Ledger(tmp_path).spent(counter("ann", 20)) is None
