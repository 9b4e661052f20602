"""Weights that follow what targets can do: adaptive load balancing. No I/O, no clock, no state."""

from __future__ import annotations

import math
from collections.abc import Sequence

from penstock.gateway.routing.vitals import Load

FLOOR = 0.05
"""The least of its configured weight that a target keeps: what is not asked is not seen to be well again."""
_FULL = 0.8  # of its weight that a target loses whose seats are all taken
_STEEP = 4


def adapted(weights: Sequence[float], loads: Sequence[Load]) -> tuple[float, ...]:
    """
    Return the weights to draw by: of the best target as configured, of the others less.

    A target loses

    - in proportion to its latency: one that is twice as slow as the best gets half,
    - with the fourth power of the share of its answers that came to a good end: one that fails every second answer gets
      a sixteenth, since a failure costs its exchange another attempt, and what is failing often gets worse,
    - with the fourth power of the share of its seats that are taken: next to nothing while half of them are, and four
      fifths when all are.

    So targets that do equally well keep the proportions of their configured weights. One of which no latency is known
    counts as an average one.

    Args:
        weights: as configured, above 0.
        loads: of the same targets.
    Source: gRPC's `weighted_round_robin` (gRFC A58) too weighs by throughput over cost, errors included, and takes the
        mean where nothing is known; Bifrost's adaptive load balancing weighs errors, latency and utilization, as a sum
        of penalties. That these are a product here, its powers and the floor are our own.
    """
    known = [math.log(load.latency_s) for load in loads if load.latency_s]
    usual = math.exp(math.fsum(known) / len(known)) if known else 1.0
    scores = [
        (1 - load.errors) ** _STEEP * (1 - _FULL * min(1.0, load.used) ** _STEEP) / (load.latency_s or usual)
        for load in loads
    ]
    best = max(scores)
    if not best:
        return tuple(weights)
    return tuple(weight * max(FLOOR, score / best) for weight, score in zip(weights, scores, strict=True))
