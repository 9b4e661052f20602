from penstock.control import lost
from penstock.journal.records import Outcome
from tests.records.exchanges import opened


def test_a_lost_exchange_costs_nothing_and_says_what_was_reserved() -> None:
    entry = lost.settle(opened(7, reserved_nano=2_000_000_001, user="acme/ann", tags="team=search"))
    assert (entry.id, entry.at_ns, entry.key, entry.model) == ("req-000007", opened(7).at_ns, "key1", "chat")
    assert (entry.outcome, entry.cost_nano, entry.usage.input_tokens) == (Outcome.LOST, 0, 0)
    assert (entry.user, entry.tags) == ("acme/ann", "team=search")
    assert "2.000000001 USD were reserved" in dict(entry.explanation)["cost"]
