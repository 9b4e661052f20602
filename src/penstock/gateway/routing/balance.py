"""Ways to choose a replica by what it has to do. They look at nothing that is asked."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.gateway.routing.candidate import Ask, C


def least_outstanding(candidates: Sequence[C], ask: Ask) -> C:
    """Return the candidate with the fewest exchanges in progress; equals take turns."""
    count, turn = len(candidates), ask.turn
    best = candidates[turn % count]
    for position in range(1, count):
        candidate = candidates[(turn + position) % count]
        if candidate.outstanding < best.outstanding:
            best = candidate
    return best


def round_robin(candidates: Sequence[C], ask: Ask) -> C:
    """Return one after the other, whatever they have to do."""
    return candidates[ask.turn % len(candidates)]


def peak_ewma(candidates: Sequence[C], ask: Ask) -> C:
    """
    Return the better of two: the one that would answer sooner, by its latency times the exchanges that it then has.

    With two instead of all, processes that know the same do not all run to the same replica (Mitzenmacher, 2001). As
    the turn grows, every pair comes up equally often. Where of one no latency is known, fewer exchanges in progress
    decide, so that a new replica is not flooded.
    """
    count, turn, now = len(candidates), ask.turn, ask.now
    if count == 1:
        return candidates[0]
    first = candidates[turn % count]
    second = candidates[(turn + 1 + turn // count % (count - 1)) % count]
    ours, theirs = first.latency.at(now), second.latency.at(now)
    if not ours or not theirs:
        ours = theirs = 1.0
    return second if theirs * (second.outstanding + 1) < ours * (first.outstanding + 1) else first
