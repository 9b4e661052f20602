"""
Ways to choose a replica that has already read what it is asked: by what the prompt begins with, or by session.

Both are sticky until saturated: a replica that has far more to do than the others is passed over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from penstock.gateway.routing.balance import least_outstanding
from penstock.gateway.routing.candidate import Ask, C
from penstock.gateway.routing.prompts import missing
from penstock.gateway.routing.rendezvous import weight

# The bound of consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2016) for sessions; looser for
# prompts, of which what has yet to be read is weighed as well.
_SESSION_SHARE = 1.25
_PREFIX_SHARE = 1.5

_HALF = 0.5  # of what replicas have yet to read has been read, on average


def prefix(candidates: Sequence[C], ask: Ask) -> C:
    """
    Return the candidate that would have read the prompt soonest.

    That is the one with the fewest bytes before it: those of the prompt that it does not know, and half of those that
    it is reading already. So a replica that knows the beginning is used until another would be sooner, though it had to
    read all of it. A replica with more than 1.5 times the mean of exchanges, and one, is passed over, unless half of
    its seats are free.

    Processes do not know of each other's exchanges, so they agree on a home for what no replica is known to have read:
    one of those that know the most of what comes before. What is new to this process, another one has seen with a
    probability that grows with their number, and in that measure the home is taken to know it.
    """
    prompt = ask.prefix
    known = [candidate.prompts.known(prompt) for candidate in candidates]
    reach, blocks = max(known), prompt.blocks
    if not blocks:
        return least_outstanding(candidates, ask)
    key = blocks[min(reach, len(blocks) - 1)]
    favours = [weight(key, candidate.seed) for candidate in candidates]
    home = max(favour for favour, count in zip(favours, known, strict=True) if count == reach)
    told = missing(prompt, reach) * (1 - 1 / ask.workers) if reach < len(blocks) else 0.0
    most = _bound(candidates, _PREFIX_SHARE, max(candidate.seats for candidate in candidates) / 2 / ask.workers)
    best, least = candidates[0], (True, math.inf, 0, 0)
    for candidate, count, favour in zip(candidates, known, favours, strict=True):
        busy = candidate.outstanding
        before = missing(prompt, count) + _HALF * candidate.prompts.reading - (told if favour == home else 0.0)
        if (rank := (busy >= most, before, busy, -favour)) < least:
            best, least = candidate, rank
    return best


def session(candidates: Sequence[C], ask: Ask) -> C:
    """
    Return the candidate that the session's exchanges go to: by rendezvous hashing, with bounded load.

    A candidate with more than 1.25 times the mean of exchanges, and one, is passed over for the session's next. An
    exchange without a session goes to the candidate with the fewest.
    """
    key = ask.session
    if key is None:
        return least_outstanding(candidates, ask)
    most = _bound(candidates, _SESSION_SHARE, 0.0)
    return min(candidates, key=lambda candidate: (candidate.outstanding >= most, -weight(key, candidate.seed)))


def _bound(candidates: Sequence[C], share: float, least: float) -> float:
    """Return from how many exchanges on a candidate is saturated; never all of them are."""
    total = 1  # this one
    for candidate in candidates:
        total += candidate.outstanding
    return max(share * total / len(candidates) + 1, least)
