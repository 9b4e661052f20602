"""What Prometheus sees of the plain numbers."""

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import generate_latest

from penstock.gateway.metering.metrics import Metrics
from penstock.types.usage import Usage, UsageSource

KIND = ("chat", "openai", "small", "mini", "answered")


def page(registry: CollectorRegistry) -> dict[str, float]:
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for line in lines if line[0] != "#" for name, value in [line.rsplit(" ", 1)]}


def test_exchanges_are_counted_by_labels_and_outcome() -> None:
    metrics = Metrics()
    usage = Usage(20, 26, 0, UsageSource.UPSTREAM)
    metrics.settled(KIND, usage, 1_500_000_000, 0.02, 0.01)
    metrics.settled((*KIND[:4], "failed"), Usage(), 0, 0.5, None)
    metrics.settled(("chat", "", "other", "", "refused"), Usage(), 0, 0.001, None)
    metrics.responded(200)
    metrics.responded(200)
    metrics.in_progress += 1
    labels = {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "openai",
        "gen_ai_request_model": "small",
        "penstock_deployment": "mini",
    }

    def value(name: str, **more: str) -> float | None:
        return metrics.registry.get_sample_value(name, {**labels, **more})

    assert value("penstock_exchanges_total", outcome="answered") == 1
    assert value("penstock_exchanges_total", outcome="failed") == 1
    assert value("gen_ai_client_operation_duration_seconds_count") == 2
    assert value("gen_ai_client_operation_duration_seconds_sum") == 0.52
    assert value("gen_ai_client_operation_time_to_first_chunk_seconds_count") == 1
    assert value("gen_ai_client_token_usage_sum", gen_ai_token_type="output") == 26
    assert value("penstock_cost_usd_total") == 1.5
    assert value("penstock_exchanges_unpriced_total") == 0
    metrics.settled(KIND, usage, None, 0.5, None)
    assert value("penstock_exchanges_unpriced_total") == 1
    assert value("penstock_cost_usd_total") == 1.5, "what it cost is not known, and not nothing"
    unknown = {"gen_ai_provider_name": "other", "gen_ai_request_model": "other", "penstock_deployment": "other"}
    assert value("penstock_exchanges_total", outcome="refused", **unknown) == 1
    assert metrics.registry.get_sample_value("penstock_http_responses_total", {"status": "200"}) == 2
    assert metrics.registry.get_sample_value("penstock_exchanges_in_progress") == 1


def test_buckets_are_those_of_a_histogram_of_the_library() -> None:
    metrics = Metrics()
    bounds = [float(4**power) for power in range(14)]
    library = CollectorRegistry()
    histogram = Histogram("gen_ai_client_token_usage", "Tokens.", registry=library, buckets=bounds)
    for tokens in (1, 4, 5, 26, 1_048_576, 2_000_000, 10**9):
        metrics.settled(KIND, Usage(tokens, 0, 0, UsageSource.UPSTREAM), 0, 0.1, None)
        histogram.observe(tokens)
    theirs = {name.partition("le=")[2]: value for name, value in page(library).items() if "_bucket" in name}
    ours = {
        name.partition("le=")[2].partition("}")[0].split(",")[0] + "}": value
        for name, value in page(metrics.registry).items()
        if name.startswith("gen_ai_client_token_usage_bucket") and 'type="input"' in name
    }
    assert ours == theirs
