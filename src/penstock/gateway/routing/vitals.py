"""How a deployment has been doing lately, as far as this process has asked it: how soon, how well, how full."""

from __future__ import annotations

import math

import msgspec

LATELY_S = 10.0
"""Over so long latencies are averaged, or over ten times the latency if that is more: what is known of a slow target is
as old as its answers, and a loop that acts faster than it is told swings."""
_DELAYS = 10.0
_LEAST_KEPT = 3.0  # answers that the next one is averaged with, however long ago they were: a single one is an accident
_ENOUGH = 10  # answers, before their latency says anything
_EXPIRES_S = 180.0  # without an answer, after which none is known; as `weight_expiration_period` of gRPC's A58
_ERRORS_FADE_S = 30.0
_PRIOR = 4.0  # good answers that are taken to have been there, so that one failure of few says little
_LEAST_S = 0.001  # what is faster is as good


class Load(msgspec.Struct, frozen=True):
    """
    Attributes:
        latency_s: from asking to the first content, 0 where that is not known.
        used: share of the seats that are taken.
        errors: share of the answers that failed.
    """

    latency_s: float = 0.0
    used: float = 0.0
    errors: float = 0.0


class Vitals:
    """
    The counters of one deployment. For one thread.

    Times to the first content are averaged as logarithms: what counts is their ratio to those of other targets, and
    some answers take a hundred times as long as others. All averages fade with time, so that they are the same for a
    deployment that is asked often and for one that is asked seldom.
    """

    __slots__ = ("_answers", "_at", "_bad", "_counts", "_ended", "_good", "_log_s", "_looked", "_used")

    def __init__(self) -> None:
        self._log_s = 0.0
        self._answers = 0
        self._counts = 0.0  # answers that the average is of: each counts as one, and less with time
        self._at = 0.0  # of the last answer that began
        self._good = self._bad = 0.0
        self._ended = 0.0  # when the last one ended
        self._used = 0.0
        self._looked = -math.inf  # when the seats were last looked at

    def answers(self, seconds: float, now: float) -> None:
        """Take in how long it was from asking to the first content of an answer."""
        value = math.log(max(seconds, _LEAST_S))
        if now - self._at > _EXPIRES_S:
            self._answers, self._counts = 0, 0.0
        lately = max(LATELY_S, _DELAYS * math.exp(self._log_s))
        kept = self._counts * math.exp((self._at - now) / lately)
        self._counts = max(kept, min(self._answers, _LEAST_KEPT)) + 1
        self._log_s += (value - self._log_s) / self._counts
        self._answers += 1
        self._at = now

    def given_up(self, seconds: float, now: float) -> None:
        """Take in that a client has left before the first content: that would have taken longer than this."""
        if seconds > math.exp(self._log_s):
            self.answers(seconds, now)

    def ended(self, well: bool, now: float) -> None:
        """Take in how an answer ended, or that there was none."""
        self._fade(now)
        if well:
            self._good += 1
        else:
            self._bad += 1

    def looked(self, used: float, now: float) -> None:
        """Take in the share of its seats that are taken."""
        self._used += (1 - math.exp((self._looked - now) / LATELY_S)) * (used - self._used)
        self._looked = now

    def load(self, now: float) -> Load:
        """Return what is known."""
        self._fade(now)
        known = self._answers >= _ENOUGH and now - self._at <= _EXPIRES_S
        errors = self._bad / (self._good + self._bad + _PRIOR)
        return Load(math.exp(self._log_s) if known else 0.0, self._used, errors)

    def _fade(self, now: float) -> None:
        kept = math.exp((self._ended - now) / _ERRORS_FADE_S)
        self._good *= kept
        self._bad *= kept
        self._ended = now
