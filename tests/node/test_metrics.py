from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from penstock.node.metrics import Totals, counter, gauge, page
from penstock.telemetry.link import Metrics

KEY = (("model", "chat"),)


def message(requests: float, in_flight: float = 0.0) -> Metrics:
    return Metrics(
        [
            (
                "penstock_requests",
                "Requests.",
                "counter",
                [
                    ("penstock_requests_total", {"model": "chat"}, requests),
                    ("penstock_requests_created", {"model": "chat"}, 1.7e9),
                ],
            ),
            ("penstock_in_flight", "In flight.", "gauge", [("penstock_in_flight", {}, in_flight)]),
            (
                "penstock_seconds",
                "Time.",
                "histogram",
                [
                    ("penstock_seconds_bucket", {"le": "0.1"}, requests),
                    ("penstock_seconds_bucket", {"le": "+Inf"}, requests),
                    ("penstock_seconds_count", {}, requests),
                    ("penstock_seconds_sum", {}, requests * 0.05),
                ],
            ),
            ("penstock_build", "Build.", "info", [("penstock_build_info", {"version": "1"}, 1.0)]),
        ]
    )


def value(totals: Totals, family: str, sample: str, labels: tuple[tuple[str, str], ...] = ()) -> float:
    return totals.families()[family].samples[(sample, labels)]


def test_sums_over_children_and_their_deaths() -> None:
    totals = Totals()
    totals.update("gateway 0", message(10, 3))
    totals.update("gateway 1", message(5, 2))
    totals.update("gateway 0", message(12, 4))
    assert value(totals, "penstock_requests", "penstock_requests_total", KEY) == 17
    assert value(totals, "penstock_in_flight", "penstock_in_flight") == 6
    totals.retire("gateway 0")
    assert value(totals, "penstock_requests", "penstock_requests_total", KEY) == 17
    assert value(totals, "penstock_in_flight", "penstock_in_flight") == 2, "what was in flight there is no more"
    totals.update("gateway 0", message(1, 1))
    assert value(totals, "penstock_requests", "penstock_requests_total", KEY) == 18
    assert value(totals, "penstock_seconds", "penstock_seconds_bucket", (("le", "+Inf"),)) == 18
    assert value(totals, "penstock_build", "penstock_build_info", (("version", "1"),)) == 1


def test_a_child_that_dies_without_a_word_is_harmless() -> None:
    totals = Totals()
    totals.retire("gateway 0")
    assert totals.families() == {}


@given(st.lists(st.tuples(st.integers(0, 2), st.one_of(st.none(), st.integers(0, 100)))))
def test_totals_never_go_down(events: list[tuple[int, int | None]]) -> None:
    totals = Totals()
    counts = [0, 0, 0]
    last = 0.0
    for child, more in events:
        if more is None:
            totals.retire(f"gateway {child}")
            counts[child] = 0
        else:
            counts[child] += more
            totals.update(f"gateway {child}", message(counts[child]))
            last_total = value(totals, "penstock_requests", "penstock_requests_total", KEY)
            assert last_total >= last
            last = last_total


def test_series_are_bounded_and_those_known_go_on() -> None:
    totals = Totals(most=100)
    samples = [("many_total", {"n": str(number)}, 1.0) for number in range(110)]
    totals.update("a", Metrics([("many", "", "counter", samples)]))
    totals.retire("a")
    totals.update("a", Metrics([("many", "", "counter", [("many_total", {"n": "0"}, 4.0)])]))
    families = totals.families()
    assert len(families["many"].samples) == 100
    assert families["many"].samples[("many_total", (("n", "0"),))] == 5


def test_children_that_disagree_on_a_kind_do_not_mix() -> None:
    totals = Totals()
    totals.update("a", Metrics([("x", "", "gauge", [("x", {}, 1.0)])]))
    totals.update("b", Metrics([("x", "", "counter", [("x_total", {}, 1.0)])]))
    assert list(totals.families()["x"].samples.values()) == [1.0]


def test_the_page_is_what_prometheus_reads() -> None:
    totals = Totals()
    totals.update("a", message(2, 1))
    own = dict(
        [
            gauge("Up.", "penstock_process_up", [({"process": 'gateway "0"\n'}, True)]),
            counter("Restarts.", "penstock_restarts", [({}, 3)]),
        ]
    )
    text = page({**totals.families(), **own}).decode()
    samples = {
        (sample.name, tuple(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples[("penstock_requests_total", KEY)] == 2
    assert samples[("penstock_process_up", (("process", 'gateway "0"\n'),))] == 1
    assert samples[("penstock_restarts_total", ())] == 3
    assert samples[("penstock_seconds_count", ())] == 2
    assert "# TYPE penstock_requests_total counter" in text
    assert "_created" not in text


def test_sums_of_fractions_never_fall_by_a_digit() -> None:
    """Added up in another order, 0.1 + 0.2 + 0.3 is less than 0.3 + 0.2 + 0.1: for Prometheus, a restart."""
    chance = random.Random(7)
    totals, counts, before = Totals(), dict.fromkeys(("a", "b", "c"), 0.0), 0.0
    for _ in range(2000):
        child = chance.choice(list(counts))
        if chance.random() < 0.1:
            totals.retire(child)
            counts[child] = 0.0
        else:
            counts[child] += chance.random() / 1e9
            totals.update(child, Metrics([("cost", "", "counter", [("cost_total", {}, counts[child])])]))
        now = totals.families()["cost"].samples["cost_total", ()] if totals.families() else 0.0
        assert now >= before
        before = now
