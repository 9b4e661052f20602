"""
Judging a running engine by what was observed of it. Pure: no I/O and no clock, so a long story is a short test.

A replica is *wedged* when there is work and nothing moves: neither its step counter, nor its CPU time, nor the count of
pages it has read from disk. Work is a request that is running or waiting, or a probe that got no answer. A long prefill
answers no probe either (llama.cpp answers between batches), but its CPU time moves, or, with weights that do not fit
into memory, its page faults, so it is not wedged.
"""

from __future__ import annotations

from enum import Enum, auto

import msgspec

from penstock.node.engines.engine import Progress


class Limits(msgspec.Struct, frozen=True):
    """
    Seconds, all of them.

    Attributes:
        answer: how long a probe waits; llama.cpp answers between batches, so in a long prefill it waits in vain.
        suspect_after: without an answer or movement for so long, a replica gets no new exchanges.
        wedged_after: with work and without movement for so long, it is killed.
        gap: observations further apart than this say that the node slept, and nothing about the engine.
        idle_for: how long a draining replica must be seen idle; gateways see within 0.1 s that it is draining.
        drain: how long a draining replica may go on with what it has.
        start: from starting a process to its first token; loading large weights from a slow disk takes minutes.
    """

    answer: float = 1.0
    suspect_after: float = 1.0
    wedged_after: float = 5.0
    gap: float = 3.0
    idle_for: float = 0.3
    drain: float = 30.0
    start: float = 600.0


# Idle HTTP threads of llama.cpp use some CPU time (60 idle connections: 8 % of a core); a prefill uses whole cores.
_MOVING_CPU = 0.1  # CPU seconds per second


class Effort(msgspec.Struct, frozen=True):
    """
    What a process has used since it started, as the kernel counts it.

    Attributes:
        cpu_s: CPU seconds, of all its threads.
        faults: pages it waited for until they were read from disk.
    """

    cpu_s: float
    faults: int = 0


class Observation(msgspec.Struct, frozen=True):
    """
    One look at a replica.

    Attributes:
        at: seconds of a monotonic clock.
        progress: what it answered; None when it did not answer.
    """

    at: float
    progress: Progress | None
    effort: Effort


class Verdict(Enum):
    """What an observation means."""

    FINE = auto()
    SUSPECT = auto()
    WEDGED = auto()


class Watch(msgspec.Struct, frozen=True):
    """
    What is remembered between observations.

    Attributes:
        seen: when the last one was made.
        moved: when it last was idle or moving, with the counters it had then.
    """

    seen: float
    moved: float
    steps: int
    effort: Effort


def begin(at: float, effort: Effort) -> Watch:
    """Start watching a replica that has just proved that it works."""
    return Watch(seen=at, moved=at, steps=-1, effort=effort)


def judge(watch: Watch, observation: Observation, limits: Limits) -> tuple[Watch, Verdict]:
    """Take one observation in; return what to remember and what it means."""
    at, progress = observation.at, observation.progress
    still_s = at - watch.moved
    idle = progress is not None and progress.running + progress.waiting == 0
    stepped = progress is not None and progress.steps != watch.steps
    computed = observation.effort.cpu_s - watch.effort.cpu_s > _MOVING_CPU * still_s
    loaded = observation.effort.faults != watch.effort.faults
    slept = at - watch.seen > limits.gap
    if idle or stepped or computed or loaded or slept:
        steps = watch.steps if progress is None else progress.steps
        return Watch(seen=at, moved=at, steps=steps, effort=observation.effort), Verdict.FINE
    watch = msgspec.structs.replace(watch, seen=at)
    if still_s >= limits.wedged_after:
        return watch, Verdict.WEDGED
    if progress is None and still_s >= limits.suspect_after:
        return watch, Verdict.SUSPECT
    return watch, Verdict.FINE


class Drain(msgspec.Struct, frozen=True):
    """
    A replica that is to finish what it has.

    Attributes:
        since: when gateways were told.
        idle_since: when it was first seen idle without being seen busy after that.
    """

    since: float
    idle_since: float | None = None


def drained(drain: Drain, observation: Observation, limits: Limits) -> tuple[Drain, bool]:
    """Take one observation in; return what to remember and whether the replica may be stopped."""
    progress = observation.progress
    if observation.at - drain.since >= limits.drain:
        return drain, True
    if progress is None or progress.running + progress.waiting > 0:
        return Drain(drain.since), False
    if drain.idle_since is None:
        return Drain(drain.since, observation.at), False
    return drain, observation.at - drain.idle_since >= limits.idle_for
