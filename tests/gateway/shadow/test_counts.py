"""What the metrics say of copies."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from penstock.gateway.shadow.comparison import Comparison
from penstock.gateway.shadow.counts import Counts, Skipped
from penstock.journal.records import Outcome

PAIR = ("chat", "other")


def test_copies_are_counted_by_fixed_labels() -> None:
    registry = CollectorRegistry()
    counts = Counts(registry)
    counts.in_flight = 3
    counts.skipped(PAIR, Skipped.BUSY)
    for outcome in (Outcome.ANSWERED, Outcome.ANSWERED, Outcome.ANSWERED, Outcome.FAILED):
        counts.ended(PAIR, outcome)
    counts.compared(PAIR, Comparison(True, 1.0, 0.5, 3.0, ""))
    counts.compared(PAIR, Comparison(False, 0.25, 2.0, None, ""))
    counts.compared(PAIR, Comparison(None, None, None, None, ""))

    def value(name: str, **labels: str) -> float | None:
        pair = dict(zip(("gen_ai_request_model", "penstock_deployment"), PAIR, strict=True))
        return registry.get_sample_value(f"penstock_shadow_{name}", {**pair, **labels})

    assert registry.get_sample_value("penstock_shadow_in_flight") == 3
    assert value("skipped_total", reason="busy") == 1
    assert (value("copies_total", outcome="answered"), value("copies_total", outcome="failed")) == (3, 1)
    assert [value("texts_total", text=text) for text in ("equal", "different", "unknown")] == [1, 1, 1]
    assert (value("similarity_count"), value("similarity_sum")) == (2, 1.25)
    assert (value("similarity_bucket", le="0.3"), value("similarity_bucket", le="1.0")) == (1, 2)
    assert (value("duration_ratio_count"), value("duration_ratio_sum")) == (2, 2.5)
    assert (value("first_content_ratio_bucket", le="2.0"), value("first_content_ratio_bucket", le="4.0")) == (0, 1)
