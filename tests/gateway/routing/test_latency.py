"""What is known of how long a replica takes."""

from __future__ import annotations

from penstock.gateway.routing.latency import Latency


def test_a_latency_rises_at_once_and_falls_with_time() -> None:
    latency = Latency()
    assert latency.at(50.0) == 0
    latency.add(0.1, 100.0)
    latency.add(2.0, 101.0)
    assert latency.at(101.0) == 2.0
    latency.add(0.1, 102.0)
    assert 1.5 < latency.at(102.0) < 2.0
    for second in range(103, 153):
        latency.add(0.1, float(second))
    assert 0.1 <= latency.at(152.0) < 0.12
    assert latency.at(1000.0) < 1e-9
