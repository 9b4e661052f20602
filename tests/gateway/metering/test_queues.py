from prometheus_client import CollectorRegistry

from penstock.gateway.metering.queues import Queues
from penstock.types.priority import Priority


def test_what_happened_to_those_who_wanted_a_seat_is_told() -> None:
    now = {"mini": 3}
    registry = CollectorRegistry()
    queues = Queues(registry, lambda: now)
    queues.kept, queues.asked, queues.share = 5, 2, 1
    for seconds in (0.003, 0.1, 100.0):
        queues.waited("mini", Priority.HIGH, seconds)
    queues.refused("mini", Priority.LOW, "displaced")
    queues.refused("mini", Priority.LOW, "displaced")

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert [value("penstock_seats_taken_total", by=by) for by in ("worker", "node", "share")] == [5, 2, 1]
    where = {"penstock_deployment": "mini", "priority": "high"}
    assert value("penstock_queue_wait_seconds_count", **where) == 3
    assert value("penstock_queue_wait_seconds_bucket", **where, le="0.004") == 1
    refused = value("penstock_queue_refused_total", penstock_deployment="mini", priority="low", reason="displaced")
    assert refused == 2
    assert value("penstock_queue_waiting", penstock_deployment="mini") == 3
    now.clear()
    assert value("penstock_queue_waiting", penstock_deployment="mini") == 0, "it does not stay where it was"
