from prometheus_client import CollectorRegistry

from penstock.gateway.metering.attempts import Attempts
from penstock.gateway.routing.zone import Spill
from penstock.gateway.upstream.breaker import State
from penstock.gateway.upstream.verdicts import Again


def test_what_was_done_about_failures_is_counted_by_deployment() -> None:
    registry = CollectorRegistry()
    counts = Attempts(registry)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, {"penstock_deployment": "large", **labels})

    counts.follow({"large": State.CLOSED})
    counts.became("large", State.OPEN)
    counts.became("gone", State.OPEN)
    counts.retried("large", Again.REFUSED)
    counts.unpaid("large")
    counts.fell_back("large")
    counts.ejected("large")
    counts.spilled("large", Spill.FULL)
    assert [value("penstock_breakers", state=state) for state in ("closed", "half_open", "open")] == [0, 0, 1]
    assert registry.get_sample_value("penstock_breakers", {"penstock_deployment": "gone", "state": "open"}) is None
    assert value("penstock_breaker_changes_total", state="open") == 1
    assert value("penstock_retries_total", reason="refused") == 1
    assert value("penstock_spilled_total", reason="full") == 1
    for name in ("retries_refused", "fallbacks", "replicas_ejected"):
        assert value(f"penstock_{name}_total") == 1
    counts.follow({})
    assert value("penstock_breakers", state="open") is None
